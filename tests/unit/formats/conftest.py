"""Fixtures that every test of the formats shares."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from formats_workplace import SENTENCE, Pushed, Workplace

from collabspace.formats import FormatError


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def refused() -> Callable[..., list[str]]:
    """Calls a push that must be refused; gives the lines of the error."""

    def call(push: Callable[..., Pushed], *arguments: Any, **options: Any) -> list[str]:
        with pytest.raises(FormatError) as caught:
            push(*arguments, **options)
        return str(caught.value).split("\n")

    return call


@pytest.fixture
def splits() -> Callable[..., dict[str, str]]:
    """Three sound CoNLL files; keyword arguments put other content into one of them."""

    def build(**changed: str) -> dict[str, str]:
        return {f"{name}.tsv": changed.get(name, SENTENCE) for name in ("train", "validation", "test")}

    return build


@pytest.fixture
def json_splits() -> Callable[[list[object]], dict[str, str]]:
    """The same records as train, validation and test."""

    def build(records: list[object]) -> dict[str, str]:
        text = "".join(json.dumps(record) + "\n" for record in records)
        return {f"{name}.jsonl": text for name in ("train", "validation", "test")}

    return build
