"""Bad SharedDatasets, by class."""

from typing import Any

from bad_input import ALARM, DATASET, DROP, OK, Case, Change

GRANT = {"name": "h", "namespace": "elsewhere", "uses": ["Train"]}


def _case(name: str, change: Change, refused: str = "", *ends: str, **more: Any) -> Case:
    return Case(name, DATASET, change, refused, ends or ("InvalidSpec", ALARM), **more)


def _grant(**fields: Any) -> Change:
    return {f"spec/grants/0/{key}": value for key, value in fields.items()}


STRUCTURE = [
    _case("structure.dataset-without-spec", {"spec": DROP}, "spec"),
    _case("structure.dataset-spec-a-number", {"spec": 3}, "spec"),
    _case("structure.format-missing", {"spec/format": DROP}, "spec.format"),
    _case("structure.format-unknown", {"spec/format": "Images"}, "spec.format"),
    _case("structure.format-a-list", {"spec/format": ["Tabular"]}, "spec.format"),
    _case("structure.card-a-text", {"spec/card": "nice"}, "spec.card"),
    _case("structure.languages-a-text", {"spec/card/languages": "en"}, "spec.card.languages"),
    _case("structure.grants-a-text", {"spec/grants": "everybody"}, "spec.grants"),
    _case("structure.grants-null", {"spec/grants": None}, "", "InvalidSpec", OK),
    _case("structure.grants-of-null", {"spec/grants": [None]}, "spec.grants"),
    _case("structure.contract-a-list", {"spec/contract": []}, "spec.contract"),
    _case("structure.no-target", {"spec/contract": {}}, "contract.target", OK, ALARM),
    _case("structure.target-null", {"spec/contract/target": None}, "contract.target", OK, ALARM),
    _case("structure.description-long", {"spec/description": "d" * 4097}, "spec.description"),
    _case("structure.on-revoke-unknown", {"spec/onRevoke": "Ignore"}, "spec.onRevoke"),
    _case("structure.deletion-policy-null", {"spec/deletionPolicy": None}, "", OK, "InvalidSpec"),
]

NAMES = [
    _case("names.dataset-object-upper-case", {"metadata/name": "Table"}, "metadata.name", OK),
    _case("names.dataset-object-of-253", {"metadata/name": "t" * 253}, "", OK),
    _case("names.dataset-object-with-dot", {"metadata/name": "a.b"}, "", OK),
    _case("names.column-empty", {"spec/contract/columns/0/name": ""}, "spec.contract.columns[0].name"),
    _case(
        "names.columns-same-name",
        {"spec/contract/columns/+": {"name": "a", "kind": "Text"}},
        "spec.contract.columns[1]",
        OK,
        ALARM,
    ),
    _case("names.column-kind-unknown", {"spec/contract/columns/0/kind": "Blob"}, "spec.contract.columns[0].kind"),
    _case(
        "names.columns-501",
        {"spec/contract/columns": [{"name": f"c{number}", "kind": "Text"} for number in range(501)]},
        "spec.contract.columns",
    ),
    _case("names.title-of-escapes", {"spec/card/title": "\x1b]0;x\x07<script>"}, "", OK),
]

NUMBERS = [
    _case("numbers.percent-0", {"spec/splits/trainPercent": 0}, "spec.splits.trainPercent"),
    _case("numbers.percents-beyond-100", {"spec/splits/testPercent": 90}, "add up to 100", OK, ALARM),
    _case("numbers.percent-a-text", {"spec/splits/testPercent": "10"}, "spec.splits.testPercent", ALARM),
    _case("numbers.percent-2-to-40", {"spec/splits/testPercent": 2**40}, "spec.splits.testPercent"),
    _case("numbers.split-seed-negative", {"spec/splits/seed": -1}, "spec.splits.seed"),
    _case("numbers.split-mode-unknown", {"spec/splits/mode": "Random"}, "spec.splits.mode"),
]

