"""The verbs of `collabspace-trainer`: validate, train, evaluate, compare, describe."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collabspace_trainer.stop import Stop

if TYPE_CHECKING:
    from collabspace.api.manifest import TargetColumn

FOLDER = click.Path(exists=True, path_type=Path)


@click.group()
def group() -> None:
    """Trains models from a run document: in a pod from its environment, elsewhere from files."""


@group.command()
@click.option("--run", "run_file", type=click.Path(path_type=Path), help="Run document; without it, the environment's.")
def validate(run_file: Path | None) -> None:
    """Check a run document and print it with all parameters filled in. Exit code 0 or 10."""
    import json

    from collabspace_trainer import spec
    from collabspace_trainer.errors import ConfigError

    try:
        plan = spec.plan(spec.from_file(run_file) if run_file else spec.from_environment())
    except ConfigError as error:
        click.echo(error.message, err=True)
        sys.exit(int(error.code))
    document = plan.document.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["training"]["parameters"] = dict(plan.settings.values)
    click.echo(json.dumps(document, indent=2))


@group.command()
@click.option(
    "--run", "run_file", type=click.Path(path_type=Path), help="Run document; without it, all is the environment's."
)
@click.option("--data", multiple=True, metavar="NAME=FOLDER", help="A dataset of the run document; once for each.")
@click.option("--model", type=FOLDER, help="Weights to start from: a Model folder or an earlier result.")
@click.option("--base", type=FOLDER, help="Weights that the model given by --model, an adapter, belongs to.")
@click.option("--result", "results", multiple=True, metavar="NAME=FOLDER", help="A result to compare; once for each.")
@click.option("--target", metavar="COLUMN:KIND", help="Target of raw tables; KIND is Class or Number.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder, missing or empty.")
@click.option(
    "--checkpoints", type=click.Path(path_type=Path), help="Keeps checkpoints here, and goes on from those found."
)
@click.pass_obj
def train(  # noqa: PLR0913 the options of the command
    stop: Stop,
    run_file: Path | None,
    data: tuple[str, ...],
    model: Path | None,
    base: Path | None,
    results: tuple[str, ...],
    target: str | None,
    out: Path | None,
    checkpoints: Path | None,
) -> None:
    """Train, measure and keep the result; or measure, or compare, as the method says.

    With --run it works without a cluster. A folder given by --data holds a prepared version (manifest.json and its
    files) or raw files as `collabspace push` takes them, which are prepared on the fly.
    """
    from collabspace_trainer import spec
    from collabspace_trainer.lifecycle import Run
    from collabspace_trainer.versions import Folders

    if run_file is None:
        if data or model or base or results or target or out or checkpoints:
            raise click.UsageError("--data, --model, --base, --result, --target, --out and --checkpoints need --run")
        sys.exit(int(Run(spec.from_environment, stop).execute()))
    if out is None:
        raise click.UsageError("--run needs --out")
    compared = dict(_named(entry, "--result") for entry in results)
    named = dict(_named(entry, "--data") for entry in data)
    folders = Folders(named, out, model, _target(target), checkpoints, base, compared)
    sys.exit(int(Run(lambda: spec.from_file(run_file), stop, folders).execute()))


@group.command()
@click.option("--model", type=FOLDER, required=True, help="The model: a result, or a Model folder.")
@click.option("--data", multiple=True, required=True, metavar="NAME=FOLDER", help="Measured on; once for each.")
@click.option("--base", type=FOLDER, help="Weights that the model, an adapter, belongs to.")
@click.option("--target", metavar="COLUMN:KIND", help="Target of raw tables; KIND is Class or Number.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Result folder, missing or empty.")
@click.pass_obj
def evaluate(stop: Stop, model: Path, data: tuple[str, ...], base: Path | None, target: str | None, out: Path) -> None:
    """Measure a stored model on other data, without a cluster: `train` with method Evaluation, in short."""
    from collabspace.api.run import RunDocument
    from collabspace_trainer import spec, stored
    from collabspace_trainer.lifecycle import Run
    from collabspace_trainer.versions import Folders

    named = dict(_named(entry, "--data") for entry in data)

    def read() -> RunDocument:
        folder = model / "model" if (model / "DONE").is_file() else model
        datasets = [{"name": name, "role": "Evaluate"} for name in named]
        task = stored.read(folder).description.task
        training = {"task": task, "method": "Evaluation", "datasets": datasets, "initialModel": {}}
        return spec.filled({"training": training})

    sys.exit(int(Run(read, stop, Folders(named, out, model, _target(target), base=base)).execute()))


@group.command()
@click.option("--result", "results", multiple=True, required=True, metavar="NAME=FOLDER", help="Once for each.")
@click.option("--metric", help="What is compared; the task's usual metric if left out.")
@click.option("--goal", default="Maximize", help="Maximize or Minimize.")
@click.option("--split", default="test", help="test or validation.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Result folder, missing or empty.")
@click.pass_obj
def compare(stop: Stop, results: tuple[str, ...], metric: str | None, goal: str, split: str, out: Path) -> None:
    """Compare stored results, without a cluster: `train` with method Comparison, in short."""
    from collabspace.api.report import Report
    from collabspace.api.run import RunDocument
    from collabspace_trainer import spec, stored_results
    from collabspace_trainer.lifecycle import Run
    from collabspace_trainer.versions import Folders

    folders = dict(_named(entry, "--result") for entry in results)
    first = next(iter(folders))

    def read() -> RunDocument:
        task = stored_results.read(f"result {first}", folders[first] / stored_results.METRICS, Report).task
        parameters = {"goal": goal, "split": split, **({"metric": metric} if metric else {})}
        training = {
            "task": task,
            "method": "Comparison",
            "parameters": parameters,
            "datasets": [{"name": "compared", "role": "Evaluate"}],
            "results": [{"name": name} for name in folders],
        }
        return spec.filled({"training": training})

    sys.exit(int(Run(read, stop, Folders({}, out, results=folders)).execute()))


@group.command()
def describe() -> None:
    """Print the catalogue: tasks, methods and their parameters as JSON."""
    from collabspace_trainer.describe import catalogue_json

    click.echo(catalogue_json(), nl=False)


def _named(entry: str, option: str) -> tuple[str, Path]:
    name, separator, folder = entry.partition("=")
    if not separator or not name or not folder:
        raise click.BadParameter(f"{entry!r}: write NAME=FOLDER", param_hint=option)
    return name, Path(folder)


def _target(entry: str | None) -> "TargetColumn | None":
    if entry is None:
        return None
    from collabspace.api.manifest import TargetColumn, TargetKind

    column, _, kind = entry.rpartition(":")
    if not column or kind not in set(TargetKind):
        raise click.BadParameter(f"{entry!r}: write COLUMN:Class or COLUMN:Number", param_hint="--target")
    return TargetColumn(column=column, kind=TargetKind(kind))
