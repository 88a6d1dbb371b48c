"""Fetches Debian's radosgw with what it needs and this machine lacks, into a cache: nothing is installed.

`make test` runs it. Where there is no apt, or no such package, the tests of S3 are skipped and say so.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from collabspace.local import binaries

PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd")
# Of what the packages depend on: libraries and Ceph itself, not the tools for disks and the command line in Python.
WANTED = re.compile(r"'\S+' (lib[a-z0-9.+-]+|radosgw|ceph-(?:base|common|mon|osd))_\S+\.deb ")
SECONDS = 600


class NotHereError(Exception):
    """This machine cannot have it; the message says why."""


def folder() -> Path:
    return binaries.cache_folder().parent / "radosgw"


def root() -> Path | None:
    """Where the programs lie as below `/`; None when they were not fetched."""
    found = folder() / "root"
    return found if found.is_dir() else None


def fetch() -> Path:
    """Raises NotHereError."""
    if (done := root()) is not None:
        return done
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        packages, unpacked = Path(temporary, "packages"), Path(temporary, "root")
        packages.mkdir()
        _apt("download", *_names(), cwd=packages)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda package: _run("dpkg", "-x", str(package), str(unpacked)), sorted(packages.iterdir())))
        shutil.rmtree(packages)
        if not (unpacked / "usr" / "bin" / "radosgw").exists():
            raise NotHereError("the packages hold no radosgw")
        try:
            unpacked.rename(folder() / "root")
        except OSError:
            if root() is None:
                raise
    return folder() / "root"


def _names() -> list[str]:
    plan = _apt("install", "--print-uris", "--yes", "--no-install-recommends", *PROGRAMS)
    names = [match[1] for match in map(WANTED.match, plan.splitlines()) if match]
    if not set(PROGRAMS) <= set(names):
        raise NotHereError(f"apt does not offer {', '.join(sorted(set(PROGRAMS) - set(names)))}, or has it installed")
    return names


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    return _run("apt-get", "--quiet", *arguments, cwd=cwd)


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise NotHereError(f"there is no {command[0]}") from None
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise NotHereError(f"{' '.join(command[:3])}: {said[-1] if said else type(error).__name__}") from error
    return done.stdout


if __name__ == "__main__":
    try:
        fetch()
    except NotHereError as reason:
        sys.stdout.write(f"radosgw is not here, so that the tests of S3 will be skipped: {reason}\n")
