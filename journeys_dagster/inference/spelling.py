"""Misspelt words of a text, shown in the spelling that more people use. What is computed of a text reads it as typed.

Which word many people use in place of a rare one is said by the model `spellings`; which rare words are words of their
own, by the bundled embedding model, whose vocabulary has common words whole and the others in pieces.
"""

import json
from functools import cache

import polars as pl

from journeys_dagster.inference.encoders import BUNDLED_PACKAGE, package_folder


@cache
def dictionary() -> frozenset[str]:
    """The words that the bundled model has whole, in lower case."""
    tokenizer = package_folder(BUNDLED_PACKAGE) / "model" / "tokenizer.json"
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    return frozenset(piece for piece in vocabulary if piece.isalpha())


def misspelt(spellings: pl.DataFrame) -> dict[str, str]:
    """The rare words that are none of the dictionary's, each with the word that is shown in its place.

    Parameters
    ----------
    spellings : DataFrame
        Columns ``word``, ``shown``, as from the model `spellings`; each word once.
    """
    return {word: shown for word, shown in spellings.select("word", "shown").iter_rows() if word not in dictionary()}


def respelt(text: pl.Expr, misspelt: dict[str, str]) -> pl.Expr:
    """Texts with their misspelt words, which spaces part from others, replaced."""
    if not misspelt:
        return text
    return text.str.split(" ").list.eval(pl.element().replace(misspelt)).list.join(" ")
