"""Tabular: CSV and Parquet in, kinds named or inferred, classes counted; each refusal with file and line."""

import gzip
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collabspace.api.manifest import ColumnKind, ColumnSchema, Split, TargetColumn
from collabspace.formats import SplitRule, check, read_table

CLASS = TargetColumn(column="outcome", kind="Class")
ALL_TRAIN = SplitRule("Hash", 100, 0, 0)
PATIENTS = "age,outcome\n61,sick\n34,well\n"


def _splits(train: str = PATIENTS, other: str = PATIENTS) -> dict[str, str]:
    return {"train.csv": train, "dev.csv": other, "test.csv": other}


def _kinds(pushed) -> dict[str, str]:
    return {column.name: column.kind.value for column in pushed.manifest.columns}


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_a_csv_becomes_parquet_with_kinds_classes_and_counts(work) -> None:
    pushed = work.table(_splits("age,outcome\n61,sick\n34,well\n,well\n"), target=CLASS)
    assert [file.path for file in pushed.manifest.files] == ["train.parquet", "validation.parquet", "test.parquet"]
    assert _kinds(pushed) == {"age": "Number", "outcome": "Category"}
    assert pushed.manifest.labels == ["sick", "well"]
    assert pushed.prepared.label_counts[Split.TRAIN] == {"sick": 1, "well": 2}
    assert pushed.manifest.target == CLASS
    table = read_table(pushed.folder, pushed.manifest, Split.TRAIN)
    assert table.to_pydict() == {"age": [61.0, 34.0, None], "outcome": ["sick", "well", "well"]}
    check(pushed.folder, pushed.manifest)


def test_quoted_cells_hold_commas_quotes_and_line_feeds(work) -> None:
    text = 'note,outcome\r\n"a, ""b""\r\nc",x\r\nplain,y\r\n'
    pushed = work.table(_splits(text, text), target=CLASS)
    table = read_table(pushed.folder, pushed.manifest, Split.TRAIN)
    assert table["note"].to_pylist() == ['a, "b"\nc', "plain"]


def test_every_kind_can_be_named_and_is_kept_in_its_type(work) -> None:
    kinds = {"n": "Number", "c": "Category", "b": "Boolean", "t": "Time", "x": "Text", "i": "Identifier", "g": "Ignore"}
    columns = [ColumnSchema(name=name, kind=kind) for name, kind in kinds.items()]
    text = "n,c,b,t,x,i,g\n 1e3,1,YES,2024-01-31T12:00:00+01:00,long text,007,z\n-.5,2,0,2024-02-01,,008,\n"
    pushed = work.table(_splits(text, text), columns=columns)
    assert _kinds(pushed) == kinds
    assert read_table(pushed.folder, pushed.manifest, Split.TEST).to_pydict() == {
        "n": [1000.0, -0.5],
        "c": ["1", "2"],
        "b": [True, False],
        "t": [datetime(2024, 1, 31, 11, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)],
        "x": ["long text", None],
        "i": ["007", "008"],
        "g": ["z", None],
    }


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2.5", "3e4", ".5"], ColumnKind.NUMBER),
        (["0", "1", "1"], ColumnKind.NUMBER),
        (["true", "False", "TRUE"], ColumnKind.BOOLEAN),
        (["yes", "no", "yes"], ColumnKind.BOOLEAN),
        (["yes", "false"], ColumnKind.CATEGORY),
        (["2024-01-31", "2024-02-01T10:00:00Z"], ColumnKind.TIME),
        (["2024-01-31", "2024-02-31"], ColumnKind.CATEGORY),
        (["007", "008"], ColumnKind.CATEGORY),
        (["red", "green", "red"], ColumnKind.CATEGORY),
        (["1", "n/a", "3"], ColumnKind.CATEGORY),
        (["nan", "1"], ColumnKind.CATEGORY),
        ([f"P{i}" for i in range(20)], ColumnKind.IDENTIFIER),
        ([f"P{i}" for i in range(19)], ColumnKind.CATEGORY),
        ([f"P{i} " + "word " * 20 for i in range(20)], ColumnKind.TEXT),
        ([f"P{i}" for i in range(30)] * 2, ColumnKind.CATEGORY),
        ([f"P{i}" for i in range(30)] + ["P0"], ColumnKind.TEXT),
        (["", ""], ColumnKind.IGNORE),
    ],
)
def test_kinds_are_inferred_by_the_documented_rules(work, cells: list[str], kind: ColumnKind) -> None:
    rows = "".join(f"{cell},k\n" for cell in cells)
    pushed = work.table({"all.csv": f"column,k\n{rows}"}, split=ALL_TRAIN)
    assert pushed.manifest.columns[0].kind is kind


