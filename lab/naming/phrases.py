"""Phrases that a journey's keywords share: seven metal signs of seven kinds are "metal signs"."""

from collections.abc import Container, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lab.naming.word_forms import FUNCTION_WORDS, plural, singular, tokens

MIN_SHARED = 3
"""Keywords of a journey that must share a phrase."""
_LONGEST = 3
_MODIFIER_WORDS = (
    "antique assorted asstd beautiful big black blue bronze brown circular classic colourful cosy cream cute dark "
    "deluxe design designs diy double easy english extra fancy folding french giant glossy gold golden gorgeous gray "
    "green grey hanging heavy huge ivory jumbo large left little long lovely luxury matte medium mini modern "
    "narrow natural old open orange pack pastel piece pieces pink plain pretty purple quick rectangular red regency "
    "retro right round rustic scandinavian set shabby shiny short silver simple single size skinny slim small soft "
    "square style sweet tall thick thin tiny top traditional turquoise union victorian vintage white wide wooden "
    "yellow"
)
_MODIFIERS = frozenset(_MODIFIER_WORDS.split())
"""Words that say of what kind the next one is: no phrase ends at one."""


def shared_phrases(
    words: pl.Series,
    word: NDArray[np.int64],
    journey: NDArray[np.int64],
    is_searched: NDArray[np.bool_],
    *,
    plurals: Container[str] = (),
) -> pl.DataFrame:
    """Phrases of one to three words that `MIN_SHARED` keywords of a journey have, the last word in any number.

    Of phrases within each other that the same keywords share, the longest counts. What is no one's own words, but said
    of items, gets the plural. What a keyword says already is left out.

    Parameters
    ----------
    words : Series of str
        Distinct keywords.
    word, journey, is_searched : arrays of shape (keywords,)
        Of each keyword of a journey: its row of `words`, its journey, and whether somebody searched for it.
    plurals : container of str
        Plurals beyond those of the dictionary.

    Returns
    -------
    DataFrame
        Columns ``journey`` (int64), ``phrase`` (str), ``row`` (int64, of `word`): the keywords that have it; sorted.
    """
    rows = pl.DataFrame({"journey": journey, "word": word, "is_searched": is_searched}).with_row_index("row")
    found = rows.cast({"row": pl.Int64}).join(_phrases_of(words), on="word")
    of_key = (
        found.group_by("journey", "key")
        .agg(
            pl.len().alias("shared"),
            pl.col("length").first(),
            pl.col("is_searched").any(),
            ends=pl.col("is_end").sum(),
            members="row",
        )
        # A word alone is what things are if it stands last; else it says of what kind they are: "jam" of jam jars.
        .filter(pl.col("shared") >= MIN_SHARED, (pl.col("length") > 1) | (2 * pl.col("ends") >= pl.col("shared")))
        .with_columns(pl.col("members").list.sort())
        # "metal" and "sign" say less than "metal sign", where all that have one have the other.
        .sort("journey", "length", "key", descending=[False, True, False])
        .unique(["journey", "members"], keep="first", maintain_order=True)
    )
    usual = (
        found.join(of_key, on=["journey", "key"], how="semi")
        .group_by("journey", "key", "phrase")
        .agg(uses=pl.len())
        .sort("journey", "key", "uses", "phrase", descending=[False, False, True, False])
        .unique(["journey", "key"], keep="first", maintain_order=True)
    )
    shown = of_key.join(usual, on=["journey", "key"])
    in_plural = {phrase: _in_plural(phrase, plurals) for phrase in shown["phrase"].unique()}
    is_own = pl.col("is_searched")
    phrase = pl.when(is_own).then("phrase").otherwise(pl.col("phrase").replace(in_plural))
    said = rows.select("journey", phrase=words.gather(word))
    return (
        shown.with_columns(phrase=phrase)
        .join(said, on=["journey", "phrase"], how="anti")
        .unique(["journey", "phrase"], keep="first", maintain_order=True)
        .select("journey", "phrase", row="members")
        .explode("row")
        .sort("journey", "phrase", "row")
    )


def _phrases_of(words: pl.Series) -> pl.DataFrame:
    """Phrases of distinct keywords: ``word`` (int64, the row), ``phrase``, ``key`` (its last word in the singular)."""
    rows = [(row, *each) for row, text in enumerate(words) for each in _phrases(tokens(text))]
    schema = {"word": pl.Int64, "phrase": pl.String, "key": pl.String, "length": pl.Int64, "is_end": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row").unique(["word", "key"], keep="first", maintain_order=True)


def _phrases(parts: Sequence[str]) -> Iterator[tuple[str, str, int, bool]]:
    ends = [place for place, part in enumerate(parts) if _may_end(part)]
    for end in ends:
        for start in range(max(0, end - _LONGEST + 1), end + 1):
            if parts[start] not in FUNCTION_WORDS:
                before, last = parts[start:end], parts[end]
                yield " ".join([*before, last]), " ".join([*before, singular(last)]), end - start + 1, end == ends[-1]


def _may_end(word: str) -> bool:
    is_participle = word.endswith("ed") and len(word) > 5
    is_word = len(word) > 2 and not word.isdigit() and not is_participle
    return is_word and word not in FUNCTION_WORDS and word not in _MODIFIERS


def _in_plural(phrase: str, known: Container[str]) -> str:
    before, space, last = phrase.rpartition(" ")
    return f"{before}{space}{plural(last, known)}"
