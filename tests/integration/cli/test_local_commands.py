"""`local`: a whole cluster started, looked at and removed from the command line."""

import subprocess
from pathlib import Path

from cli_harness import PROGRAM

SECONDS = 240


def collab(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"HOME": str(Path.home()), "PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(home)}
    return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=SECONDS)


def test_a_cluster_that_is_not_there_is_no_success_and_those_that_are_get_named(tmp_path: Path) -> None:
    for words in (["down"], ["down", "--wipe"], ["status"], ["logs", "etcd"]):
        none = collab(tmp_path, "local", *words)
        assert (none.returncode, none.stdout) == (1, "")
        assert "error: no cluster collabspace; there is none. Start it: " in none.stderr
    (tmp_path / "collabspace" / "demo").mkdir(parents=True)
    other = collab(tmp_path, "local", "down", "--wipe", "--name", "lab")
    assert (other.returncode, other.stderr) == (1, "error: no cluster lab; there is: demo. Name it: --name NAME.\n")
    assert collab(tmp_path, "local", "down", "--wipe", "--name", "demo").stdout == "cluster demo stopped and removed\n"
    assert "there is none" in collab(tmp_path, "local", "down", "--wipe", "--name", "demo").stderr


def test_a_cluster_is_started_used_and_removed(tmp_path: Path) -> None:
    name = ["--name", "shell"]
    try:
        up = collab(tmp_path, "local", "up", "--gpus", "1", *name)
        assert up.returncode == 0, up.stderr
        kubeconfig = tmp_path / "collabspace" / "shell" / "kubeconfig"
        assert up.stdout == f"export KUBECONFIG={kubeconfig}\n"
        for step in ("starting etcd", "starting kube-apiserver", "starting operator"):
            assert up.stderr.splitlines().count(step) == 1
        status = collab(tmp_path, "local", "status", *name)
        assert status.returncode == 0, status.stdout
        states = {line.split()[0]: line.split()[1] for line in status.stdout.splitlines()[1:] if "ready" in line}
        assert {"etcd", "kube-apiserver", "node", "broker", "operator"} <= set(states)
        made = collab(tmp_path, "teams", "add", "lab", "--gpu-quota", "1", "--kubeconfig", str(kubeconfig))
        assert made.stdout == "namespace/lab created as a team\n", made.stderr
        assert '"level"' in collab(tmp_path, "local", "logs", "etcd", *name).stdout
        unknown = collab(tmp_path, "local", "logs", "scheduler", *name)
        assert unknown.returncode == 1
        assert "no component 'scheduler'" in unknown.stderr
        assert collab(tmp_path, "local", "down", *name).stdout == "cluster shell stopped\n"
        assert collab(tmp_path, "local", "status", *name).returncode == 1
    finally:
        removed = collab(tmp_path, "local", "down", "--wipe", *name)
    assert removed.stdout == "cluster shell stopped and removed\n"
    assert not kubeconfig.exists()