def test_a_column_of_numbers_with_a_few_others_is_warned_about(work) -> None:
    rows = "".join(f"{i},k\n" for i in range(30)) + "n/a,k\n"
    pushed = work.table({"all.csv": "age,k\n" + rows}, split=ALL_TRAIN)
    assert any(
        'column "age" is taken as Identifier: 1 of 31 cells are no number' in w for w in pushed.prepared.warnings
    )


def test_unique_numbers_stay_numbers(work) -> None:
    pushed = work.table({"train.csv": "age,k\n" + "".join(f"{i},k\n" for i in range(50))})
    assert _kinds(pushed)["age"] == "Number"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,age,outcome\n1,2,x\n", 'train.csv:1: the header names "age" more than once'),
        ("age,,outcome\n1,2,x\n", "train.csv:1: the name of column 2 is empty, too long or holds control"),
        ("age," + "x" * 129 + ",outcome\n1,2,x\n", "train.csv:1: the name of column 2 is empty, too long"),
        ("age,outcome\n", "train.csv: the file holds no row"),
        ("age;outcome\n1;x\n", "train.csv:1: the header is one cell that holds semicolons or tabs"),
        ("", "train.csv:1: the table has no header"),
        ("age,outcome\n1,x\n2\n", "train.csv:3: 1 cells, the header has 2"),
        ('age,outcome\n"1\n\n",x\n2,x,y\n', "train.csv:5: 3 cells, the header has 2"),
        ("age,outcome\n1,x\n\n2,y\n", "train.csv:3: 0 cells, the header has 2"),
        ('age,outcome\n1,x\n"2"3,y\n', "train.csv:3: the row that starts here is no CSV"),
        ('age,outcome\n1,x\n"2,y\n3,y\n', "train.csv:3: the row that starts here is no CSV"),
        ("age,outcome\n1,x\n2\x00,y\n", "train.csv:3: control character U+0000 at position 2"),
        ("age,outcome\n1,x\n2,\n", 'train.csv:3: the target "outcome" is missing'),
        ("age,outcome\n1,x\n2," + "y" * 129 + "\n", 'train.csv:3: the class in "outcome" is longer than 128'),
        ("age,other\n1,x\n", 'no column is called "outcome"; the columns are "age", "other"'),
    ],
)
def test_a_broken_table_is_refused_with_its_line(work, refused, text: str, message: str) -> None:
    lines = refused(work.table, {"train.csv": text}, target=CLASS)
    assert lines[0].startswith(message)


def test_blank_lines_at_the_end_are_no_rows(work) -> None:
    pushed = work.table(_splits(PATIENTS + "\n\n"), target=CLASS)
    assert pushed.prepared.counts[Split.TRAIN] == 2


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e999", "1_000", "0x1f", "٣", "007", "1,5", "secret"])
def test_a_cell_that_is_no_finite_number_is_refused_without_showing_it(work, refused, cell: str) -> None:
    columns = [ColumnSchema(name="age", kind="Number")]
    text = f'age,outcome\n"1","x"\n"{cell}","y"\n'
    (line,) = refused(work.table, {"train.csv": text}, target=CLASS, columns=columns)
    assert line.startswith('train.csv:3: column "age": the cell is no finite number.')
    assert cell not in line


@pytest.mark.parametrize(("kind", "message"), [("Boolean", "neither true nor false"), ("Time", "no date or time")])
def test_a_cell_that_does_not_fit_its_named_kind_is_refused(work, refused, kind: str, message: str) -> None:
    columns = [ColumnSchema(name="age", kind=kind)]
    lines = refused(work.table, _splits(), target=CLASS, columns=columns)
    assert message in lines[0]


def test_a_number_target_must_be_a_number_and_present(work, refused) -> None:
    target = TargetColumn(column="outcome", kind="Number")
    lines = refused(work.table, {"train.csv": "age,outcome\n1,\n2,high\n"}, target=target)
    assert [line.split(". ")[0] for line in lines] == [
        'train.csv:2: the target "outcome" is missing',
        'train.csv:3: column "outcome": the cell is no finite number',
    ]


def test_a_number_target_has_no_classes(work) -> None:
    pushed = work.table(_splits("a,b\nx,1\n", "a,b\ny,2\n"), target=TargetColumn(column="b", kind="Number"))
    assert pushed.manifest.labels == []
    assert pushed.manifest.label_counts == {}
    check(pushed.folder, pushed.manifest)


def test_a_class_missing_in_a_split_is_refused_with_counts(work, refused) -> None:
    lines = refused(work.table, _splits(PATIENTS + "50,dead\n"), target=CLASS)
    assert lines == [
        '"dead" does not occur in validation, test (train 1, validation 0, test 0). '
        "Add records that have it, or remove it everywhere."
    ]


def test_a_single_class_is_refused(work, refused) -> None:
    text = "age,outcome\n1,x\n"
    assert 'the target "outcome" has one class only' in refused(work.table, _splits(text, text), target=CLASS)[0]


