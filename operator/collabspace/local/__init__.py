"""The embedded cluster: a real Kubernetes control plane and the platform as plain processes of this machine."""
