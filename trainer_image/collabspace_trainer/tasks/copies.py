"""Records that stand on both sides of a split: a model must not be measured on what it has learnt from."""

import unicodedata


def comparable(text: str) -> str:
    """Text by which copies are found: compatibility forms, case and anything but letters and digits set aside."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())
