"""What a task that asked for too much may ask for instead, from the numbers in the message of its refusal. Pure."""

import re

from collabspace.api.task import Resources
from collabspace.core import quantity

LARGEST = re.compile(
    r"largest node of this cluster has (?:([0-9]+) GPU, )?([0-9]+(?:\.[0-9]+)?) CPU, ([0-9]+(?:\.[0-9]+)?) GiB"
)
QUOTA = re.compile(r"has (?:a (GPU|CPU) quota of ([0-9]+(?:\.[0-9]+)?)|no GPU quota)")


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


def beyond_quota(asked: Resources, message: str, gpu_quota: int | None) -> tuple[str, str]:
    """(flag of `teams add` that covers the task, flag of `submit` that fits the quota; empty when it owns none)."""
    found = QUOTA.search(message)
    if found and found[1] == "CPU":
        millis = quantity.amount(cpu=asked.cpu, memory="0", gpu="0").cpu_millis
        return f"--cpu-quota {-(-millis // 1000)}", f"--cpu {found[2]}"
    owned = found[2] or "0" if found else "N" if gpu_quota is None else str(gpu_quota)
    return f"--gpu-quota {asked.gpu}", "" if owned == "0" else f"--gpus {owned}"
