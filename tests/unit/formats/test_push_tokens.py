"""TokenClassification: columns, JSON lines and spans, tag schemes; each refusal with file and line."""

import json

import pytest
from formats_workplace import SENTENCE

from collabspace.api.manifest import Split
from collabspace.formats import SplitRule, TaggedSentence, read_token_classification
from collabspace.formats.spans import tokenise


def _train(pushed) -> list[TaggedSentence]:
    return read_token_classification(pushed.folder, pushed.manifest, Split.TRAIN)


# Columns


def test_a_blank_line_ends_a_sentence_and_several_end_one(work, splits) -> None:
    train = _train(work.tokens(splits(train="\n\na\tB-Disease\nb\tO\n\n\n \nc\tO\n\n")))
    assert train == [TaggedSentence(("a", "b"), ("B-Disease", "O")), TaggedSentence(("c",), ("O",))]


def test_with_a_tab_in_line_1_the_columns_are_parted_by_tabs_first_token_last_tag(work, splits) -> None:
    (sentence,) = _train(work.tokens(splits(train="gout\tNN\tan NP\tB-Disease\nhurts\tVB\tVP\tO\n")))
    assert sentence == TaggedSentence(("gout", "hurts"), ("B-Disease", "O"))


def test_without_a_tab_in_line_1_the_columns_are_parted_by_blanks(work, splits) -> None:
    (sentence,) = _train(work.tokens(splits(train="gout NN  I-NP B-Disease\nhurts VB I-VP O \n")))
    assert sentence == TaggedSentence(("gout", "hurts"), ("B-Disease", "O"))


@pytest.mark.parametrize("name", ["train.conll", "train.bio", "train.txt", "train.tsv"])
def test_every_extension_of_columns_is_read_alike(work, name: str) -> None:
    pushed = work.tokens({name: SENTENCE, "dev.tsv": SENTENCE, "test.tsv": SENTENCE})
    assert _train(pushed)[0].tokens == ("Marfan", "syndrome", "runs")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("gout\tB-Disease\nhurts\n", 2, "one column, while token and tag are parted by a tab"),
        ("gout B-Disease\nhurts\n", 2, "one column, while token and tag are parted by blanks"),
        ("gout\tB-Disease\nhurts\tVB\tO\n", 2, "3 columns, while line 1 has 2 (parted by a tab)"),
        ("gout\tB-Disease\n\tO\n", 2, "the token is empty"),
        ("gout\tB-Disease\na b\tO\n", 2, "the token holds white space (U+0020)"),
        ("gout\tB-Disease\na\u00a0b\tO\n", 2, "the token holds white space (U+00A0)"),
        ("gout\tB-Disease\n\nhurts\t\n", 3, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\tDisease\n", 1, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\tB-\n", 1, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\to\n", 1, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\tB-Disease \n", 1, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\tB-" + "x" * 129 + "\n", 1, "the tag is neither O nor a prefix, a hyphen and a type"),
        ("gout\tS-Disease\n", 1, 'the tag "S-Disease" has a prefix that iob2 does not know'),
        ("gout\tB-Disease\n" + "x" * 1_001 + "\tO\n", 2, "the token is longer than 1000 characters"),
        ("gout\tB-Disease\n" * 10_001, 1, "the sentence has 10001 tokens, at most 10000 are allowed"),
    ],
)
def test_a_fault_is_named_by_file_and_line(work, splits, refused, text: str, place: int, message: str) -> None:
    (line,) = refused(work.tokens, splits(train=text))
    assert line.startswith(f"train.tsv:{place}: {message}. ")


def test_a_sentence_and_a_token_of_the_greatest_length_pass(work, splits) -> None:
    text = ("x" * 60 + "\tB-Disease\n") * 10_000 + "\n" + "y" * 1_000 + "\tB-Disease\n"
    assert [len(s.tokens) for s in _train(work.tokens(splits(train=text)))] == [10_000, 1]


def test_a_sentence_whose_record_would_be_longer_than_a_line_may_be_is_refused(work, splits, refused) -> None:
    (line,) = refused(work.tokens, splits(train=("x" * 500 + "\tB-Disease\n") * 2_000))
    assert line.startswith("train.tsv:1: the sentence is longer than 1000000 bytes.")


def test_more_than_a_thousand_entity_types_are_refused(work, refused) -> None:
    text = "".join(f"w\tB-T{i}\n\n" for i in range(1_001))
    (line,) = refused(work.tokens, {"train.tsv": text, "dev.tsv": text, "test.tsv": text})
    assert line.startswith("more than 1000 labels.")


def test_data_without_any_entity_is_refused(work, splits, refused) -> None:
    plain = "all\tO\nwell\tO\n"
    (line,) = refused(work.tokens, splits(train=plain, validation=plain, test=plain))
    assert line.startswith("no entity in the data.")


