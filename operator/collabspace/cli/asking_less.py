"""What a task that asked for too much may ask for instead. Pure."""

import re

from collabspace.api.task import Resources
from collabspace.api.team import Team
from collabspace.core import quantity

LARGEST = re.compile(
    r"largest node of this cluster has (?:([0-9]+) GPU, )?([0-9]+(?:\.[0-9]+)?) CPU, ([0-9]+(?:\.[0-9]+)?) GiB"
)


def beyond_node(asked: Resources, message: str) -> str:
    """Flags of `submit` that fit the largest node; `--gpus N` when the message does not say how large it is."""
    found = LARGEST.search(message)
    if found is None:
        return "--gpus N" if int(asked.gpu) else "--memory M"
    wanted = quantity.amount(cpu=asked.cpu, memory=asked.memory, gpu=asked.gpu)
    gpus, cpus, memory = int(found[1] or 0), found[2], float(found[3])
    flags = [f"--gpus {gpus}"] if wanted.gpus > gpus else []
    if wanted.cpu_millis > float(cpus) * 1000:
        flags.append(f"--cpu {cpus}")
    if wanted.memory_bytes > memory * 2**30:
        # The message rounds to a tenth: a little less is sure to fit.
        flags.append(f"--memory {int((memory - 0.05) * 1024)}Mi")
    return " ".join(flags) or "--gpus N"


def beyond_quota(asked: Resources, team: Team | None) -> tuple[str, str]:
    """(flags of `teams add` that cover the task, flags of `submit` that fit the quota; the latter empty when it owns
    none). Both are empty when the quota covers the task by now.

    Without the team, which not everybody may read, the numbers are left to the person.
    """
    if team is None:
        return f"--gpu-quota {asked.gpu}", "--gpus N"
    wanted = quantity.amount(cpu=asked.cpu, memory="0", gpu=asked.gpu)
    raised, less = [], []
    if wanted.gpus > team.gpu_quota:
        raised.append(f"--gpu-quota {wanted.gpus}")
        less.append(f"--gpus {team.gpu_quota}" if team.gpu_quota else "")
    if team.cpu_quota is not None and wanted.cpu_millis > 1000 * team.cpu_quota:
        raised.append(f"--cpu-quota {-(-wanted.cpu_millis // 1000)}")
        less.append(f"--cpu {team.cpu_quota}" if team.cpu_quota else "")
    return " ".join(raised), " ".join(less) if all(less) else ""
