"""Help of commands with many options: in sections, the most used first, examples at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

REST = "Cluster"


class SectionedCommand(click.Command):
    """`sections` are titles with options by their long names; what stands in none comes last, with `-n` and `--help`.

    `examples` are lines to print as they are; PROGRAM in them is how the person called us.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], examples: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sections = sections
        self.examples = examples

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        options = [each for each in self.get_params(context) if isinstance(each, click.Option)]
        records = {each.opts[-1]: each.get_help_record(context) for each in options}
        named = {name for names in self.sections.values() for name in names}
        rest = {REST: [name for name in records if name not in named]}
        for title, names in {**self.sections, **rest}.items():
            with formatter.section(title):
                formatter.write_dl([record for name in names if (record := records[name]) is not None])

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(context, formatter)
        if self.examples:
            name = context.find_root().info_name or "kubectl collab"
            formatter.write(f"\nExamples:\n{self.examples.replace('PROGRAM', name)}\n")