def test_labels_and_their_counts_are_of_entities_not_of_tokens(work, splits) -> None:
    pushed = work.tokens(splits(train=SENTENCE + "\ngout\tB-Disease\ngout\tB-Disease\n"))
    assert pushed.manifest.labels == ["Disease"]
    assert pushed.prepared.label_counts == {
        Split.TRAIN: {"Disease": 3},
        Split.VALIDATION: {"Disease": 1},
        Split.TEST: {"Disease": 1},
    }


# Documents


def test_a_doc_comment_names_the_group_of_the_sentences_after_it(work, splits) -> None:
    text = "a\tO\n# doc = note 7\nb\tB-Disease\n\nc\tO\n\n# doc = 8\nd\tO\n"
    train = _train(work.tokens(splits(train=text)))
    assert [(s.tokens[0], s.group) for s in train] == [("a", None), ("b", "note 7"), ("c", "note 7"), ("d", "8")]


def test_a_doc_comment_before_the_first_line_does_not_settle_the_separator(work, splits) -> None:
    (sentence,) = _train(work.tokens(splits(train="# doc = 1\ngout\tB-Disease\n")))
    assert sentence == TaggedSentence(("gout",), ("B-Disease",), "1")


def test_docstart_begins_a_group_named_by_its_own_text(work, splits) -> None:
    first = "-DOCSTART- -X- -X- O\n\ngout NN x B-Disease\n\nhurts VB x O\n\n"
    second = "-DOCSTART- -X- -X- O\n\nacne NN x B-Disease\n\n"
    one = _train(work.tokens(splits(train=first + second)))
    other = _train(work.tokens(splits(train=second + first)))
    assert len({s.group for s in one}) == 2
    assert one[0].group == one[1].group == other[1].group == other[2].group
    assert one[2].group == other[0].group


def test_a_word_that_begins_like_a_mark_is_a_word(work, splits) -> None:
    text = "#\tO\n-\tO\n-DOCSTART-like\tO\ngout\tB-Disease\n"
    assert _train(work.tokens(splits(train=text)))[0].tokens == ("#", "-", "-DOCSTART-like", "gout")


def test_columns_cannot_be_grouped_by_a_field(work, splits, refused) -> None:
    (line,) = refused(work.tokens, splits(), split=SplitRule(group_by="patient"))
    assert line.startswith('test.tsv: a file of columns has no field to group by, "patient" is asked for.')


# Tag schemes


def test_an_orphan_is_refused_with_the_remedy_iob1_when_all_of_the_data_would_be_that(work, splits, refused) -> None:
    plain = "gout\tI-Disease\n"
    lines = refused(work.tokens, splits(train="a\tO\ngout\tI-Disease\n", validation=plain, test=plain))
    assert len(lines) == 3
    (line,) = [line for line in lines if line.startswith("train")]
    assert line.startswith('train.tsv:2: "I-Disease" continues no entity of its type. Push with --tags iob1')


def test_an_orphan_is_refused_without_that_remedy_when_a_later_tag_rules_iob1_out(work, splits, refused) -> None:
    train = "a\tO\ngout\tI-Disease\n\na\tO\ngout\tB-Disease\n"
    (line,) = refused(work.tokens, splits(train=train))
    assert line == 'train.tsv:2: "I-Disease" continues no entity of its type. Begin the entity with B-.'


def test_the_remedy_works(work, splits) -> None:
    text = "a\tO\ngout\tI-Disease\nacne\tB-Disease\nscar\tI-Disease\nx\tI-Drug\n"
    pushed = work.tokens({f"{name}.tsv": text for name in ("train", "dev", "test")}, tags="iob1")
    assert _train(pushed)[0].tags == ("O", "B-Disease", "B-Disease", "I-Disease", "B-Drug")


def test_an_entity_of_another_type_is_not_continued(work, splits, refused) -> None:
    lines = refused(work.tokens, splits(train="a\tB-Disease\nb\tI-Drug\n"))
    assert lines[0].startswith('train.tsv:2: "I-Drug" continues no entity of its type.')


def test_iob2_data_pushed_as_iob1_is_refused(work, splits, refused) -> None:
    lines = refused(work.tokens, splits(), tags="iob1")
    assert lines[0].startswith('test.tsv:1: "B-Disease" follows no entity of its type, which IOB1 does not allow.')


