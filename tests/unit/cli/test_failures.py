"""Expected failures are one line on stderr with what to do next, an exit code, and no traceback."""

import socket
from pathlib import Path

import pytest
import yaml
from cli_workplace import collab

from collabspace.cli.cluster import explained
from collabspace.kube.client import KubeError


@pytest.fixture
def nobody_there(tmp_path: Path) -> str:
    """A kubeconfig that points to a port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    document = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
    path.write_text(yaml.safe_dump({**document, "clusters": [cluster], "contexts": [context],
                                    "users": [{"name": "u", "user": {}}]}))  # fmt: skip
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        "list",
        "get a",
        "why a",
        "logs a",
        "wait a",
        "report a",
        "teams list",
        "teams add a",
        "grants list",
        "grants add d --to b --use Train",
        "grants revoke d --to b",
        "ledger list",
        "ledger verify",
        "pull d .",
        "push d .",
        "submit x --like y",
    ],
)
def test_a_cluster_that_does_not_answer_is_said_in_one_line(nobody_there: str, words: str) -> None:
    result = collab(*words.split(), "--kubeconfig", nobody_there)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: the API server does not answer")
    assert result.stderr.count("\n") == 1


def test_no_cluster_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    result = collab("list", "--kubeconfig", str(tmp_path / "none"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no cluster to talk to")
    assert "collabspace local up" in result.stderr


@pytest.mark.parametrize(
    "content", ["{", "a: [1", "[]", "just words", "clusters: 7\ncontexts: 3\ncurrent-context: x", "\0"]
)
def test_a_damaged_kubeconfig_is_no_traceback(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    result = collab("list", "--kubeconfig", str(path))
    assert result.exit_code == 1, result.exception
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lst", "No such command 'lst'"),
        ("get", "Missing argument 'TASK|SELECTION'"),
        ("get Not_A_Name", "is no name"),
        ("get ../secrets", "selection/NAME"),
        ("list -n a/b", "is no name"),
        ("list --colour", "No such option"),
        ("list -w -o json", "does not go with -o json"),
        ("wait a --timeout soon", "is no duration"),
        ("submit", "missing NAME, --task, --method, --dataset"),
        ("submit x -f y.yaml", "either -f FILE or NAME"),
        ("submit x --task T --method M --dataset a/b:borrow", "train or evaluate"),
        ("submit x --task T --method M --dataset a/b@latest", "sha256:"),
        ("submit x --task T --method M --dataset a --set epochs", "key=value"),
        ("push d . --format Tabular", "add --create"),
        ("push d . --create", "--create needs --format"),
        ("push d . --create --format Tabular", "--target COLUMN"),
        ("grants revoke d", "one of them"),
        ("grants add d --to b --use Borrow", "Borrow"),
        ("teams add a --gpu-quota -1", "-1"),
        ("teams add a --gpu-quota 1.5", "is not a whole number"),
        ("teams add a --skills 'NLP!'", "skill"),
        ("list --reason Bored", "is no reason"),
    ],
)
def test_wrong_usage_has_exit_code_2_and_names_the_help(words: str, said: str) -> None:
    result = collab(*words.split())
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "--help." in result.stderr


@pytest.mark.parametrize("name", ["default", "kube-system", "collabspace-system"])
def test_a_namespace_of_the_cluster_never_becomes_a_team(name: str) -> None:
    result = collab("teams", "add", name)
    assert result.exit_code == 1
    assert "belongs to the cluster" in result.stderr


def test_a_refusal_names_the_verb_the_kind_and_the_place() -> None:
    message = (
        'collabtasks.collabspace.io is forbidden: User "ann" cannot list resource "collabtasks" in API group '
        '"collabspace.io" in the namespace "lab"'
    )
    line = str(explained(KubeError(403, "Forbidden", message)))
    assert line.startswith(
        "error: not allowed: needs verb list on collabtasks.collabspace.io in namespace lab. You are ann"
    )
    assert "kubectl auth can-i list collabtasks.collabspace.io -n lab" in line


def test_a_refusal_for_the_whole_cluster_says_so() -> None:
    message = (
        'namespaces is forbidden: User "ann" cannot list resource "namespaces" in API group "" at the cluster scope'
    )
    line = str(explained(KubeError(403, "Forbidden", message)))
    assert "needs verb list on namespaces in the whole cluster" in line


def test_a_refusal_by_a_policy_keeps_its_words() -> None:
    assert "policy says no" in str(explained(KubeError(403, "Forbidden", "policy says no")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KubeError(401, "Unauthorized", ""), "does not know you"),
        (KubeError(404, "", "404 page not found"), "does not serve collabspace's kinds"),
        (KubeError(503, "ServiceUnavailable", "later"), "could not do it now: later. Try again."),
        (KubeError(422, "Invalid", "spec.x: wrong."), "error: spec.x: wrong. Nothing was changed."),
    ],
)
def test_each_answer_of_the_api_server_has_its_remedy(error: KubeError, said: str) -> None:
    assert said in str(explained(error))


@pytest.mark.parametrize("text", ["a: [", "\t- x", "'"])
def test_a_manifest_that_is_no_yaml_names_file_and_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    result = collab("submit", "-f", str(path))
    assert result.exit_code == 1
    assert f"{path}:1: no valid YAML" in result.stderr


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "9" * 5000, "a: 2026-13-45"])
def test_a_manifest_that_breaks_the_reader_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    result = collab("submit", "-f", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {path}: no valid YAML")


def test_a_manifest_as_large_as_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("# " + "x" * (4 << 20))
    assert "is larger than" in collab("submit", "-f", str(path)).stderr


@pytest.mark.parametrize("text", ["", "---\n---\n", "7", "- a"])
def test_a_manifest_without_an_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    result = collab("submit", "-f", str(path))
    assert result.exit_code == 1
    assert str(path) in result.stderr


def test_a_manifest_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml"):
        result = collab("submit", "-f", str(tmp_path / name))
        assert result.exit_code == 1, name
        assert "cannot be read" in result.stderr


def test_a_local_cluster_that_never_was_says_how_to_start_it(tmp_path: Path) -> None:
    result = collab("local", "status", "--name", "never", env={"XDG_STATE_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert "no cluster never" in result.stderr
    assert "local up --name never" in result.stderr


def test_a_local_cluster_with_an_impossible_name_is_refused(tmp_path: Path) -> None:
    result = collab("local", "up", "--name", "../x", env={"XDG_STATE_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert "cluster name" in result.stderr
