"""`version`: which release this is."""

import click


@click.command()
def version() -> None:
    """Print the release."""
    from importlib.metadata import version as installed

    from collabspace.api import names

    click.echo(f"collabspace {installed('collabspace')} (API {names.API_VERSION})")
