{{- define "collabspace.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}{{ $image.repository }}@{{ $image.digest }}{{- else -}}{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "collabspace.labels" -}}
app.kubernetes.io/name: collabspace
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "collabspace.chartLabels" -}}
{{ include "collabspace.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "collabspace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "collabspace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "collabspace.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "collabspace.brokerUrl" -}}
https://collabspace-broker.{{ .Release.Namespace }}.svc:8443
{{- end -}}

{{- define "collabspace.hasVolume" -}}
{{- if or (eq .Values.store.type "Filesystem") (eq .Values.ledger.type "SQLite") }}true{{ end -}}
{{- end -}}

{{- define "collabspace.tlsSecret" -}}
{{- if eq .Values.tls.mode "Secret" }}{{ .Values.tls.secretName }}{{ else }}collabspace-broker-tls{{ end -}}
{{- end -}}

{{/* The authority in PEM. In mode SelfSigned it is made once, and read back from its Secret ever after. */}}
{{- define "collabspace.authority" -}}
{{- if eq .Values.tls.mode "SelfSigned" -}}
{{ (include "collabspace.certificate" . | fromJson).ca }}
{{- else -}}
{{ .Values.tls.ca }}
{{- end -}}
{{- end -}}

{{- define "collabspace.certificate" -}}
{{- if not (hasKey .Values "made") -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace "collabspace-broker-tls" | default dict -}}
{{- $names := concat (list "collabspace-broker" (printf "collabspace-broker.%s" .Release.Namespace) (printf "collabspace-broker.%s.svc" .Release.Namespace) (printf "collabspace-broker.%s.svc.cluster.local" .Release.Namespace)) .Values.tls.extraNames | uniq -}}
{{- $known := get (get $secret "metadata" | default dict) "annotations" | default dict -}}
{{- if and $secret (eq (get $known "collabspace.io/names") (join "," $names)) -}}
{{- $data := get $secret "data" -}}
{{- $_ := set .Values "made" (dict "names" (join "," $names) "ca" (get $data "ca.crt" | b64dec) "cert" (get $data "tls.crt" | b64dec) "key" (get $data "tls.key" | b64dec) "caKey" (get $data "ca.key" | b64dec)) -}}
{{- else -}}
{{- $ca := dict -}}
{{- if $secret -}}
{{- $ca = buildCustomCert (get (get $secret "data") "ca.crt") (get (get $secret "data") "ca.key") -}}
{{- else -}}
{{- $ca = genCA "collabspace broker authority" 3650 -}}
{{- end -}}
{{- $addresses := list -}}{{- $hosts := list -}}
{{- range $names }}{{ if regexMatch "^[0-9.]+$" . }}{{ $addresses = append $addresses . }}{{ else }}{{ $hosts = append $hosts . }}{{ end }}{{ end -}}
{{- $cert := genSignedCert "collabspace-broker" $addresses $hosts 3650 $ca -}}
{{- $_ := set .Values "made" (dict "names" (join "," $names) "ca" $ca.Cert "cert" $cert.Cert "key" $cert.Key "caKey" $ca.Key) -}}
{{- end -}}
{{- end -}}
{{- toJson .Values.made -}}
{{- end -}}

{{/* What no schema can say: values that do not go together. */}}
{{- define "collabspace.check" -}}
{{- $store := .Values.store -}}{{- $ledger := .Values.ledger -}}{{- $tls := .Values.tls -}}
{{- if ne .Release.Namespace "collabspace-system" -}}
{{- fail (printf "namespace is %q; install into collabspace-system (helm install -n collabspace-system): guards, tokens and teams name it" .Release.Namespace) -}}
{{- end -}}
{{- if and (gt (int .Values.broker.replicas) 1) (include "collabspace.hasVolume" .) -}}
{{- fail (printf "broker.replicas is %d; more than 1 needs store.type S3 and ledger.type PostgreSQL, which several brokers share" (int .Values.broker.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.broker.reads "Redirect") (ne $store.type "S3") -}}
{{- fail "broker.reads is Redirect; it needs store.type S3, or take Gateway" -}}
{{- end -}}
{{- if and .Values.broker.service.nodePort (ne .Values.broker.service.type "NodePort") -}}
{{- fail (printf "broker.service.nodePort is %d; it needs broker.service.type NodePort" (int .Values.broker.service.nodePort)) -}}
{{- end -}}
{{- if and (ne .Values.broker.service.type "ClusterIP") (not .Values.broker.externalUrl) -}}
{{- fail (printf "broker.externalUrl is empty; broker.service.type %s needs the address that people reach, as https://HOST:PORT" .Values.broker.service.type) -}}
{{- end -}}
{{- if and .Values.broker.externalUrl (ne $tls.mode "Secret") -}}
{{- $host := (urlParse .Values.broker.externalUrl).hostname -}}
{{- $wild := printf "*.%s" (splitList "." $host | rest | join ".") -}}
{{- if not (or (has $host $tls.extraNames) (has $wild $tls.extraNames)) -}}
{{- fail (printf "broker.externalUrl names %s, and tls.extraNames does not: the certificate would not be believed there; add it" $host) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $store.type "S3") (not $store.s3.bucket) -}}
{{- fail "store.s3.bucket is empty; store.type S3 needs the name of a bucket" -}}
{{- end -}}
{{- if eq $ledger.type "PostgreSQL" -}}
{{- if not $ledger.postgresql.host -}}{{- fail "ledger.postgresql.host is empty; ledger.type PostgreSQL needs a server" -}}{{- end -}}
{{- if not $ledger.postgresql.secretName -}}{{- fail "ledger.postgresql.secretName is empty; name a Secret with key password" -}}{{- end -}}
{{- end -}}
{{- if and (eq $tls.mode "Secret") (not $tls.secretName) -}}{{- fail "tls.secretName is empty; tls.mode Secret needs one with tls.crt and tls.key" -}}{{- end -}}
{{- if and (ne $tls.mode "SelfSigned") (not $tls.ca) -}}{{- fail (printf "tls.ca is empty; tls.mode %s needs the PEM of the authority, which trainers trust" $tls.mode) -}}{{- end -}}
{{- if and (eq $tls.mode "CertManager") (not $tls.issuerRef.name) -}}{{- fail "tls.issuerRef.name is empty; tls.mode CertManager needs an issuer" -}}{{- end -}}
{{- end -}}