def test_bioes_becomes_iob2(work) -> None:
    text = "a\tS-X\nb\tO\nc\tB-X\nd\tI-X\ne\tE-X\nf\tB-Y\ng\tE-Y\n"
    pushed = work.tokens({f"{name}.tsv": text for name in ("train", "dev", "test")}, tags="bioes")
    assert _train(pushed)[0].tags == ("B-X", "O", "B-X", "I-X", "I-X", "B-Y", "I-Y")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a\tB-X\nb\tO\n", 1, 'the entity "X" ends without E-'),
        ("a\tO\nb\tB-X\n\nc\tO\n", 2, 'the entity "X" ends without E-'),
        ("a\tO\nb\tI-X\nc\tE-X\n", 2, '"I-X" continues no entity of its type'),
        ("a\tS-X\nb\tE-X\n", 2, '"E-X" continues no entity of its type'),
        ("a\tB-X\nb\tE-Y\n", 2, '"E-Y" continues no entity of its type'),
    ],
)
def test_broken_bioes_is_refused(work, refused, text: str, place: int, message: str) -> None:
    lines = refused(work.tokens, {"train.tsv": text, "test.tsv": "a\tS-X\n"}, tags="bioes")
    assert lines[0].startswith(f"train.tsv:{place}: {message}. ")


# JSON lines


def test_tokens_and_tags_with_group_and_id_are_kept_and_other_fields_named(work, json_splits) -> None:
    record = {"tokens": ["gout"], "tags": ["B-Disease"], "group": "p1", "id": 7, "pos_tags": [1]}
    pushed = work.tokens(json_splits([record]))
    assert _train(pushed) == [TaggedSentence(("gout",), ("B-Disease",), "p1", "7")]
    assert pushed.prepared.warnings == ['fields that are not kept: "pos_tags"']


def test_integer_tags_are_named_by_labels_json(work, json_splits) -> None:
    names = json.dumps(["O", "B-Disease", "I-Disease"])
    files = json_splits([{"tokens": ["big", "gout"], "ner_tags": [0, 1]}]) | {"labels.json": names}
    pushed = work.tokens(files)
    assert _train(pushed)[0].tags == ("O", "B-Disease")
    assert "labels.json" in [file.path for file in pushed.manifest.source_files]


def test_integer_tags_without_labels_json_are_refused(work, json_splits, refused) -> None:
    lines = refused(work.tokens, json_splits([{"tokens": ["gout"], "ner_tags": [1]}]))
    assert lines[0].startswith("test.jsonl:1: ner_tags holds integers without names. Put labels.json beside it")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ('{"O": 0}', "labels.json: is no list of names"),
        ('["O", "O"]', "labels.json: names no tag, too many, or one twice"),
        ('["O", ', "labels.json: is not JSON"),
        ('["O"]', "test.jsonl:1: ner_tags holds an integer outside 0 to 0"),
    ],
)
def test_a_broken_labels_json_is_refused(work, json_splits, refused, labels: str, message: str) -> None:
    files = json_splits([{"tokens": ["gout"], "ner_tags": [1]}]) | {"labels.json": labels}
    assert refused(work.tokens, files)[0].startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "the line is no JSON object"),
        ("{", "the line is not JSON (position 2)"),
        ("", "the line is not JSON (position 1)"),
        ('{"tokens":["a"],"tokens":["b"],"tags":["O"]}', "the line holds a field twice"),
        ('{"tokens":["a"],"tags":["O"],"x":NaN}', "the line holds NaN, which is no JSON"),
        ('{"tokens":["a"],"tags":["O"],"x":' + "9" * 5_000 + "}", "the line holds a number with too many digits"),
        ("[" * 100_000, "the line is JSON nested too deeply"),
        ('{"tokens":["a"]}', "the record has no tagged tokens"),
        ('{"tokens":["a"],"tags":["O"],"ner_tags":["O"]}', "the record has several of tags, ner_tags and entities"),
        ('{"tokens":"a","tags":["O"]}', "tokens is no list of strings"),
        ('{"tokens":["a",1],"tags":["O","O"]}', "tokens is no list of strings"),
        ('{"tokens":["a"],"tags":[true]}', "tags is no list of strings"),
        ('{"tokens":["a"],"tags":["O","O"]}', "1 tokens but 2 tags"),
        ('{"tokens":[],"tags":[]}', "the record has no token"),
        ('{"tokens":["a",""],"tags":["O","O"]}', "token 2: the token is empty"),
        ('{"tokens":["a\\nb"],"tags":["O"]}', "token 1: the token holds white space (U+000A)"),
        ('{"tokens":["a\\u0000b"],"tags":["O"]}', "token 1: the token holds a control character (U+0000)"),
        ('{"tokens":["\\ud800"],"tags":["O"]}', "token 1: the token holds a control character (U+D800)"),
        ('{"tokens":["a"],"tags":["I-X"]}', 'token 1: "I-X" continues no entity of its type'),
        ('{"tokens":["a"],"tags":["O"],"group":["x"]}', 'the field "group" is neither a string nor an integer'),
        ('{"tokens":["a"],"tags":["O"],"id":"\\u001b"}', "id is empty, longer than 256 characters or holds control"),
    ],
)
def test_a_broken_record_is_refused_with_its_line(work, json_splits, refused, line: str, message: str) -> None:
    files = json_splits([{"tokens": ["gout"], "tags": ["B-Disease"]}])
    lines = refused(work.tokens, files | {"train.jsonl": files["train.jsonl"] + line + "\n"})
    assert len(lines) == 1
    assert lines[0].startswith(f"train.jsonl:2: {message}")


