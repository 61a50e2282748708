"""What of a text an embedding model can read: characters of its vocabulary, in scripts that it has words of.

An English model knows single letters of Hebrew, and nothing of Thai. It takes all texts in either for much the same.
How a text is embedded belongs to `embedding`.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PIECES_OF_A_SCRIPT = 100
"""Pieces of two letters and more from which a vocabulary has words of a script: that of all-MiniLM-L6-v2 has 26,461 in
Latin, and 8 in Cyrillic, the script that comes next."""
_LONG_WORD = 50
"""Characters of a text from which a tokenizer may give up on a word in it."""

READ_WHOLE = 0.999
"""Share of a text that was read from which it was read whole, where the length of its vector says so with rounding."""

Spans = list[tuple[int, int]]


class Vocabulary:
    """What a model can read, by its tokenizer.

    Parameters
    ----------
    pieces : iterable of str
        All word pieces.
    unknown : callable
        From a text, the places in it that the tokenizer has no piece for, from and up to which character.
    """

    def __init__(self, pieces: Iterable[str], unknown: Callable[[str], Spans]) -> None:
        self._unknown = unknown
        self._is_read: dict[str, bool] = {}
        found: Counter[str] = Counter()
        for piece in pieces:
            letters = [character for character in piece if character.isalpha()]
            if len(letters) > 1:
                found.update({_script(letter) for letter in letters})
        self._scripts = {script for script, count in found.items() if count >= _PIECES_OF_A_SCRIPT}

    def readable(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
        """The part of each text that the model can read, and its share of the text's characters.

        A text that it can read whole stays as it is, to the letter. Where nothing but digits and punctuation would be
        left, nothing is: they say little of what it was about.
        """
        parts, shares = list(texts), np.ones(len(texts), dtype=np.float32)
        for row, text in enumerate(texts):
            if self._reads_whole(text):
                continue
            # Wide letters are read as the usual ones.
            whole = unicodedata.normalize("NFKC", text)
            part = self._without_words(self._without_characters(whole))
            if not any(map(_has_meaning, part)):
                part = ""
            parts[row], shares[row] = part, _length(part) / max(_length(whole), 1)
        return parts, shares

    def _reads_whole(self, text: str) -> bool:
        if not all(map(self._reads, text)):
            return False
        return (text.isascii() and len(text) < _LONG_WORD) or not self._unknown(text)

    def _reads(self, character: str) -> bool:
        known = self._is_read.get(character)
        if known is None:
            known = not self._unknown(character) and (not character.isalpha() or _script(character) in self._scripts)
            self._is_read[character] = known
        return known

    def _without_characters(self, text: str) -> str:
        """The text without the characters that are not read."""
        kept, is_kept = [], True
        for character in text:
            # Vowel signs and accents go where their letter goes.
            if not unicodedata.category(character).startswith("M"):
                is_kept = self._reads(character)
            kept.append(character if is_kept else " ")
        return " ".join("".join(kept).split())

    def _without_words(self, text: str) -> str:
        """The text without the words that are not read though their characters are, such as very long ones."""
        characters = list(text)
        for first, last in self._unknown(text):
            characters[first:last] = " " * (last - first)
        return " ".join("".join(characters).split())


def vocabulary_of(tokenizer: "Tokenizer", unknown: int | None) -> Vocabulary | None:
    """The vocabulary of a tokenizer, given its token for what it does not know; none where it reads every byte."""
    from tokenizers.decoders import ByteLevel

    if unknown is None or isinstance(tokenizer.decoder, ByteLevel):
        return None

    def spans(text: str) -> Spans:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token == unknown]

    return Vocabulary(tokenizer.get_vocab(with_added_tokens=False), spans)


def _has_meaning(character: str) -> bool:
    return character.isalpha() or unicodedata.category(character) == "So"


@cache
def _script(letter: str) -> str:
    """The first word of its Unicode name, such as LATIN; of a wide letter that of the usual one."""
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").partition(" ")[0]


def has_length(character: str) -> bool:
    """Whether it counts as a character of a text: letters, digits and signs, not spaces, accents and the invisible."""
    return unicodedata.category(character)[0] in "LNPS"


def _length(text: str) -> int:
    return sum(map(has_length, text))
