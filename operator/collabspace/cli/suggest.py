"""What the shell offers for a name being typed: asked of the cluster, briefly, and silent when it cannot say."""

import click
from click.shell_completion import CompletionItem

SECONDS = 2.0


def contexts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from collabspace.cli.cluster import context_names

    return _matching(context_names(context.params.get("kubeconfig")), incomplete)


def namespaces(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return _matching(_names(context, "/api/v1/namespaces"), incomplete)


def tasks(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return _matching(_names(context, "collabtasks"), incomplete)


def selections(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return _matching(_names(context, "modelselections"), incomplete)


def tasks_and_selections(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    return tasks(context, parameter, incomplete) + selections(context, parameter, incomplete)


def datasets(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return _matching(_names(context, "shareddatasets"), incomplete)


def learned(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Tasks of the trainer's catalogue."""
    from collabspace.api.catalogue import catalogue

    return _matching([task.name for task in catalogue().tasks], incomplete)


def methods(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Methods of the task given so far, or of all tasks."""
    from collabspace.api.catalogue import catalogue

    chosen = context.params.get("task")
    known = {method.name for task in catalogue().tasks if chosen in (None, task.name) for method in task.methods}
    return _matching(sorted(known), incomplete)


def _names(context: click.Context, resource: str) -> list[str]:
    from collabspace.cli.cluster import names_for_completion
    from collabspace.cli.options import Where

    given = context.params
    where = Where(given.get("namespace"), given.get("context"), given.get("kubeconfig"))
    return names_for_completion(where, resource, SECONDS)


def _matching(names: list[str], incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
