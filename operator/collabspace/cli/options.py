"""kubectl's options, spelled once: where to act and how to print."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from collabspace.cli import suggest
from collabspace.cli.parameters import NameType

Callback = Callable[..., Any]


@dataclass(frozen=True)
class Where:
    """Which cluster and namespace the person means; None: what the kubeconfig says."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None
    all_namespaces: bool = False


def cluster_options(*, namespace: bool = True, all_namespaces: bool = False) -> Callable[[Callback], Callback]:
    """Adds -n, --context, --kubeconfig (and -A); the command gets them as one argument `where`."""
    options = [
        click.option("--context", help="Context of the kubeconfig to use.", shell_complete=suggest.contexts),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path),
            help="File to use instead of $KUBECONFIG or ~/.kube/config.",
        ),
    ]
    if all_namespaces:
        options.insert(0, click.option("-A", "--all-namespaces", is_flag=True, help="Look at every namespace."))
    if namespace:
        options.insert(
            0,
            click.option(
                "-n",
                "--namespace",
                type=NameType(),
                help="Namespace (team) to act in; else the one of the context.",
                shell_complete=suggest.namespaces,
            ),
        )

    def decorate(callback: Callback) -> Callback:
        @functools.wraps(callback)
        def gathered(*args: Any, **given: Any) -> Any:
            fields = ("namespace", "context", "kubeconfig", "all_namespaces")
            where = Where(**{field: given.pop(field) for field in fields if field in given})
            return callback(*args, where=where, **given)

        decorated: Callback = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def output_option(*forms: str) -> Callable[[Callback], Callback]:
    """-o with these forms; the command gets `output`, None for the plain text."""
    return click.option("-o", "--output", type=click.Choice(forms), help="Form of the output.")
