"""The API server as a node sees it: a few calls that only kubelets make, beside those of every client."""

import base64
import datetime as dt
from dataclasses import dataclass

from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local.node.manifest import Object, Pod


@dataclass(frozen=True)
class Token:
    """A bound service account token; both times as the API server counts them."""

    text: str
    issued: dt.datetime
    expires: dt.datetime


class NodeClient(KubeClient):
    """Adds what kubelets do: strategic merge (lists merge by key, so others' conditions stay) and guarded deletes."""

    async def patch_status(self, path: str, uid: str | None, status: Object) -> Object:
        """Merges into the status; with `uid` only of that very object (409 otherwise)."""
        body: Object = {"status": status} | ({"metadata": {"uid": uid}} if uid else {})
        return await self._request(
            "PATCH", f"{path}/status", body, content_type="application/strategic-merge-patch+json"
        )

    async def confirm_deletion(self, pod: Pod) -> None:
        """The kubelet's last word on a pod that was asked to go: nothing of it runs here any more."""
        body: Object = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
        await self._request("DELETE", pod.path, body)

    async def data(self, namespace: str, kind: str, name: str) -> dict[str, bytes] | None:
        """Contents of a `configmap` or `secret`, or None when there is none of this name."""
        try:
            found = await self.get(f"/api/v1/namespaces/{namespace}/{kind}s/{name}")
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in (found.get("data") or {}).items()} | binary

    async def token(self, pod: Pod, audience: str | None, seconds: int) -> Token:
        """A token of the pod's account that dies with the pod."""
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
        spec: Object = {
            "expirationSeconds": seconds,
            "boundObjectRef": bound,
            "audiences": [audience] if audience else [],
        }
        path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{pod.service_account}/token"
        answer = await self.create(
            path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        expires = clock.parse(answer["status"]["expirationTimestamp"])
        lifetime = dt.timedelta(seconds=int(answer["spec"]["expirationSeconds"]))
        return Token(answer["status"]["token"], expires - lifetime, expires)
