"""CSV as RFC 4180 has it: a header, quoted cells that may hold line feeds, every row as long as the header."""

import csv
from collections.abc import Iterator

from collabspace.formats.cells import Raw
from collabspace.formats.intake import DataFile, Intake

EXTENSION = ".csv"


def csv_rows(file: DataFile, intake: Intake) -> Iterator[tuple[int, list[Raw]]]:
    """(line on which the row starts, cells), the header first. An empty cell is missing: None.

    A row of another length than the header is a finding and left out. Blank lines at the end are not rows.
    """
    reader = csv.reader((text + "\n" for _, text in intake.lines(file)), strict=True)
    width: int | None = None
    blank: int | None = None
    start = 1
    try:
        for row in reader:
            if not row:
                blank = blank or start
            elif width is None or (len(row) == width and blank is None):
                width = len(row)
                yield start, [cell or None for cell in row]
            else:
                _report(file, intake, blank or start, 0 if blank else len(row), width)
                blank = None
            start = reader.line_num + 1
    except csv.Error as error:
        # The module's messages tell of quotes and limits, never of content.
        remedy = f"Quote it as RFC 4180 says; a cell holds at most {csv.field_size_limit()} characters."
        intake.problems.add(file.name, start, f"the row that starts here is no CSV ({error})", remedy)


def _report(file: DataFile, intake: Intake, line: int, cells: int, width: int) -> None:
    message = f"{cells} cells, the header has {width}"
    remedy = "Give every row as many cells as the header; quote a cell that holds a comma or a line feed."
    intake.problems.add(file.name, line, message, remedy)