SOURCES = [
    _case("sources.type-s3", {"spec/source/type": "S3"}, "spec.source.type"),
    _case("sources.source-null", {"spec/source": None}, "", OK, "InvalidSpec", ALARM),
    _case("sources.bucket", {"spec/source/s3": {"bucket": "../..", "endpoint": "http://169.254.169.254"}}, "", OK),
    _case("sources.secret-of-others", {"spec/source/secretName": "kube-system/token"}, "", OK),
    _case("sources.group-by-empty", {"spec/splits/groupBy": ""}, "spec.splits.groupBy"),
    _case("sources.group-by-path", {"spec/splits/groupBy": "../../x"}, "", OK),
]

GRANTS = [
    _case("grants.name-missing", _grant(name=DROP), "spec.grants[0].name"),
    _case("grants.name-path", _grant(name="../g"), "spec.grants[0].name"),
    _case("grants.namespace-star", _grant(namespace="*"), "spec.grants[0].namespace"),
    _case("grants.namespace-empty", _grant(namespace=""), "spec.grants[0].namespace"),
    _case("grants.namespace-missing", _grant(namespace=DROP), "spec.grants[0].namespace"),
    _case("grants.namespace-of-the-platform", _grant(namespace="kube-system"), "", OK),
    _case("grants.uid-empty", _grant(namespaceUID=""), "spec.grants[0].namespaceUID"),
    _case("grants.uid-a-path", _grant(namespaceUID="../../x"), "spec.grants[0].namespaceUID"),
    _case("grants.uid-a-number", _grant(namespaceUID=7), "spec.grants[0].namespaceUID"),
    _case("grants.no-uses", _grant(uses=[]), "spec.grants[0].uses"),
    _case("grants.uses-missing", _grant(uses=DROP), "spec.grants[0].uses"),
    _case("grants.use-unknown", _grant(uses=["Steal"]), "spec.grants[0].uses[0]"),
    _case("grants.use-other-case", _grant(uses=["train"]), "spec.grants[0].uses[0]"),
    _case("grants.use-twice", _grant(uses=["Train", "Train"]), "spec.grants[0].uses[1]", OK, ALARM),
    _case("grants.use-null", _grant(uses=[None]), "spec.grants[0].uses[0]"),
    _case("grants.twice", {"spec/grants/+": {**GRANT, "name": "g"}}, "spec.grants[1]", OK, ALARM),
    _case("grants.257", {"spec/grants": [{**GRANT, "name": f"g{number}"} for number in range(257)]}, "spec.grants"),
    _case("grants.end-a-word", _grant(notAfter="tomorrow"), "spec.grants[0].notAfter", OK, ALARM),
    _case("grants.end-a-day", _grant(notAfter="2099-01-01"), "spec.grants[0].notAfter", OK, ALARM),
    _case("grants.end-a-number", _grant(notAfter=4102444800), "spec.grants[0].notAfter"),
    _case("grants.end-the-last-day", _grant(notAfter="9999-12-31T23:59:59Z"), "", OK),
    _case("grants.end-the-first-day", _grant(notAfter="0001-01-01T00:00:00Z"), "", OK),
    _case("grants.end-before-time", _grant(notAfter="0001-01-01T00:00:00+14:00"), "", OK),
    _case("grants.end-after-time", _grant(notAfter="9999-12-31T23:59:59-14:00"), "", OK),
    _case("grants.end-a-leap-second", _grant(notAfter="2099-12-31T23:59:60Z"), "spec.grants[0].notAfter", OK, ALARM),
    _case("grants.purpose-of-501", _grant(purpose="p" * 501), "spec.grants[0].purpose"),
    _case("grants.purpose-of-formulas", _grant(purpose="=cmd|' /C calc'!A0\n{{7*7}}"), "", OK),
]

DATASETS = (*STRUCTURE, *NAMES, *NUMBERS, *SOURCES, *GRANTS)
