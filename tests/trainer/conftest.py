"""Fixtures of the trainer's tests: commands, and one finished run that many tests look at."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trainer_runs import ENCODER, TEMPLATES, Command, Finished, document, notes


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two owners with like notes; only the second has the label Place. The first has a rare name in four notes."""
    root = tmp_path_factory.mktemp("hospitals")
    places = [*TEMPLATES, ("transfer to {} tomorrow", ("Place",))]
    folders = {"a": notes(root / "a", 1), "b": notes(root / "b", 2, templates=places)}
    rare = "\n" + "\n".join(f"seen\tO\nby\tO\nZyxgrub\tO\nwith\tO\n{i}\tO\nmyeloma\tB-Disease\n" for i in range(4))
    with (folders["a"] / "train.conll").open("a") as file:
        file.write(rare)
    return folders


@pytest.fixture(scope="session")
def encoder_run(tmp_path_factory: pytest.TempPathFactory, hospitals: dict[str, Path]) -> Callable[[], Finished]:
    """Trains the same small encoder on both hospitals, in a new folder each time."""

    def run() -> Finished:
        wanted = document(
            "TokenClassification",
            "FullFineTuning",
            [{"name": "a"}, {"name": "b"}],
            randomInit=True,
            parameters=ENCODER,
            execution={"gates": [{"metric": "entity_micro_f1", "minimum": "0.5"}]},
        )
        return Command(tmp_path_factory.mktemp("encoder")).run_local(wanted, hospitals)

    return run


@pytest.fixture(scope="session")
def trained(encoder_run: Callable[[], Finished]) -> Finished:
    """A finished run on both hospitals."""
    return encoder_run()
