"""Which images this node knows. An image is only a name here: it stands for programs of this Python environment."""

import sys
from dataclasses import dataclass
from pathlib import Path

from collabspace.api import names

TEST_SHELL_IMAGE = "collabspace/test-shell"


class UnknownImageError(Exception):
    """No program of this environment stands for the image; the message says which images are known."""


class EntryPointError(Exception):
    """The container's command is not one of its image's programs."""


@dataclass(frozen=True)
class Image:
    """`programs` maps what may stand first in `command` to the file that runs; the first is the default."""

    programs: dict[str, Path]

    def arguments(self, command: tuple[str, ...], args: tuple[str, ...]) -> tuple[str, ...]:
        """The whole argument list with an absolute program. Raises EntryPointError."""
        first, *rest = command or (next(iter(self.programs)),)
        if first not in self.programs:
            known = ", ".join(self.programs)
            raise EntryPointError(f"command {first!r} is not a program of this image; use one of: {known}")
        return (str(self.programs[first]), *rest, *args)


class Images:
    """The allow-list. `allow_test_image` adds an image that is a plain shell, for tests of the node itself."""

    def __init__(self, *, allow_test_image: bool = False) -> None:
        environment = Path(sys.executable).parent
        trainer = {name: environment / name for name in ("collabspace-trainer", "python")}
        self._known = {names.TRAINER_IMAGE: Image(trainer)}
        if allow_test_image:
            self._known[TEST_SHELL_IMAGE] = Image({name: Path("/bin/sh") for name in ("/bin/sh", "sh")})

    def find(self, reference: str) -> Image:
        """The image of `repository[:tag][@digest]`; tag and digest make no difference. Raises UnknownImageError."""
        name = repository(reference)
        if name not in self._known:
            raise UnknownImageError(
                f"image {reference!r} is not known to this node, which runs no containers but programs of its own"
                f" environment for: {', '.join(self._known)}. For other images use kind or a real cluster."
            )
        return self._known[name]


def repository(reference: str) -> str:
    """The name without registry default, tag and digest."""
    name = reference.partition("@")[0].removeprefix("docker.io/")
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
