"""kubectl asks for completions by its own protocol and must never see an error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collabspace.cli.completion import complete
from collabspace.cli.main import COMMANDS


def words(*typed: str) -> list[str]:
    *lines, directive = complete(typed)
    assert directive in (":0", ":4")
    return [line.partition("\t")[0] for line in lines]


def test_nothing_typed_offers_every_command_with_its_help() -> None:
    assert words("") == list(COMMANDS)
    assert "submit\tHand in a training task." in complete([""])
    assert complete([])[-1] == ":4"


def test_a_beginning_offers_what_goes_on_from_it() -> None:
    assert words("l") == ["local", "list", "logs", "ledger"]
    assert words("grants", "") == ["add", "list", "revoke"]


def test_options_are_offered_with_their_help() -> None:
    assert "--gpu-quota" in words("teams", "add", "--")
    assert "--namespace" in words("get", "--n")


def test_values_of_the_catalogue_are_offered_and_methods_fit_the_task() -> None:
    assert words("submit", "--task", "To") == ["TokenClassification"]
    offered = words("submit", "--task", "Tabular", "--method", "")
    assert {"LogisticRegression", "NeuralNetwork"} <= set(offered) and "FullFineTuning" not in offered


def test_reasons_and_output_forms_are_offered() -> None:
    assert words("list", "--reason", "Grant") == ["Granted", "GrantMissing", "GrantExpired"]
    assert words("list", "-o", "") == ["wide", "json", "yaml", "name"]


def test_where_a_file_is_meant_the_shell_offers_files() -> None:
    assert complete(["submit", "-f", ""]) == [":0"]


@pytest.mark.parametrize("typed", [["get", "a", "b", ""], ["version", "--nosuch", ""], ["submit", "--seed", "x", ""]])
def test_words_that_make_no_sense_offer_nothing(typed: list[str]) -> None:
    assert words(*typed) == []


def test_without_a_cluster_names_are_not_offered_and_no_error_is_seen(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("kubectl_complete-collab")
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = subprocess.run([program, "get", ""], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == (":4\n", "")
