"""Command line of the process node."""

import asyncio
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import click

from collabspace.kube.config import NoClusterError, load
from collabspace.local.node.agent import Agent, Settings, StateInUseError
from collabspace.local.node.api import NodeClient
from collabspace.local.node.environment import Machine

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--kubeconfig", type=_FILE, required=True, help="The node's own credential (system:node:NAME).")
@click.option("--name", required=True, help="Name of the Node.")
@click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), required=True, help="Pods, logs, journal."
)
@click.option("--gpus", type=click.IntRange(0, 1024), default=0, show_default=True, help="Simulated GPUs to offer.")
@click.option("--serving-cert", type=_FILE, required=True, help="Certificate of the log endpoint.")
@click.option("--serving-key", type=_FILE, required=True, help="Its key.")
@click.option(
    "--client-ca",
    type=_FILE,
    required=True,
    help="Authority of the API server's credential for logs; it must sign nothing else.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Log port; 0 takes a free one."
)
@click.option("--cpus", type=click.IntRange(1), default=None, help="CPUs to offer; default: the machine's.")
@click.option("--memory-bytes", type=click.IntRange(1), default=None, help="Memory to offer; default: the machine's.")
@click.option(
    "--lease-seconds",
    type=click.IntRange(4),
    default=40,
    show_default=True,
    help="How long the node counts as alive after its last sign of life; it gives four in this time.",
)
@click.option("--stop-containers-on-exit", is_flag=True, help="At SIGTERM end all containers before leaving.")
@click.option("--allow-test-image", is_flag=True, help="Let collabspace/test-shell run /bin/sh, for tests of the node.")
def main(
    kubeconfig: Path, memory_bytes: int | None, cpus: int | None, stop_containers_on_exit: bool, **rest: Any
) -> None:
    """A node of the embedded cluster: runs pods as processes of this machine, without isolation."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    check_kernel()
    machine = Machine(cpus or os.cpu_count() or 1, memory_bytes or machine_memory())
    settings = Settings(machine=machine, **{**rest, "state_dir": rest["state_dir"].absolute()})
    try:
        asyncio.run(_serve(settings, kubeconfig, stop_containers=stop_containers_on_exit))
    except (NoClusterError, StateInUseError) as error:
        raise click.ClickException(str(error)) from error


async def _serve(settings: Settings, kubeconfig: Path, *, stop_containers: bool) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    async with NodeClient(load(kubeconfig)) as client:
        agent = Agent(settings, client)
        work = asyncio.create_task(agent.run())
        leaving = asyncio.create_task(leave.wait())
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            leaving.cancel()
            await work  # it never ends by itself: this raises what ended it
        await agent.stop(containers=stop_containers)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def check_kernel() -> None:
    """Raises ClickException where the kernel does not list a process's children (shims end them by that list)."""
    if not Path(f"/proc/self/task/{threading.get_native_id()}/children").exists():
        raise click.ClickException(
            "this kernel has no /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN), by which containers are ended;"
            " run the node on a stock Linux kernel, or use kind"
        )


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
