"""What a lane found: a table on the terminal while it grows, then JSON, Markdown and a plot under build/bench."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build" / "bench"
Value = float | int | str
Ticks = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """One line of the plot: from each row of the lane, the value of `y` over that of `x`."""

    lane: str
    y: str


@dataclass
class Report:
    """`columns` maps the heading of each column, unit included, to its format."""

    name: str
    columns: Mapping[str, str]
    rows: list[dict[str, Value]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ticks: Ticks = field(default_factory=lambda: processor_ticks())

    def __post_init__(self) -> None:
        self.note(f"load at the start {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {platform.machine()}")
        print(" | ".join(self.columns), flush=True)

    def row(self, **values: Value) -> None:
        """One row; keys are positions of columns in order."""
        row = dict(zip(self.columns, values.values(), strict=True))
        self.rows.append(row)
        print(" | ".join(self._cells(row)), flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(f"# {text}", flush=True)

    def save(self, x: str = "", lines: Sequence[Line] = (), *, log: bool = False) -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        self.note(
            f"load at the end {os.getloadavg()[0]:.1f}; {stolen_since(self.ticks):.0%} of the processors' time was "
            "kept from this machine by its host (steal)"
        )
        table = [self.columns.keys(), ["---"] * len(self.columns), *map(self._cells, self.rows)]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        notes = "\n".join(f"- {note}" for note in self.notes)
        BUILD.joinpath(f"{self.name}.md").write_text(f"{text}\n\n{notes}\n")
        BUILD.joinpath(f"{self.name}.json").write_text(json.dumps({"rows": self.rows, "notes": self.notes}, indent=1))
        if lines:
            self._plot(x, lines, log)
        print(f"written: {BUILD / self.name}.md", flush=True)

    def _cells(self, row: Mapping[str, Value]) -> list[str]:
        return [
            format(row[name], spec) if not isinstance(row[name], str) else str(row[name])
            for name, spec in self.columns.items()
        ]

    def _plot(self, x: str, lines: Sequence[Line], log: bool) -> None:
        import matplotlib as mpl

        mpl.use("svg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 4))
        first = next(iter(self.columns))
        for line in lines:
            points = sorted((float(row[x]), float(row[line.y])) for row in self.rows if row[first] == line.lane)
            axes.plot(*zip(*points, strict=True), marker="o", label=f"{line.lane}: {line.y}")
        axes.set_xlabel(x)
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):  # numbers as people write them, 2,000 and not 2 x 10^3
                axis.set_major_formatter("{x:,g}")
                axis.set_minor_formatter("{x:,g}")
            axes.set_xticks(sorted({float(row[x]) for row in self.rows}))
            axes.minorticks_off()
            axes.yaxis.set_minor_locator(mpl.ticker.LogLocator(subs=(2, 5)))
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        figure.tight_layout()
        figure.savefig(BUILD / f"{self.name}.svg", metadata={"Date": None})
        plt.close(figure)


def processor_ticks() -> Ticks:
    """Time that the host kept from this machine while it had work, and all time, over all cores; see proc_stat(5)."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[7], sum(fields)


def stolen_since(before: Ticks) -> float:
    """The share of time since then that the host kept: it explains a slow lap, and no figure of this program does."""
    stolen, ticks = (now - then for now, then in zip(processor_ticks(), before, strict=True))
    return stolen / max(1, ticks)
