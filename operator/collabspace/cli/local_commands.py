"""`local`: a whole cluster on this machine, for trying out and for tests."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.output import Cell, print_table
from collabspace.cli.parameters import WholeNumber

if TYPE_CHECKING:
    from collabspace.cli.steps import Steps
    from collabspace.local.cluster import LocalCluster

DEFAULT_NAME = "collabspace"
name_option = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which cluster; several may run.")


@click.group(short_help="Run a whole cluster on this machine.")
def local() -> None:
    """Run a whole cluster on this machine: a real Kubernetes control plane, one node that runs pods as processes.

    It is for trying out: pods are not isolated from your files.
    """


@local.command()
@name_option
@click.option("--gpus", type=WholeNumber(0, 64), help="Simulated GPUs of its node; else as the last time (4 at first).")
def up(name: str, gpus: int | None) -> None:
    """Start it, or what of it does not run. The first time its programs are built, which takes minutes."""
    with _cluster(name) as cluster, leaving(f"What runs stays: {command(f'local down --name {name}')} stops it."):
        from collabspace.local.state import Options

        cluster.up(None if gpus is None else Options(gpus=gpus))
        kubeconfig = cluster.kubeconfig
    click.echo("The cluster is ready. Your kubeconfig was not touched; to use this cluster:", err=True)
    click.echo(f"export KUBECONFIG={shlex.quote(str(kubeconfig))}")


@local.command()
def build() -> None:
    """Build the control plane's programs, or find them. `up` does it too; this is for doing it beforehand."""
    from collabspace.local import binaries
    from collabspace.local.errors import LocalClusterError

    try:
        with _steps() as steps:
            folder = binaries.ensure(progress=steps.show)
    except LocalClusterError as error:
        raise CommandError(str(error)) from error
    click.echo(f"The control plane's programs are in {folder}")


@local.command()
@name_option
@click.option("--wipe", is_flag=True, help="Also remove its state: objects, datasets, results, ledger.")
def down(name: str, wipe: bool) -> None:
    """Stop it. What it keeps stays for the next start, unless --wipe is given."""
    with _existing(name) as cluster:
        cluster.down(wipe=wipe)
    click.echo(f"cluster {name} stopped" + (" and removed" if wipe else ""))


@local.command()
@name_option
@click.pass_context
def status(context: click.Context, name: str) -> None:
    """Show its components. Exit code 1 unless all of them are ready."""
    with _existing(name) as cluster:
        components = cluster.status()
        state = cluster.state
    if not components:
        raise CommandError(f"cluster {name} was never started", f"Start it: {command(f'local up --name {name}')}.")
    rows: list[tuple[Cell, ...]] = [
        (
            each.name,
            ("ready", "green") if not each.missing else (each.missing, "red"),
            str(each.pid or "-"),
            str(each.log),
        )
        for each in components
    ]
    print_table(("COMPONENT", "STATE", "PID", "LOG"), rows)
    click.echo(f"\nAll of it lies in {state}")
    context.exit(1 if any(each.missing for each in components) else 0)


def _components(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from collabspace.local.cluster import COMPONENTS

    return [CompletionItem(name) for name in COMPONENTS if name.startswith(incomplete)]


@local.command()
@click.argument("component", shell_complete=_components)
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added.")
def logs(component: str, name: str, follow: bool) -> None:
    """Print the log of COMPONENT: etcd, kube-apiserver, ..., node, broker, operator."""
    with _existing(name) as cluster:
        path = cluster.logs(component)
    sys.stdout.flush()
    with leaving(f"{component} runs on."):
        subprocess.run(["tail", "-n", "+1", *(["-F"] if follow else []), str(path)], check=False)


@contextmanager
def _cluster(name: str) -> "Iterator[LocalCluster]":
    """The cluster of that name with its steps shown, its failures explained."""
    try:
        from collabspace.local.cluster import LocalCluster
        from collabspace.local.errors import LocalClusterError
    except ImportError as error:
        remedy = "Install it: pip install 'collabspace[local]'; or use kind and the chart."
        raise CommandError(f"the local cluster is not installed ({error.name} is missing)", remedy) from error
    steps = _steps()
    try:
        with steps:
            yield LocalCluster(name, progress=steps.show)
    except LocalClusterError as error:
        raise CommandError(str(error)) from error


@contextmanager
def _existing(name: str) -> "Iterator[LocalCluster]":
    """The same for a cluster that must have been started before. Raises CommandError with those that were."""
    with _cluster(name) as cluster:
        from collabspace.local.state import known

        others = known()
        if name not in others:
            there = f"there {'is' if len(others) == 1 else 'are'}: {', '.join(others)}" if others else "there is none"
            remedy = "Name it: --name NAME" if others else f"Start it: {command(f'local up --name {name}')}"
            raise CommandError(f"no cluster {name}; {there}", f"{remedy}.")
        yield cluster


def _steps() -> "Steps":
    from collabspace.cli.steps import Steps

    return Steps(live=sys.stderr.isatty())
