"""How the demo speaks: acts with a clock, commands as a person would type them, and what each act proves."""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text


class StepFailedError(Exception):
    """A step of the demo did not do what it claims."""


@dataclass
class Stage:
    """Runs commands in `folder` as one of the teams' people. `path` is put before PATH, so that kubectl is ours."""

    path: list[Path]
    folder: Path
    kubeconfigs: dict[str, Path] = field(default_factory=dict)
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    proofs: list[tuple[str, str]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    last_step: str = ""

    def begin(self) -> None:
        """The clock starts."""
        self.begun = time.monotonic()

    def act(self, title: str) -> None:
        seconds = int(time.monotonic() - self.begun)
        self.console.print()
        self.console.print(Rule(Text(f"{seconds // 60}:{seconds % 60:02d}  {title}", style="bold"), align="left"))

    def proves(self, claim: str, command: str) -> None:
        """What the act has shown, and the command that shows it again."""
        self.proofs.append((claim, command))
        self.console.print(Text(f"✓ {claim}", style="green"))

    def say(self, text: str) -> None:
        self.console.print(text, style="dim")

    def step(self, line: str) -> None:
        """Progress of the cluster, `step — detail`: each step once."""
        text = line.partition(" — ")[0]
        if text != self.last_step:
            self.last_step = text
            self.say(text)

    def run(
        self,
        who: str,
        command: str,
        *,
        fails: bool = False,
        show: bool = True,
        brief: bool = False,
        colour: bool = False,
    ) -> str:
        """Run a command line as `who` and return what it printed. `fails`: it is meant to be refused.

        `show` prints the command and its output, `brief` the command alone. Raises StepFailedError for another end.
        """
        if show:
            self.console.print(Text.assemble((f"{who} $ ", "cyan"), (command, "bold")))
        done = subprocess.run(
            shlex.split(command),
            env=self.environment(who),
            cwd=self.folder,
            stdout=None if colour and self.console.is_terminal else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        text = ((done.stdout or "") + done.stderr).rstrip()
        if text and show and not brief:
            self.console.print(Text("\n".join("    " + line for line in text.split("\n"))))
        if (done.returncode != 0) != fails:
            verb = "was accepted, but must be refused" if fails else f"failed with exit code {done.returncode}"
            raise StepFailedError(f"`{command}` {verb}.\n{text if brief or not show else ''}")
        return text if fails else done.stdout or ""

    def environment(self, who: str) -> dict[str, str]:
        path = os.pathsep.join([*map(str, self.path), os.environ.get("PATH", "")])
        width = str(min(self.console.width, 120))
        return {**os.environ, "KUBECONFIG": str(self.kubeconfigs[who]), "PATH": path, "COLUMNS": width, "TERM": "dumb"}

    def require(self, holds: bool, otherwise: str) -> None:
        """The demo ends with an error when what it claims is not so."""
        if not holds:
            raise StepFailedError(otherwise)

    def closing(self, hints: list[str]) -> None:
        lines = Text()
        for claim, command in self.proofs:
            lines.append("✓ ", style="green")
            lines.append(claim + "\n")
            lines.append(f"    {command}\n", style="bold")
        self.console.print()
        panel = Panel(lines, title="what you saw, and how to see it again", border_style="green")
        self.console.print(panel, soft_wrap=False)
        for hint in hints:
            self.console.print(hint)


def plain_when_piped() -> Console:
    """Colours and live rows on a terminal, plain lines of fixed width elsewhere."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)
