"""Fetches Debian's packages of programs that tests need, into a cache: nothing is installed.

`make test` runs it for each of PROGRAMS. Where there is no apt, or no such package, tests that need it are skipped and
say so.
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from collabspace.local import binaries

SECONDS = 600


class NotHereError(Exception):
    """This machine cannot have it; the message says why."""


@dataclass(frozen=True)
class Program:
    """`packages` are asked for; of what they depend on, those are taken whose names match `needs`.

    `path` is that of the program, as below `/`; `use` says what is skipped without it.
    """

    name: str
    packages: tuple[str, ...]
    path: str
    use: str
    needs: str = ""

    @property
    def folder(self) -> Path:
        return binaries.cache_folder().parent / self.name

    def root(self) -> Path | None:
        """Where everything lies as below `/`; None when it was not fetched."""
        found = self.folder / "root"
        return found if found.is_dir() else None

    def fetch(self) -> Path:
        """Raises NotHereError."""
        if (done := self.root()) is not None:
            return done
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            packages, unpacked = Path(temporary, "packages"), Path(temporary, "root")
            packages.mkdir()
            _apt("download", *self._names(), cwd=packages)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda each: _run("dpkg", "-x", str(each), str(unpacked)), sorted(packages.iterdir())))
            if not (unpacked / self.path).exists():
                raise NotHereError(f"the packages hold no {self.path}")
            try:
                unpacked.rename(self.folder / "root")
            except OSError:
                if self.root() is None:
                    raise
        return self.folder / "root"

    def _names(self) -> list[str]:
        plan = _apt("install", "--print-uris", "--yes", "--no-install-recommends", *self.packages)
        wanted = re.compile(rf"'\S+' ({'|'.join((*map(re.escape, self.packages), self.needs or '$'))})_\S+\.deb ")
        names = [match[1] for match in map(wanted.match, plan.splitlines()) if match]
        if missing := set(self.packages) - set(names):
            raise NotHereError(f"apt does not offer {', '.join(sorted(missing))}, or has it installed")
        return names


RADOSGW = Program(
    "radosgw",
    ("radosgw", "ceph-mon", "ceph-osd"),
    "usr/bin/radosgw",
    "tests of S3",
    # Libraries and Ceph itself, not its tools for disks and the command line in Python.
    needs=r"lib[a-z0-9.+-]+|ceph-(?:base|common)",
)
# Of one file each; what the package depends on is for the pages of its console.
PROMETHEUS = Program("prometheus", ("prometheus",), "usr/bin/promtool", "tests of alerts and dashboards")
PROGRAMS = (RADOSGW, PROMETHEUS)


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


def main() -> None:
    """Fetches the programs named, and says which cannot be had."""
    for program in PROGRAMS:
        if program.name in sys.argv[1:]:
            try:
                program.fetch()
            except NotHereError as reason:
                sys.stdout.write(f"{program.name} is not here, so that {program.use} will be skipped: {reason}\n")


if __name__ == "__main__":
    main()
