"""Texts in the form in which they are compared with a policy's terms: letters, digits and single spaces."""

from collections.abc import Sequence

import polars as pl

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"}
_LETTERS_WITH_LEET = r"\p{L}[0134578@$!]+\p{L}"
_CUT = " | "
"""What stands where an exception was, so that the words beside it do not become neighbours."""


def plain(text: str) -> str:
    """One text in the form that terms are written in."""
    return pl.select(_words(_folded(pl.lit(text)))).item()


def plain_forms(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The text in the form that terms are written in, and the same with digits and signs among letters read as the
    letters that they stand for ("c0caine").
    """
    folded = _folded(text)
    is_leet = folded.str.contains(_LETTERS_WITH_LEET)
    read = folded.str.replace_many(list(_LEET), list(_LEET.values()))
    return _words(folded), _words(pl.when(is_leet).then(read).otherwise(folded))


def phrase_pattern(phrases: Sequence[str]) -> str | None:
    """A pattern for whole words in this order, with a group around them; none where there are no phrases.

    A "*" at the end of a word stands for any ending.
    """
    if not phrases:
        return None
    longest_first = sorted(phrases, key=len, reverse=True)
    return r"\b(" + "|".join(phrase.replace("*", r"[\p{L}\p{N}]*") for phrase in longest_first) + r")\b"


def without(text: pl.Expr, pattern: str | None) -> pl.Expr:
    """The text with what a pattern finds cut out."""
    return text if pattern is None else text.str.replace_all(pattern, _CUT)


def _folded(text: pl.Expr) -> pl.Expr:
    """Lower case, without accents, invisible characters and apostrophes."""
    return text.str.normalize("NFKD").str.to_lowercase().str.replace_all(r"[\p{M}\p{Cf}'’`´]", "")


def _words(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars(" ")