def test_a_class_column_of_free_text_is_refused(work, refused) -> None:
    text = "age,outcome\n" + "".join(f"1,text {i}\n" for i in range(1_500))
    (line,) = refused(work.table, {"train.csv": text}, target=CLASS)
    assert line.startswith("more than 1000 labels.")


def test_a_target_that_contradicts_its_column_is_refused(work, refused) -> None:
    columns = [ColumnSchema(name="outcome", kind="Number")]
    lines = refused(work.table, _splits(), target=CLASS, columns=columns)
    assert lines[0].startswith('the target "outcome" is to be a Class, its column a Number.')


def test_a_boolean_target_has_the_classes_false_and_true(work) -> None:
    text = "age,outcome\n1,yes\n2,no\n"
    columns = [ColumnSchema(name="outcome", kind="Boolean")]
    pushed = work.table(_splits(text, text), target=CLASS, columns=columns)
    assert pushed.manifest.labels == ["false", "true"]
    check(pushed.folder, pushed.manifest)


def test_a_named_column_that_is_not_there_is_refused(work, refused) -> None:
    columns = [ColumnSchema(name="weight", kind="Number")]
    lines = refused(work.table, _splits(), columns=columns, split=SplitRule(group_by="patient"))
    assert lines[0].startswith('no column is called "weight", "patient"; the columns are "age", "outcome".')


def test_files_with_different_headers_are_refused(work, refused) -> None:
    lines = refused(work.table, _splits("outcome,age\nsick,1\n"), target=CLASS)
    assert lines == [
        "train.csv:1: the header is not that of dev.csv. Give all files the same columns in the same order."
    ]


def test_more_columns_than_allowed_are_refused(work, refused) -> None:
    text = ",".join(f"c{i}" for i in range(2_001)) + "\n" + ",".join("1" * 2_001) + "\n"
    assert refused(work.table, {"train.csv": text})[0].startswith("train.csv:1: 2001 columns, at most 2000")


def test_rows_with_equal_groups_stay_together_and_a_missing_group_is_refused(work, refused) -> None:
    rows = "".join(f"p{i // 5},{i},{'ab'[i % 2]}\n" for i in range(500))
    rule = SplitRule(group_by="patient")
    header = "patient,age,outcome\n"
    pushed = work.table({"visits.csv": header + rows}, split=rule, target=CLASS)
    sides = [set(read_table(pushed.folder, pushed.manifest, s)["patient"].to_pylist()) for s in Split]
    assert sum(map(len, sides)) == 100 == len(set.union(*sides))
    (line,) = refused(work.table, {"visits.csv": header + rows + ",1,a\n"}, split=rule, target=CLASS)
    assert line.startswith('visits.csv:502: column "patient" to group by is missing.')


def test_a_row_keeps_its_split_when_other_rows_change_the_inferred_kind(work) -> None:
    rows = [f"{i},{'ab'[i % 2]}\n" for i in range(300)]
    first = work.table({"t.csv": "x,outcome\n" + "".join(rows)}, target=CLASS)
    second = work.table({"t.csv": "x,outcome\n" + "".join([*rows, "n/a,a\n"])}, target=CLASS)
    assert _kinds(first)["x"] == "Number"
    assert _kinds(second)["x"] == "Identifier"
    for split in Split:
        before = {int(x) for x in read_table(first.folder, first.manifest, split)["x"].to_pylist()}
        after = {x for x in read_table(second.folder, second.manifest, split)["x"].to_pylist() if x != "n/a"}
        assert {str(x) for x in before} == after


# Parquet


def test_parquet_of_plain_types_is_read_like_the_same_csv(work) -> None:
    table = pa.table(
        {
            "n": pa.array([1, 2, None], pa.int32()),
            "d": pa.array([Decimal("1.50"), None, Decimal(2)], pa.decimal128(8, 2)),
            "b": [True, False, None],
            "t": pa.array([date(2024, 1, 31), None, date(2024, 2, 1)]),
            "s": pa.array(["x", "y", ""]).dictionary_encode(),
            "outcome": ["u", "v", "u"],
        }
    )
    data = _parquet(table)
    files = {"train.parquet": data, "dev.parquet": data, "test.parquet.gz": gzip.compress(data)}
    pushed = work.table(files, target=CLASS)
    kinds = {"n": "Number", "d": "Number", "b": "Boolean", "t": "Time", "s": "Category", "outcome": "Category"}
    assert _kinds(pushed) == kinds
    found = read_table(pushed.folder, pushed.manifest, Split.TEST).to_pydict()
    assert found["n"] == [1.0, 2.0, None]
    assert found["d"] == [1.5, None, 2.0]
    assert found["s"] == ["x", "y", None]
    assert found["t"][0] == datetime(2024, 1, 31, tzinfo=UTC)
    check(pushed.folder, pushed.manifest)
    csv = "n,d,b,t,s,outcome\n1,1.50,true,2024-01-31,x,u\n2,,false,,y,v\n,2,,2024-02-01,,u\n"
    same = work.table({"train.csv": csv, "dev.csv": csv, "test.csv": csv}, target=CLASS)
    assert same.manifest.files == pushed.manifest.files


