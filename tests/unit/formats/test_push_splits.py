"""Which split a record lands in, by file name or by hash, and what is refused about it."""

import hashlib

import pytest
from formats_workplace import SENTENCE

from collabspace.api.manifest import Split
from collabspace.formats import FormatError, SplitRule, read_token_classification
from collabspace.formats.folder import splits_named
from collabspace.formats.split import bucket, normalised


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.tsv", Split.TRAIN),
        ("training.conll", Split.TRAIN),
        ("data/train-00000-of-00003.jsonl", Split.TRAIN),
        ("notes_train2.tsv.gz", Split.TRAIN),
        ("my train.tsv", Split.TRAIN),
        ("Train.TSV", Split.TRAIN),
        ("valid.bio", Split.VALIDATION),
        ("a.validation.txt", Split.VALIDATION),
        ("dev/notes.tsv", Split.VALIDATION),
        ("x/devel/notes.tsv", Split.VALIDATION),
        ("val_1.csv", Split.VALIDATION),
        ("test/part-1.csv", Split.TEST),
        ("testing.tsv", Split.TEST),
        ("eval0.tsv", Split.TEST),
        ("a-evaluation-b.tsv", Split.TEST),
    ],
)
def test_a_split_word_counts_when_it_stands_between_borders(name: str, split: Split) -> None:
    assert splits_named(name) == [split]


@pytest.mark.parametrize(
    "name",
    ["retrain.tsv", "trained.tsv", "devil.tsv", "contest.tsv", "latest.csv", "value.csv", "xval.tsv", "tests.tsv"],
)
def test_a_split_word_inside_another_word_does_not_count(name: str) -> None:
    assert splits_named(name) == []


def test_files_with_split_words_are_provided_splits(work, splits) -> None:
    pushed = work.tokens(splits())
    assert pushed.manifest.split_mode == "Provided"
    assert pushed.prepared.counts == {Split.TRAIN: 1, Split.VALIDATION: 1, Split.TEST: 1}
    assert [file.path for file in pushed.manifest.files] == ["train.jsonl.gz", "validation.jsonl.gz", "test.jsonl.gz"]


def test_shards_of_one_split_are_joined_in_order_of_their_names(work) -> None:
    shards = {f"data/train-0000{i}-of-00002.tsv": f"word{i}\tB-X\n" for i in (1, 0)}
    pushed = work.tokens(shards | {"data/dev.tsv": "v\tB-X\n", "data/test.tsv": "t\tB-X\n"})
    train = read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN)
    assert [sentence.tokens[0] for sentence in train] == ["word0", "word1"]


def test_a_file_without_a_split_word_among_others_that_have_one_is_refused_by_name(work, splits, refused) -> None:
    lines = refused(work.tokens, splits() | {"extra.tsv": SENTENCE})
    assert lines == [
        "extra.tsv: no split word in the name, while other files have one. "
        "Put train, validation or test in its name or its folder's name."
    ]


def test_a_name_with_words_of_two_splits_is_refused(work, refused) -> None:
    (line,) = refused(work.tokens, {"train/dev.tsv": SENTENCE})
    assert line.startswith("train/dev.tsv: the name holds words of several splits (train, validation).")


def _sentences(count: int) -> str:
    return "".join(f"word{i}\tB-X\nstays\tO\n\n" for i in range(count))


def test_without_a_validation_file_a_tenth_of_train_is_taken_by_hash(work) -> None:
    pushed = work.tokens({"train.tsv": _sentences(400), "test.tsv": _sentences(3)})
    taken = read_token_classification(pushed.folder, pushed.manifest, Split.VALIDATION)
    assert 20 <= len(taken) <= 60
    assert all(80 <= bucket(0, f"{sentence.tokens[0]} stays") < 90 for sentence in taken)
    assert pushed.prepared.counts[Split.TRAIN] == 400 - len(taken)
    assert pushed.prepared.counts[Split.TEST] == 3


def test_without_a_test_file_the_push_is_allowed_with_a_warning(work) -> None:
    pushed = work.tokens({"train.tsv": SENTENCE, "dev.tsv": SENTENCE})
    assert pushed.prepared.warnings == ["no test split: the dataset cannot be evaluated"]
    assert Split.TEST not in pushed.prepared.counts


def test_a_test_file_alone_can_be_pushed_for_evaluation_only(work) -> None:
    pushed = work.tokens({"test.tsv": SENTENCE})
    assert pushed.prepared.counts == {Split.TEST: 1}
    assert "evaluated on, not trained on" in pushed.prepared.warnings[0]


def test_a_validation_file_alone_is_refused(work, refused) -> None:
    assert refused(work.tokens, {"dev.tsv": SENTENCE})[0].startswith("neither a train nor a test file.")


