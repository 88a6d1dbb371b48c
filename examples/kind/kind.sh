#!/usr/bin/env bash
# collabspace on a cluster in Docker containers, with Prometheus and Grafana beside it. `make kind-up` builds the images
# first; `make kind-demo` plays the demo on it; `make kind-down` removes it.
#   examples/kind/kind.sh check | up VERSION | down
set -euo pipefail
cd "$(dirname "$0")/../.."
CLUSTER=collabspace
GPUS=2 # on each worker: a number, no device
export KUBECONFIG=build/kind/kubeconfig # the person's own is not touched

check() {
  local missing=()
  for program in docker kind kubectl helm; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if ((${#missing[@]})); then
    echo "kind needs ${missing[*]} on the PATH; install what is missing, or run \`make demo\`, which needs none of them" >&2
    exit 1
  fi
  docker info >/dev/null 2>&1 || {
    echo "kind needs Docker's daemon, which does not answer; start it, or run \`make demo\`, which needs none" >&2
    exit 1
  }
}

# A ConfigMap in namespace monitoring, of files.
configmap() {
  local name=$1
  shift
  kubectl create configmap "$name" -n monitoring "${@/#/--from-file=}" --dry-run=client -o yaml |
    kubectl apply --server-side -f -
}

gpus() {
  local node patch
  patch='[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "'$GPUS'"}]'
  for node in $(kubectl get nodes -l collabspace.io/simulated-gpu -o name); do
    kubectl patch "$node" --subresource=status --type=json -p "$patch"
    kubectl wait "$node" --for=jsonpath='{.status.allocatable.nvidia\.com/gpu}'="$GPUS" --timeout=120s
  done
}

up() {
  local version=$1 before=yes workers
  mkdir -p build/kind
  if ! kind get clusters -q | grep -qx "$CLUSTER"; then
    before=
    kind create cluster --config kind-config.yaml --wait 5m
  fi
  kind export kubeconfig --name "$CLUSTER"
  workers=$(kubectl get nodes -l collabspace.io/simulated-gpu -o name | sed 's,^node/,,' | paste -sd, -)
  kind load docker-image --name "$CLUSTER" --nodes "$workers" \
    "collabspace/operator:$version" "collabspace/trainer:$version"
  gpus
  kubectl create namespace collabspace-system --dry-run=client -o yaml | kubectl apply --server-side -f -
  kubectl label --overwrite namespace collabspace-system pod-security.kubernetes.io/{enforce,warn}=restricted
  helm upgrade --install collabspace charts/collabspace -n collabspace-system -f examples/kind/values.yaml \
    --wait --timeout 10m
  if [[ $before ]]; then # images of the same name were loaded anew
    kubectl rollout restart deployment -n collabspace-system
    kubectl rollout status deployment -n collabspace-system --timeout=5m
  fi
  kubectl apply --server-side -f examples/kind/monitoring.yaml
  configmap prometheus examples/kind/prometheus.yml charts/collabspace/alerts.yaml
  configmap grafana-datasource examples/kind/datasource.yaml
  configmap grafana-provider examples/kind/provider.yaml
  configmap grafana-dashboards charts/collabspace/files/dashboards
  kubectl rollout status deployment -n monitoring --timeout=5m
  cat <<END

export KUBECONFIG=$PWD/$KUBECONFIG
broker    https://localhost:30843
Grafana   http://localhost:30300
END
}

down() {
  kind delete cluster --name "$CLUSTER"
  rm -rf build/kind
}

case "${1:-}" in
  check) check ;;
  up) check && up "${2:?give the version of the images}" ;;
  down) check && down ;;
  *) echo "say check, up VERSION or down" >&2 && exit 2 ;;
esac