def test_the_same_rows_as_csv_and_parquet_fall_on_the_same_side(work) -> None:
    rows = [(i, f"t{i}", "uv"[i % 2]) for i in range(200)]
    csv = "n,s,outcome\n" + "".join(f"{n},{s},{o}\n" for n, s, o in rows)
    n, s, o = zip(*rows, strict=True)
    parquet = _parquet(pa.table({"n": list(n), "s": list(s), "outcome": list(o)}))
    first, second = work.table({"t.csv": csv}, target=CLASS), work.table({"t.parquet": parquet}, target=CLASS)
    for split in Split:
        one, other = (read_table(p.folder, p.manifest, split)["n"].to_pylist() for p in (first, second))
        assert one == other


def test_times_of_parquet_are_kept_in_utc_whatever_their_zone_is_called(work) -> None:
    moment = datetime(2024, 7, 1, 12, tzinfo=UTC)
    nanoseconds = int(moment.timestamp()) * 10**9 + 1
    table = pa.table({zone: pa.array([nanoseconds], pa.timestamp("ns", zone)) for zone in ("Asia/Tokyo", "No/Where")})
    pushed = work.table({"all.parquet": _parquet(table)}, split=ALL_TRAIN)
    found = read_table(pushed.folder, pushed.manifest, Split.TRAIN).to_pydict()
    assert found == {"Asia/Tokyo": [moment], "No/Where": [moment]}


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (pa.array([[1]]), "nested"),
        (pa.array([{"secret": 1}]), "nested"),
        (pa.array([b"x"]), "binary"),
        (pa.array([1], pa.duration("s")), "duration[s]"),
    ],
)
def test_nested_and_opaque_parquet_columns_are_refused_by_name(work, refused, column: pa.Array, name: str) -> None:
    (line,) = refused(work.table, {"train.parquet": _parquet(pa.table({"c": column}))})
    assert line.startswith(f'train.parquet: column "c" has the type {name}. ')


def test_a_number_in_parquet_must_be_finite_and_its_row_is_named(work, refused) -> None:
    data = _parquet(pa.table({"x": [1.0, float("nan")], "outcome": ["a", "b"]}))
    (line,) = refused(work.table, {"train.parquet": data}, target=CLASS)
    assert line.startswith('train.parquet:2: column "x": the cell is no finite number.')


def test_a_repeated_column_in_parquet_is_refused(work, refused) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert 'the header names "x" more than once' in refused(work.table, {"train.parquet": _parquet(table)})[0]


def test_control_characters_in_parquet_are_refused(work, refused) -> None:
    data = _parquet(pa.table({"x": ["a", "b\x1b[0m"]}))
    assert "the cell holds control character U+001B" in refused(work.table, {"train.parquet": data})[0]


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -20])
def test_a_damaged_parquet_file_is_refused_by_name(work, refused, cut: int) -> None:
    data = _parquet(pa.table({"x": list(range(1_000))}))[:cut]
    assert refused(work.table, {"train.parquet": data})[0].startswith("train.parquet: is no sound Parquet file.")


def test_parquet_beyond_the_bound_on_bytes_is_refused(work, refused) -> None:
    data = _parquet(pa.table({"x": ["same"] * 1_000_000}))
    assert len(data) < 10_000
    (line,) = refused(work.table, {"train.parquet": data}, max_bytes=1_000_000)
    assert line.startswith("train.parquet: the data is larger than 1000000 bytes when decompressed.")


def test_equal_tables_give_equal_digests(work) -> None:
    first, second = work.table(_splits(), target=CLASS), work.table(_splits(), target=CLASS)
    assert first.manifest.digest == second.manifest.digest


def test_more_rows_than_one_row_group_are_written_and_read(work) -> None:
    text = "x\n" + "".join(f"{i}\n" for i in range(70_000))
    pushed = work.table({"train.csv": text}, split=ALL_TRAIN)
    table = read_table(pushed.folder, pushed.manifest, Split.TRAIN)
    assert table["x"].to_pylist() == [float(i) for i in range(70_000)]
    check(pushed.folder, pushed.manifest)


def test_reading_a_split_that_is_not_there_gives_a_table_without_rows(work) -> None:
    pushed = work.table({"train.csv": "x\n1\n"}, split=ALL_TRAIN)
    table = read_table(pushed.folder, pushed.manifest, Split.TEST)
    assert (table.num_rows, table.column_names) == (0, ["x"])
