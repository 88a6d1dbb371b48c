"""Where `collabspace-trainer` starts: SIGTERM is taken before anything else is imported, which takes its time."""

from collabspace_trainer.stop import Stop


def main() -> None:
    """Runs the verb of the command line and ends the process with its exit code."""
    stop = Stop()
    stop.install()
    from collabspace_trainer.commands import group

    group(prog_name="collabspace-trainer", obj=stop)


if __name__ == "__main__":
    main()
