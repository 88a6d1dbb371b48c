"""A panel of a dashboard, and the turns of PromQL that many of them share; not a word about Grafana.

A standby tells the same gauges as the leader, hence `max by`. $team is the reader's choice, a regular expression.
"""

from dataclasses import dataclass
from enum import StrEnum

DAY = 86400
RATE = "$__rate_interval"
TEAM = 'team=~"$team"'


class Show(StrEnum):
    """One figure, figures over time, or a bar for each figure of this moment."""

    STAT = "stat"
    LINES = "lines"
    BARS = "bars"


@dataclass(frozen=True)
class Panel:
    """`expr` is PromQL, `legend` names its series by labels. A figure is red from `bad` on, or, `low_is_bad`, below."""

    title: str
    expr: str
    help: str
    show: Show = Show.LINES
    legend: str = ""
    unit: str = "short"
    width: int = 12
    bad: float | None = None
    low_is_bad: bool = False


@dataclass(frozen=True)
class Page:
    """`name` is that of the file and stays; `title` is for people."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def figure(
    title: str, expr: str, help: str, *, unit: str = "short", bad: float | None = None, low: bool = False
) -> Panel:
    """One figure, a sixth of the width."""
    return Panel(title, expr, help, Show.STAT, unit=unit, width=4, bad=bad, low_is_bad=low)


def quantile(share: float, metric: str, by: str = "") -> str:
    """Of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"


def rate(metric: str, by: str, where: str = "") -> str:
    """Of a counter, per second."""
    return f"sum by ({by}) (rate({metric}{_braced(where)}[{RATE}]))"


def in_an_hour(metric: str, by: str, where: str = "") -> str:
    """By how much a counter grew."""
    return f"sum by ({by}) (increase({metric}{_braced(where)}[1h]))"


def current(metric: str, by: str, where: str = "") -> str:
    """Of a gauge that several operators tell."""
    return f"max by ({by}) ({metric}{_braced(where)})"


def tasks(state: str) -> str:
    """How many there are in a state, in all teams."""
    where = f'state="{state}"'
    return f"sum({current('collabspace_tasks', 'team', where)})"


def of_component(metric: str) -> str:
    """Of processes, by component."""
    return f"sum by (component) ({metric} * on (job, instance) group_left (component) collabspace_build_info)"


def _braced(where: str) -> str:
    return f"{{{where}}}" if where else ""
