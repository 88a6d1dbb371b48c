"""Small drawings of blocks within a line of text: numbers in, a string out."""

from collections.abc import Sequence
from math import isfinite

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = "▏▎▍▌▋▊▉█"


def bar(value: float, width: int = 20) -> str:
    """A bar for a share from 0 to 1, in eighths of a character, padded to `width`."""
    eighths = round(max(0.0, min(1.0, value)) * width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[part - 1] if part else "")).ljust(width)


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """The newest values as a line of blocks between their least and greatest; what is not finite is a gap."""
    shown = list(values)[-width:]
    finite = [value for value in shown if isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] if isfinite(value) else " " for value in shown)


def progress_bar(percent: int, width: int = 20) -> str:
    """`█████░░░░░  50 %`."""
    done = width * max(0, min(100, percent)) // 100
    return "█" * done + "░" * (width - done) + f" {percent:3d} %"
