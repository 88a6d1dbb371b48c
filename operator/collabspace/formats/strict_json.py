"""JSON as the standard has it: no repeated field, no NaN, no nesting or number that brings the parser down."""

import json
from typing import NoReturn


class JSONProblem(ValueError):
    """Why a text is no acceptable JSON, in words that hold none of it."""


def parse(text: str, *, numbers: bool = False) -> object:
    """The value. `numbers` lets NaN and Infinity pass, which model configurations do hold. Raises JSONProblem."""
    try:
        if numbers:
            value: object = json.loads(text, object_pairs_hook=_unique)
        else:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise JSONProblem(f"is not JSON (position {error.pos + 1})") from error
    except RecursionError as error:
        raise JSONProblem("is JSON nested too deeply") from error
    except JSONProblem:
        raise
    except ValueError as error:  # an integer of more than 4,300 digits
        raise JSONProblem("holds a number with too many digits") from error
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise JSONProblem("holds a field twice")
    return fields


def _refuse(constant: str) -> NoReturn:
    raise JSONProblem(f"holds {constant}, which is no JSON")
