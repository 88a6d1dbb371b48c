"""A team's settings: the annotations that an admin puts on its namespace, parsed once with every problem named."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from collabspace.api import names

WHOLE_NUMBER = re.compile(r"^[0-9]{1,6}$")


@dataclass(frozen=True)
class Team:
    """What a team owns. `problems` is empty when every annotation could be read."""

    namespace: str
    uid: str
    gpu_quota: int = 0
    cpu_quota: int | None = None
    skills: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def parse_team(namespace: str, uid: str, annotations: Mapping[str, str]) -> Team:
    """Settings from a namespace's annotations. No annotation: no GPU, no error; a wrong value is a problem."""
    problems: list[str] = []

    def whole(key: str) -> int | None:
        text = annotations.get(key)
        if text is None:
            return None
        if not WHOLE_NUMBER.match(text):
            problems.append(
                f"annotation {key} of namespace {namespace} is {text[:40]!r}; it must be a whole number "
                f"from 0 to 999999: kubectl collab teams add {namespace} --{key.rsplit('/', 1)[-1]} N"
            )
            return None
        return int(text)

    gpus = whole(names.GPU_QUOTA)
    cpus = whole(names.CPU_QUOTA)
    skills = tuple(part.strip() for part in annotations.get(names.SKILLS, "").split(",") if part.strip())
    return Team(namespace, uid, gpus or 0, cpus, skills, tuple(problems))
