"""The catalogue as JSON on stdout; `make generate` writes it to `operator/collabspace/api/catalogue.json`."""

import json

from collabspace_trainer.registry import catalogue


def catalogue_json() -> str:
    """The catalogue with a stable order of keys, so that a change is a readable difference; ends with a newline."""
    return json.dumps(catalogue().model_dump(mode="json", by_alias=True, exclude_none=True), indent=2) + "\n"


if __name__ == "__main__":
    print(catalogue_json(), end="")
