"""Data granted for training, and every token that a member with the built-in role edit can come by."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from cli_harness import CONLL, Person

from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local.cluster import LocalCluster


async def minted(member: KubeClient, namespace: str, account: str, **more: object) -> str:
    """A token for the broker, as the member's own credential gets it."""
    spec = {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": 600, **more}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    return str((await member.create(path, body))["status"]["token"])


async def own_pod(member: KubeClient, namespace: str) -> Object:
    """A pod of the member's, bound to by one of the tokens."""
    quiet = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "serviceAccountName": names.READER_ACCOUNT,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": names.TRAINER_CONTAINER, "image": names.TRAINER_IMAGE, "securityContext": quiet}],
    }
    body = {"metadata": {"name": "own"}, "spec": spec}
    return dict((await member.create(f"/api/v1/namespaces/{namespace}/pods", body))["metadata"])


async def test_no_token_that_a_member_can_mint_reads_data_granted_for_training(
    broker: LocalCluster, team, hospital: str, cluster: LocalCluster, chief: Person, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.conll"
    notes.write_text(CONLL)
    await chief.did("push", "notes", str(notes), "-n", hospital)
    lab = await team("lab", "--member", "rita")
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train", "--use", "Evaluate")
    rita = Person(cluster.user("rita", namespace=lab))
    refused = await rita.collab("pull", f"{hospital}/notes", str(tmp_path / "mine"))
    assert (refused.exit_code, (tmp_path / "mine").exists()) == (1, False)
    async with KubeClient(config.load(rita.kubeconfig)) as member:
        for bound in ({}, {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "own"}}):
            with pytest.raises(KubeError, match="for kubelets alone"):
                await minted(member, lab, names.TRAINER_ACCOUNT, **bound)
        accounts = (names.READER_ACCOUNT, names.PUBLISHER_ACCOUNT, "default")
        tokens = [await minted(member, lab, account) for account in accounts]
        pod = await own_pod(member, lab)
        bound_to = {"kind": "Pod", "apiVersion": "v1", "name": pod["name"], "uid": pod["uid"]}
        tokens.append(await minted(member, lab, names.READER_ACCOUNT, boundObjectRef=bound_to))
        await member.delete(f"/api/v1/namespaces/{lab}/pods/own", grace_seconds=0)

    def ask(token: str) -> tuple[int, str]:
        trust = ssl.create_default_context(cafile=str(cluster.authority))
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=cluster.broker_url, verify=trust, headers=headers, trust_env=False) as http:
            answer = http.post("/v1/sessions", json={"namespace": hospital, "name": "notes"})
        return answer.status_code, answer.json()["message"]

    answers = [await asyncio.to_thread(ask, token) for token in tokens]
    # One and the same answer, which tells nothing.
    assert len(set(answers)) == 1
    assert answers[0][0] == httpx.codes.FORBIDDEN
    assert "UseNotGranted" in (await chief.did("ledger", "list", "-n", hospital, "--denied")).stdout
