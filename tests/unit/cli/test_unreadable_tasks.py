"""One object that cannot be read takes nothing else away: lists go on, and its own message names field and remedy."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cli_workplace import SINCE, collab, raw_task

from collabspace.api import names

LAB = "/apis/collabspace.io/v1alpha1/namespaces/research-lab/collabtasks"
EVERYWHERE = "/apis/collabspace.io/v1alpha1/collabtasks"


def answers() -> dict[str, Any]:
    """What the API server holds, by path: two good tasks, one with a negative number of GPUs, and their team."""
    bad = raw_task("w10", reason="WaitingForQuota", spec={"resourcesPerNode": {"nvidia.com/gpu": -1}})
    tasks = [raw_task("good", reason="Training"), bad, raw_task("other", reason="WaitingForQuota")]
    metadata = {"name": "research-lab", "uid": "u", "annotations": {names.GPU_QUOTA: "2"}, "creationTimestamp": SINCE}
    team = {"metadata": metadata}
    return {
        LAB: tasks,
        EVERYWHERE: tasks,
        **{f"{LAB}/{task['metadata']['name']}": task for task in tasks},
        "/api/v1/namespaces": [team],
        "/api/v1/namespaces/research-lab": team,
        "/api/v1/namespaces/research-lab/events": [],
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = answers()[urlsplit(self.path).path]
        body = {"metadata": {"resourceVersion": "1"}, "items": found} if isinstance(found, list) else found
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_arguments: object) -> None:
        """Nothing on stderr, which the tests read."""


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Options that lead to an API server with these objects."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "research-lab"}}
        users = [{"name": "u", "user": {}}]
        document = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": users}
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump({**document, "clusters": [cluster], "contexts": [context]}))
        yield "--kubeconfig", str(path)
        server.shutdown()
        thread.join()


NOTE = (
    "CollabTask research-lab/w10 cannot be read: field spec.resourcesPerNode.nvidia.com/gpu holds a value that cannot "
    "be read: -1. Correct it: kubectl edit collabtask w10 -n research-lab; or delete it: "
    "kubectl delete collabtask w10 -n research-lab.\n"
)


@pytest.mark.parametrize("flags", [(), ("-A",), ("-o", "wide"), ("-A", "-o", "wide")])
def test_a_list_goes_on_after_a_task_that_cannot_be_read(there: tuple[str, ...], flags: tuple[str, ...]) -> None:
    result = collab("list", *flags, *there)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line["-A" in flags] for line in lines] == ["NAME", "good", "other", "w10"]
    assert "WaitingForQuota" in lines[3]
    assert "-" in lines[3]
    assert result.stderr == f"note: {NOTE}"


def test_teams_are_counted_without_a_task_that_cannot_be_read(there: tuple[str, ...]) -> None:
    result = collab("teams", "list", *there)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[:6] == ["research-lab", "2", "1", "-", "1", "1"]
    assert result.stderr == f"note: {NOTE}"


def test_why_of_a_good_task_is_answered_beside_one_that_cannot_be_read(there: tuple[str, ...]) -> None:
    result = collab("why", "other", *there)
    assert result.exit_code == 0, result.output
    assert "in use 1 by good (1)" in result.stdout
    assert result.stderr == f"note: {NOTE}"


@pytest.mark.parametrize("words", ["why w10", "get w10", "get w10 -w"])
def test_the_task_itself_says_which_field_to_correct(there: tuple[str, ...], words: str) -> None:
    result = collab(*words.split(), *there)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {NOTE}"
