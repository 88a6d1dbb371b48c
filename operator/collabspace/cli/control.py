"""`suspend`, `resume`, `priority` and `cancel`: what may be changed about a task that was handed in."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import DurationType, NameType, WholeNumber

which_task = click.argument("task", type=NameType(), shell_complete=suggest.tasks)
patience = click.option("--timeout", type=DurationType(), help="With --wait: give up after so long, as 90s or 10m.")


@click.command(short_help="Stop a task after a checkpoint and free its GPUs, until it is resumed.")
@which_task
@click.option("--wait", "waits", is_flag=True, help="Until it has stopped.")
@patience
@cluster_options()
@click.pass_context
def suspend(context: click.Context, where: Where, task: str, waits: bool, timeout: int | None) -> None:
    """Stop TASK after a checkpoint and free its GPUs, until it is resumed. One that waits does not start.

    The attempt that is stopped does not count against --max-attempts. Exit code 124: the time of --timeout is over.
    """
    from collabspace.cli import task_control

    context.exit(task_control.suspend(where, task, waits, timeout))


@click.command(short_help="Let a suspended task go on from its newest checkpoint.")
@which_task
@click.option("--wait", "waits", is_flag=True, help="Until it runs.")
@patience
@cluster_options()
@click.pass_context
def resume(context: click.Context, where: Where, task: str, waits: bool, timeout: int | None) -> None:
    """Let a suspended TASK go on from its newest checkpoint, as soon as the quota allows.

    Exit code 124: the time of --timeout is over.
    """
    from collabspace.cli import task_control

    context.exit(task_control.resume(where, task, waits, timeout))


@click.command(
    short_help="Change the priority of a task that waits.", context_settings={"ignore_unknown_options": True}
)
@which_task
@click.argument("value", type=WholeNumber(-1000, 1000), metavar="-1000..1000")
@cluster_options()
def priority(where: Where, task: str, value: int) -> None:
    """Change the priority of a TASK that waits: higher goes first, equal ones in order of arrival."""
    from collabspace.cli import task_control

    task_control.prioritize(where, task, value)


@click.command(short_help="Stop a task for good and delete it with its checkpoints.")
@which_task
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", "waits", is_flag=True, help="Until its pods are gone too.")
@patience
@cluster_options()
@click.pass_context
def cancel(context: click.Context, where: Where, task: str, yes: bool, waits: bool, timeout: int | None) -> None:
    """Stop TASK for good: it is deleted with its checkpoints and whatever result it has. Asks before.

    The ledger keeps its records. To stop a task and keep it, suspend it. Exit code 124: the time of --timeout is over.
    """
    from collabspace.cli import task_control

    context.exit(task_control.cancel(where, task, yes, waits, timeout))
