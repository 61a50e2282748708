"""Texts in the form in which they are compared with a policy's terms: letters, digits and single spaces."""

from collections.abc import Sequence

import polars as pl

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"}
_LETTERS_WITH_LEET = r"\p{L}[0134578@$!]+\p{L}"
_CUT = " |"
"""What stands where an exception was, so that the words beside it do not become neighbours, and an ending no word."""


def plain(text: pl.Expr) -> pl.Expr:
    """The text in the form that terms are written in."""
    return _words(_folded(text))


def plain_forms(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The text in the form that terms are written in, and the same with digits and signs among letters read as the
    letters that they stand for ("c0caine"); null where there are none.
    """
    folded = _folded(text)
    is_leet = folded.str.contains(_LETTERS_WITH_LEET)
    read = folded.str.replace_many(list(_LEET), list(_LEET.values()))
    return _words(folded), _words(pl.when(is_leet).then(read))


def spaced(text: pl.Expr) -> pl.Expr:
    """A plain form with a space of its own on both sides of each word, so that `needles` find whole words in it."""
    return pl.concat_str(pl.lit(" "), text.str.replace_all(" ", "  ", literal=True), pl.lit(" "))


def needles(phrases: Sequence[str]) -> list[str]:
    """What to look for in `spaced` texts to find phrases of whole words, the longest first.

    A "*" at the end of a phrase stands for any ending.

    Plain substrings, since thousands of phrases are looked for at once: in time that does not depend on how many.
    """
    words = (" " + phrase.replace(" ", "  ") + " " for phrase in phrases)
    return sorted((each.removesuffix("* ") for each in words), key=lambda each: (-len(each), each))


def without(text: pl.Expr, found: Sequence[str]) -> pl.Expr:
    """The spaced text with what needles find cut out."""
    return text.str.replace_many(list(found), [_CUT] * len(found), leftmost=True) if found else text


def first_found(text: pl.Expr, found: Sequence[str]) -> pl.Expr:
    """The phrase of the first needle in a spaced text, without its "*"; null where there is none."""
    first = text.str.extract_many(list(found), leftmost=True).list.first()
    return first.str.strip_chars(" ").str.replace_all("  ", " ", literal=True)


def _folded(text: pl.Expr) -> pl.Expr:
    """Lower case, without accents, invisible characters and apostrophes; letters of parts, as in Korean, whole."""
    apart = text.str.normalize("NFKD").str.to_lowercase()
    return apart.str.replace_all(r"[\p{M}\p{Cf}'’`´]", "").str.normalize("NFC")


def _words(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars(" ")
