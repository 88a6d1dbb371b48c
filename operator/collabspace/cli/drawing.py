"""Drawing on a terminal: data in, Rich renderables out; nothing here reads a cluster, a file or a clock."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from collabspace.cli.output import Cell, plain, text_of


def console(width: int | None = None) -> Console:
    """For stdout. Texts come from outside, so no markup is read in them; NO_COLOR is heeded by Rich."""
    return Console(highlight=False, markup=False, emoji=False, width=width)


LAST_COLUMN = 24
GAP = 3


def width_for(headers: Sequence[str], rows: Sequence[Sequence[Cell]], terminal: int) -> int:
    """The terminal's width when the last column can wrap within it; else what the table needs, so that nothing is cut
    and the terminal breaks the lines."""
    columns = [max(len(plain(text_of(cell))) for cell in column) for column in zip(headers, *rows, strict=True)]
    fixed = sum(columns[:-1]) + GAP * (len(columns) - 1)
    return terminal if fixed + min(columns[-1], LAST_COLUMN) <= terminal else fixed + columns[-1] + GAP


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table in kubectl's manner: no lines, bold headers; the last column wraps when the terminal is narrow."""
    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for header in headers:
        drawn.add_column(header, no_wrap=header != headers[-1], overflow="fold")
    for row in rows:
        drawn.add_row(*(styled(cell) for cell in row))
    return drawn


def styled(cell: Cell) -> Text:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(plain(text), style=style)


def live_tasks(headers: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> RenderableType:
    """Rows of running tasks, redrawn as they change, and a note under them."""
    drawn = table(headers, rows)
    return Group(drawn, Text(plain(note), style="dim")) if note else drawn
