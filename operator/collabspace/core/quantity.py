"""Kubernetes quantities as exact whole numbers: GPUs, thousandths of a CPU, bytes of memory."""

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

SHAPE = re.compile(r"^([0-9]{1,20}(?:\.[0-9]{1,20})?)(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]{1,2})?$")
FACTORS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def parse(text: str) -> Decimal:
    """The number that a quantity means. Raises ValueError naming what is wrong."""
    match = SHAPE.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no quantity; write for example 4, 500m or 16Gi")
    number, suffix = match.group(1), match.group(2) or ""
    factor = FACTORS.get(suffix)
    return Decimal(number) * (factor if factor is not None else Decimal(f"1{suffix}"))


def _up(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Amount:
    """What something needs, holds or offers; every part a whole number, so that sums are exact."""

    gpus: int = 0
    cpu_millis: int = 0
    memory_bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.gpus + other.gpus, self.cpu_millis + other.cpu_millis, self.memory_bytes + other.memory_bytes
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(
            self.gpus - other.gpus, self.cpu_millis - other.cpu_millis, self.memory_bytes - other.memory_bytes
        )

    def __mul__(self, times: int) -> "Amount":
        return Amount(self.gpus * times, self.cpu_millis * times, self.memory_bytes * times)

    def count_in(self, room: "Amount", most: int) -> int:
        """How often this goes into `room`, at most so often."""
        parts = (
            (self.gpus, room.gpus),
            (self.cpu_millis, room.cpu_millis),
            (self.memory_bytes, room.memory_bytes),
        )
        return max(0, min([most, *(there // each for each, there in parts if each)]))

    def fits(self, room: "Amount") -> bool:
        """Whether this goes into `room` in every part. A part that is not asked for fits even where room is short."""
        return (
            (self.gpus <= room.gpus or self.gpus == 0)
            and (self.cpu_millis <= room.cpu_millis or self.cpu_millis == 0)
            and (self.memory_bytes <= room.memory_bytes or self.memory_bytes == 0)
        )

    def __str__(self) -> str:
        parts = [f"{cpus(self.cpu_millis)} CPU", f"{gibibytes(self.memory_bytes)} GiB memory"]
        return ", ".join(([f"{self.gpus} GPU"] if self.gpus else []) + parts)


def amount(*, cpu: str, memory: str, gpu: str) -> Amount:
    """An Amount from three quantities. Raises ValueError naming the wrong one."""
    return Amount(_up(parse(gpu)), _up(parse(cpu) * 1000), _up(parse(memory)))


def cpus(millis: int) -> str:
    """CPUs for people: 1500 -> `1.5`."""
    return f"{Decimal(millis) / 1000:f}".rstrip("0").rstrip(".") if millis % 1000 else str(millis // 1000)


def gibibytes(count: int) -> str:
    """GiB for people, at most one digit after the point."""
    return f"{count / 2**30:.1f}".removesuffix(".0")
