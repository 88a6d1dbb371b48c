"""What can go wrong with the embedded cluster, as one family that the command line shows without a traceback."""


class LocalClusterError(Exception):
    """The embedded cluster could not do what was asked; the text says what was found and what to do."""
