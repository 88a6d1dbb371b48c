"""A single real node (kubelet, containerd, CNI, DNS, kube-proxy, NetworkPolicies) by scripts beside the project.

Nothing of those scripts is part of the project. Where they are missing, or this machine cannot run them, `missing()`
says so. `COLLABSPACE_LAB` names another folder with the same scripts.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get("COLLABSPACE_LAB") or ROOT.parent / "shared" / "lab")
LAB = Path(os.environ.get("LAB") or "/var/tmp/lab")
BASE = "docker.io/library/python:3.11-slim"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# What each image is made of, below the project's root.
COMMON = ("build-requirements.txt", "pyproject.toml", "README.md", "operator/collabspace")
SOURCES = {
    "operator": (*COMMON, "operator/Dockerfile", "operator/requirements.txt", "operator/slim.py"),
    "trainer": (*COMMON, "trainer_image"),
}
DOCKERFILES = {"operator": "operator/Dockerfile", "trainer": "trainer_image/Dockerfile"}
ADDRESS = "10.99.0.1"
MINUTE = 60.0


def missing() -> str:
    """Why there can be no such node here; empty: there can."""
    if not (SCRIPTS / "up.sh").exists():
        return "the scripts for a real node are not beside the project (shared/lab)"
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "a real node needs Linux and root"
    if not shutil.which("go"):
        return "the node's programs are built from source; there is no Go"
    return ""


def script(name: str, *arguments: str, minutes: float, cwd: Path = ROOT) -> str:
    """Runs one of the scripts; raises AssertionError with the end of what it said when it fails."""
    done = subprocess.run(
        ["bash", str(SCRIPTS / name), *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=minutes * MINUTE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{name} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return done.stdout


def environment() -> dict[str, str]:
    """kubectl and helm of the node, as its admin."""
    path = f"{LAB / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig()), "LAB": str(LAB), "GPUS": "4"}


def kubeconfig() -> Path:
    return LAB / "kube" / "admin"


def build_image(name: str) -> None:
    """Builds collabspace/NAME unless the one that lies there was made of the same files."""
    tag = f"docker.io/collabspace/{name}:{VERSION}"
    mark = LAB / "images" / f"{name}.sources"
    made_of = _digest(name)
    if not (mark.exists() and mark.read_text() == made_of):
        arguments = ["--layers", "-f", DOCKERFILES[name], "--build-arg", f"BASE={BASE}", "--build-arg", "VARIANT=cpu"]
        script("images.sh", "build", tag, str(ROOT), *arguments, minutes=30)
        mark.write_text(made_of)


def _digest(name: str) -> str:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES[name]],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    digest = hashlib.sha256()
    for path in sorted(filter(None, tracked)):
        file = ROOT / path
        if file.is_file():
            digest.update(path.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def run(*command: str, fails: bool = False, stdin: str | None = None, minutes: float = 5) -> str:
    """kubectl, helm and the like on the node; returns what was printed, and raises AssertionError for another end."""
    done = subprocess.run(
        command,
        env=environment(),
        cwd=ROOT,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        check=False,
        timeout=minutes * MINUTE,
    )
    text = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"{' '.join(command)} ended with {done.returncode}:\n{text[-3000:]}"
    return text if fails else done.stdout
