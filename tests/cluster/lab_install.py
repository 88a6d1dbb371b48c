"""What is installed on the node, and by which command."""

import lab_node

NAMESPACE = "collabspace-system"
DATA = lab_node.LAB / "collabspace-data"
USER = 10001
VOLUME = f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: collabspace-data}}
spec:
  capacity: {{storage: 10Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: lab
  persistentVolumeReclaimPolicy: Retain
  hostPath: {{path: {DATA}, type: Directory}}
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""
# The node has two cores: what the platform asks for leaves room for two trainings.
VALUES = f"""
persistence: {{storageClassName: lab, size: 10Gi}}
broker:
  externalUrl: https://{lab_node.ADDRESS}:30843
  service: {{type: NodePort, nodePort: 30843}}
  resources: {{requests: {{cpu: 100m, memory: 512Mi}}, limits: {{memory: 6Gi}}}}
operator: {{resources: {{requests: {{cpu: 50m, memory: 192Mi}}, limits: {{memory: 512Mi}}}}}}
tls: {{extraNames: [{lab_node.ADDRESS}]}}
"""


def helm(verb: str, *more: str) -> list[str]:
    """The command that installs or upgrades; VALUES are its stdin."""
    chart = str(lab_node.ROOT / "charts" / "collabspace")
    wait = ("--wait", "--timeout", "4m")
    return ["helm", verb, "collabspace", chart, "-n", NAMESPACE, "-f", "-", *wait, *more]
