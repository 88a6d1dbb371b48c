"""Sentences as pieces of words for an encoder: long ones go on in further windows, so no word is ever left out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from collabspace_trainer.pulse import each

WORDS_AT_ONCE = 10_000
"""Encoded in one call of the library."""
TEXTS_AT_ONCE = 500
"""The same for texts, which may be long."""


@dataclass(frozen=True)
class Window:
    """Consecutive words of one sentence: piece numbers with special ones around, and where each word starts in them.

    The beginning of a text is a window as well; nobody asks where its words start.
    """

    sentence: int
    pieces: list[int]
    starts: list[int]
    first_word: int


class Pieces:
    """Turns words into piece numbers, each distinct word once."""

    def __init__(self, tokenizer: Tokenizer, maximum: int) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}
        probe = tokenizer.encode(["a"], is_pretokenized=True)
        inside = [index for index, special in enumerate(probe.special_tokens_mask) if not special] or [len(probe.ids)]
        self._before, self._after = probe.ids[: inside[0]], probe.ids[inside[-1] + 1 :]
        self._room = maximum - len(self._before) - len(self._after)
        self._unknown = _unknown_piece(tokenizer)

    def windows(self, sentences: Sequence[Sequence[str]]) -> list[Window]:
        """Windows of all sentences in order; a word too long for any window is cut."""
        self._learn(word for words in sentences for word in words)
        return [window for number, words in enumerate(each(sentences)) for window in self._split(number, words)]

    def beginnings(self, texts: Sequence[str]) -> list[Window]:
        """One window per text, in order: as much of its beginning as fits, white space and marks as they stand."""
        return [self._window(number, ids[: self._room], [], 0) for number, ids in enumerate(each(self._encoded(texts)))]

    def _encoded(self, texts: Sequence[str]) -> Iterator[list[int]]:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = list(texts[start : start + TEXTS_AT_ONCE])
            for encoding in self._tokenizer.encode_batch(part, add_special_tokens=False):
                yield encoding.ids or [self._unknown]

    def _split(self, number: int, words: Sequence[str]) -> Iterable[Window]:
        pieces: list[int] = []
        starts: list[int] = []
        first = 0
        for index, word in enumerate(words):
            encoded = self._cache[word][: self._room]
            if len(pieces) + len(encoded) > self._room:
                yield self._window(number, pieces, starts, first)
                pieces, starts, first = [], [], index
            starts.append(len(self._before) + len(pieces))
            pieces.extend(encoded)
        yield self._window(number, pieces, starts, first)

    def _window(self, number: int, pieces: list[int], starts: list[int], first: int) -> Window:
        return Window(number, [*self._before, *pieces, *self._after], starts, first)

    def _learn(self, words: Iterable[str]) -> None:
        new = sorted({word for word in words if word not in self._cache})
        for start in each(range(0, len(new), WORDS_AT_ONCE)):
            part = new[start : start + WORDS_AT_ONCE]
            listed = [[word] for word in part]
            encodings = self._tokenizer.encode_batch(listed, is_pretokenized=True, add_special_tokens=False)
            for word, encoding in zip(part, encodings, strict=True):
                self._cache[word] = encoding.ids or [self._unknown]


def _unknown_piece(tokenizer: Tokenizer) -> int:
    """Stands for words that the tokenizer drops altogether; they keep their place and their tag."""
    for token in ("[UNK]", "<unk>", "<pad>", "[PAD]"):
        number: int | None = tokenizer.token_to_id(token)
        if number is not None:
            return number
    return 0


def padding_piece(tokenizer: Tokenizer) -> int:
    """Fills short rows of a batch; the attention mask hides it."""
    for token in ("[PAD]", "<pad>"):
        number: int | None = tokenizer.token_to_id(token)
        if number is not None:
            return number
    return 0


def collate(windows: Sequence[Window], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Piece numbers and attention mask, both [windows, longest]."""
    longest = max(len(window.pieces) for window in windows)
    pieces = torch.full((len(windows), longest), padding, dtype=torch.long)
    mask = torch.zeros((len(windows), longest), dtype=torch.long)
    for row, window in enumerate(windows):
        pieces[row, : len(window.pieces)] = torch.tensor(window.pieces)
        mask[row, : len(window.pieces)] = 1
    return pieces, mask
