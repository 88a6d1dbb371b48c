"""Where the control plane's programs come from: the user's folder, the cache, or a build, whole or not at all."""

import os
import sys
from pathlib import Path

import pytest

from collabspace.local import binaries
from collabspace.local.errors import LocalClusterError


def fill(folder: Path, programs: list[str]) -> Path:
    folder.mkdir(parents=True)
    for name in programs:
        (folder / name).touch(mode=0o755)
    return folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(binaries.ASSETS_VARIABLE, raising=False)
    return tmp_path / "cache"


def test_a_given_folder_is_used_when_complete(tmp_path: Path) -> None:
    folder = fill(tmp_path / "given", list(binaries.PACKAGES))
    assert binaries.ensure(folder) == folder


def test_a_given_folder_that_lacks_a_program_is_refused_by_the_programs_name(tmp_path: Path) -> None:
    folder = fill(tmp_path / "given", [name for name in binaries.PACKAGES if name != "kubectl"])
    with pytest.raises(LocalClusterError, match="lacks kubectl"):
        binaries.ensure(folder)


def test_incomplete_assets_of_the_environment_are_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = fill(tmp_path / "complete", list(binaries.PACKAGES))
    monkeypatch.setenv(binaries.ASSETS_VARIABLE, str(complete))
    assert binaries.ensure() == complete
    partial = fill(tmp_path / "partial", ["etcd", "kube-apiserver", "kubectl"])
    monkeypatch.setenv(binaries.ASSETS_VARIABLE, str(partial))
    lines: list[str] = []
    assert binaries.ensure(progress=lines.append) != partial
    assert "lacks kube-controller-manager, kube-scheduler" in lines[0]


def test_the_cache_needs_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(binaries.ASSETS_VARIABLE, raising=False)
    edition = binaries.ensure().name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = fill(binaries.cache_folder() / edition, list(binaries.PACKAGES))
    monkeypatch.setenv("PATH", "")
    assert binaries.ensure() == cached


def test_a_failed_build_says_why_and_leaves_nothing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOMODCACHE", str(empty_cache / "no-modules"))
    with pytest.raises(LocalClusterError, match=r"building etcd .* failed with exit code 1") as failure:
        binaries.ensure()
    assert "GOPROXY=off" in str(failure.value)
    assert [entry.name for entry in binaries.cache_folder().iterdir()] == ["lock"]


def test_progress_shows_seconds_and_the_last_line(tmp_path: Path) -> None:
    lines: list[str] = []
    program = "import time; print('first'); print('compiling this', flush=True); time.sleep(2.5)"
    binaries.run_showing("building x", [sys.executable, "-c", program], tmp_path, dict(os.environ), lines.append)
    assert lines == ["building x — 1 s  compiling this", "building x — 2 s  compiling this"]