def test_without_any_split_word_records_are_split_80_10_10_by_hash(work) -> None:
    pushed = work.tokens({"notes.tsv": _sentences(2_000)})
    assert pushed.manifest.split_mode == "Hash"
    counts = pushed.prepared.counts
    assert 1_540 < counts[Split.TRAIN] < 1_660
    assert 140 < counts[Split.VALIDATION] < 260
    assert 140 < counts[Split.TEST] < 260


def test_the_bucket_is_the_documented_formula() -> None:
    expected = int(hashlib.sha256(b"7:some key").hexdigest()[:8], 16) % 100
    assert bucket(7, "some key") == expected


def test_each_hash_split_record_lies_on_the_side_of_its_bucket(work) -> None:
    pushed = work.tokens({"notes.tsv": _sentences(300)})
    for split, low, high in ((Split.TRAIN, 0, 80), (Split.VALIDATION, 80, 90), (Split.TEST, 90, 100)):
        for sentence in read_token_classification(pushed.folder, pushed.manifest, split):
            assert low <= bucket(0, f"{sentence.tokens[0]} stays") < high


def test_equal_texts_in_other_case_spacing_and_unicode_form_have_one_key() -> None:
    assert normalised("  Müller \t has\nGOUT") == normalised("mu\u0308ller has gout")


def test_percentages_and_seed_move_the_thresholds(work) -> None:
    rule = SplitRule(mode="Hash", train_percent=60, validation_percent=20, test_percent=20, seed=3)
    pushed = work.tokens({"notes.tsv": _sentences(1_000)}, split=rule)
    for sentence in read_token_classification(pushed.folder, pushed.manifest, Split.VALIDATION):
        assert 60 <= bucket(3, f"{sentence.tokens[0]} stays") < 80


@pytest.mark.parametrize("shares", [(80, 10, 20), (0, 50, 50), (110, -20, 10)])
def test_percentages_that_are_no_three_shares_of_100_are_an_error(shares: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="three shares of 100"):
        SplitRule("Hash", *shares)


def test_mode_hash_ignores_the_names_and_says_so(work) -> None:
    pushed = work.tokens({"train.tsv": _sentences(300)}, split=SplitRule(mode="Hash"))
    assert pushed.manifest.split_mode == "Hash"
    assert "split words in file names are not used" in pushed.prepared.warnings[0]


def test_mode_provided_without_split_words_is_refused(work, refused) -> None:
    lines = refused(work.tokens, {"notes.tsv": SENTENCE}, split=SplitRule(mode="Provided"))
    assert lines[0].startswith("notes.tsv: no split word in the name")


def test_mode_time_is_refused_for_now(work, refused) -> None:
    (line,) = refused(work.tokens, {"notes.tsv": SENTENCE}, split=SplitRule(mode="Time", time_column="when"))
    assert line.startswith("splits by time are for Interactions")


def test_an_empty_hash_split_is_refused_with_counts(work, refused) -> None:
    assert bucket(0, "word1 stays") < 80
    lines = refused(work.tokens, {"notes.tsv": "word1\tB-X\nstays\tO\n"})
    assert [line.split(".")[0] for line in lines] == [
        "no record in validation (train 1, validation 0, test 0)",
        "no record in test (train 1, validation 0, test 0)",
    ]


def test_an_entity_type_missing_in_a_split_is_refused_with_counts(work, splits, refused) -> None:
    train = SENTENCE + "\naspirin\tB-Drug\n\nibuprofen\tB-Drug\n"
    lines = refused(work.tokens, splits(train=train))
    assert lines == [
        '"Drug" does not occur in validation, test (train 2, validation 0, test 0). '
        "Add records that have it, or remove it everywhere."
    ]


def test_an_empty_file_is_refused_by_name(work, splits, refused) -> None:
    assert refused(work.tokens, splits(validation="\n\n")) == [
        "validation.tsv: the file holds no record. Remove it or fill it."
    ]


def test_documents_stay_together(work) -> None:
    notes = "".join(f"# doc = d{d}\n" + "".join(f"w{d}-{s}\tB-X\n\n" for s in range(5)) for d in range(60))
    pushed = work.tokens({"notes.tsv": notes})
    sides: dict[str, set[Split]] = {}
    for split in Split:
        for sentence in read_token_classification(pushed.folder, pushed.manifest, split):
            sides.setdefault(sentence.group, set()).add(split)
    assert len(sides) == 60
    assert all(len(side) == 1 for side in sides.values())
    assert {split for side in sides.values() for split in side} == set(Split)
    assert all(next(iter(side)) is _side(group) for group, side in sides.items())


def _side(key: str) -> Split:
    place = bucket(0, key)
    return Split.TRAIN if place < 80 else Split.VALIDATION if place < 90 else Split.TEST


def test_a_time_split_error_is_a_format_error_with_its_problems_as_data(work) -> None:
    with pytest.raises(FormatError) as caught:
        work.tokens({"notes.tsv": SENTENCE}, split=SplitRule(mode="Time"))
    assert caught.value.problems[0].path == ""
    assert caught.value.problems[0].line is None