def test_records_grouped_by_a_field_stay_together_and_carry_it(work) -> None:
    records = [{"tokens": [f"w{i}"], "tags": ["B-X"], "patient": i // 4} for i in range(400)]
    text = "".join(json.dumps(record) + "\n" for record in records)
    pushed = work.tokens({"notes.jsonl": text}, split=SplitRule(group_by="patient"))
    sides = {
        split: {s.group for s in read_token_classification(pushed.folder, pushed.manifest, split)} for split in Split
    }
    assert sum(len(groups) for groups in sides.values()) == 100 == len(set().union(*sides.values()))
    assert pushed.prepared.warnings == []


def test_a_record_without_the_field_to_group_by_is_refused(work, json_splits, refused) -> None:
    files = json_splits([{"tokens": ["gout"], "tags": ["B-Disease"]}])
    lines = refused(work.tokens, files, split=SplitRule(group_by="patient"))
    assert lines[0].startswith('test.jsonl:1: the field "patient" to group by is missing.')


# Spans


def test_spans_become_tags_on_words_and_signs(work, json_splits) -> None:
    text = "Marfan's syndrome (MFS), mild."
    entities = [{"start": 19, "end": 22, "label": "Disease"}, {"start": 0, "end": 17, "label": "Disease"}]
    (sentence,) = _train(work.tokens(json_splits([{"text": text, "entities": entities, "id": "1"}])))
    assert sentence.tokens == ("Marfan", "'", "s", "syndrome", "(", "MFS", ")", ",", "mild", ".")
    tags = ("B-Disease", "I-Disease", "I-Disease", "I-Disease", "O", "B-Disease", "O", "O", "O", "O")
    assert sentence.tags == tags
    assert sentence.id == "1"


def test_neighbouring_spans_are_two_entities(work, json_splits) -> None:
    entities = [{"start": 0, "end": 4, "label": "X"}, {"start": 5, "end": 9, "label": "X"}]
    (sentence,) = _train(work.tokens(json_splits([{"text": "gout acne", "entities": entities}])))
    assert sentence.tags == ("B-X", "B-X")


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([{"start": 1, "end": 4, "label": "X"}], 'entity 1 ("X") is off token borders'),
        ([{"start": 0, "end": 3, "label": "X"}], 'entity 1 ("X") is off token borders'),
        ([{"start": 0, "end": 5, "label": "X"}], 'entity 1 ("X") is off token borders'),
        ([{"start": 0, "end": 10, "label": "X"}], "entity 1 lies outside the text or is empty"),
        ([{"start": -4, "end": 4, "label": "X"}], "entity 1 lies outside the text or is empty"),
        ([{"start": 4, "end": 4, "label": "X"}], "entity 1 lies outside the text or is empty"),
        ([{"start": 0, "end": 4, "label": "A B"}], "entity 1 has a label that is empty, too long"),
        ([{"start": "0", "end": 4, "label": "X"}], "entity 1 lacks start, end (integers) or label (string)"),
        ([[0, 4, "X"]], "entity 1 lacks start, end (integers) or label (string)"),
        (
            [{"start": 5, "end": 9, "label": "X"}, {"start": 0, "end": 9, "label": "Y"}],
            "entity 1 overlaps another",
        ),
        ("none", "text is no string, or entities no list"),
    ],
)
def test_a_broken_span_is_refused_with_its_line(work, json_splits, refused, entities: object, message: str) -> None:
    lines = refused(work.tokens, json_splits([{"text": "gout acne", "entities": entities}]))
    assert lines[0].startswith(f"test.jsonl:1: {message}")
    assert "gout" not in "".join(lines)


def test_a_text_without_any_token_is_refused(work, json_splits, refused) -> None:
    assert refused(work.tokens, json_splits([{"text": " \n", "entities": []}]))[0].startswith(
        "test.jsonl:1: the record has no token."
    )


def test_combining_marks_stay_inside_their_word() -> None:
    text = "cafe\u0301s हिन्दी ok"
    assert [text[start:end] for start, end in tokenise(text)] == text.split()
