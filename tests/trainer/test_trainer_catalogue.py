"""The catalogue that operator and command line read is the one the registries say."""

import subprocess
import sys
from importlib import resources

from collabspace.api.catalogue import catalogue as published
from collabspace_trainer.describe import catalogue_json
from collabspace_trainer.parameters import check
from collabspace_trainer.registry import METHODS, load


def test_the_committed_catalogue_is_current() -> None:
    committed = resources.files("collabspace.api").joinpath("catalogue.json").read_text()
    assert catalogue_json() == committed, "run `make generate`"


def test_registries_load_without_torch() -> None:
    program = "import sys; from collabspace_trainer.registry import load; load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_defaults_satisfy_their_own_bounds() -> None:
    load()
    for entry in METHODS.values():
        defaults = {parameter.name: parameter.default for parameter in entry.description.parameters}
        assert check(entry.description.parameters, defaults).values.keys() == defaults.keys()


def test_every_pair_of_the_catalogue_is_registered() -> None:
    pairs = {(task.name, method.name) for task in published().tasks for method in task.methods}
    assert pairs == set(METHODS)
