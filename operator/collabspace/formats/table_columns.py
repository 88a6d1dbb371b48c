"""The first pass over a table: one header for all files, and a kind for every column, named or inferred."""

from collections.abc import Callable, Iterator, Sequence

from collabspace.api.manifest import ColumnKind, ColumnSchema, TargetColumn, TargetKind
from collabspace.formats.cells import Raw
from collabspace.formats.intake import CONTROL, DataFile, Intake
from collabspace.formats.kinds import ColumnProfile
from collabspace.formats.limits import MAX_COLUMNS, MAX_NAME_CHARACTERS
from collabspace.formats.problem import Problems, listed, quoted
from collabspace.formats.request import Request

RowReader = Callable[[DataFile, Intake], Iterator[tuple[int, list[Raw]]]]
_TARGET_KINDS = {
    TargetKind.CLASS: (ColumnKind.CATEGORY, ColumnKind.BOOLEAN),
    TargetKind.NUMBER: (ColumnKind.NUMBER,),
}


def choose_columns(
    request: Request, files: Sequence[DataFile], rows: RowReader, intake: Intake
) -> tuple[list[ColumnSchema], list[str]]:
    """The columns in order of the header, and warnings. Findings about headers, row lengths and names are added."""
    problems = intake.problems
    named = {column.name: column.kind for column in request.columns}
    if request.target is not None:
        _name_target(request.target, named, problems)
    names: list[str] = []
    profiles: list[tuple[int, ColumnProfile]] = []
    for file in files:
        before = problems.count
        found = rows(file, intake)
        header = read_header(file.name, next(found, (1, []))[1], problems)
        if header and not names:
            names = header
            profiles = [(i, ColumnProfile(name)) for i, name in enumerate(names) if name not in named]
        elif header and header != names:
            message = f"the header is not that of {files[0].name}"
            problems.add(file.name, 1, message, "Give all files the same columns in the same order.")
        if header == names:
            empty = _profile(found, profiles)
            if empty and problems.count == before:
                problems.add(file.name, None, "the file holds no row", "Remove it or fill it.")
    _check_names(request, named, names, problems)
    kinds = named | {names[index]: profile.kind() for index, profile in profiles}
    warnings = [profile.warning for _, profile in profiles if profile.warning]
    if request.target is None:
        warnings.append("no target: nothing can be trained on the table until one is named")
    problems.raise_if_any()
    return [ColumnSchema(name=name, kind=kinds[name]) for name in names], warnings


def _profile(found: Iterator[tuple[int, list[Raw]]], profiles: list[tuple[int, ColumnProfile]]) -> bool:
    """Takes every row into account; True when there was none."""
    empty = True
    for _, cells in found:
        empty = False
        for index, profile in profiles:
            profile.add(cells[index])
    return empty


def read_header(name: str, cells: Sequence[Raw], problems: Problems) -> list[str]:
    """The column names; empty after a finding."""
    before = problems.count
    if not cells:
        problems.add(name, 1, "the table has no header", "Write the columns' names in the first line.")
    if len(cells) > MAX_COLUMNS:
        message = f"{len(cells)} columns, at most {MAX_COLUMNS} are allowed"
        problems.add(name, 1, message, "Leave some out.")
    names = [cell if isinstance(cell, str) else "" for cell in cells]
    for position, column in enumerate(names, 1):
        if not column.strip() or len(column) > MAX_NAME_CHARACTERS or CONTROL.search(column) or "\n" in column:
            message = f"the name of column {position} is empty, too long or holds control characters"
            problems.add(name, 1, message, f"Give it at most {MAX_NAME_CHARACTERS} characters.")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        problems.add(name, 1, "the header is one cell that holds semicolons or tabs", "Part the cells by commas.")
    if repeated := sorted({column for column in names if column and names.count(column) > 1}):
        problems.add(name, 1, f"the header names {listed(repeated)} more than once", "Rename all but one.")
    return names if problems.count == before else []


def _name_target(target: TargetColumn, named: dict[str, ColumnKind], problems: Problems) -> None:
    allowed = _TARGET_KINDS[target.kind]
    kind = named.setdefault(target.column, allowed[0])
    if kind not in allowed:
        message = f"the target {quoted(target.column)} is to be a {target.kind}, its column a {kind}"
        problems.add("", None, message, f"Name the column's kind as {' or '.join(allowed)}.")


def _check_names(request: Request, named: dict[str, ColumnKind], names: list[str], problems: Problems) -> None:
    if not names:
        return
    wanted = [column for column in named if column not in names]
    group_by = request.split.group_by
    if group_by is not None and group_by not in names:
        wanted.append(group_by)
    if wanted:
        message = f"no column is called {listed(wanted)}; the columns are {listed(names)}"
        problems.add("", None, message, "Correct the name.")
    if len(request.columns) > len({column.name for column in request.columns}):
        problems.add("", None, "the kinds name a column twice", "Name each once.")
