"""Naming a journey by the best of its keywords."""

import functools
import itertools
import operator
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.members import journey_weight_units, number_words
from journeys_dagster.inference.spelling import misspelt, respelt
from journeys_dagster.settings import NamingSettings

_JOURNEY = ["user_id", "journey_id"]
READABLE = 0.3
"""Readability from which a keyword can name a journey."""


def readability(keyword: pl.Expr) -> pl.Expr:
    """How well a keyword reads as a name, from 0 to 1.

    Each fault takes its share off: a bare address (URL or domain), letters making up little of the text (codes,
    part numbers), fewer than three characters, more than five words, more than forty characters.
    """
    # Vowel signs of Indic scripts are marks, and the scripts of East Asia write most words in two characters.
    letters = keyword.str.count_matches(r"[\p{L}\p{M}]")
    is_dense = keyword.str.contains(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
    length = keyword.str.len_chars()
    words = keyword.str.count_matches(r"\S+")
    is_address = keyword.str.contains(r"^(https?://|www\.)|^\S+\.(com|org|net|edu|gov|io|co)(\W|$)")
    letter_share = (letters / pl.max_horizontal(length - (words - 1), 1)).clip(0.0, 1.0)
    return (
        letter_share**2
        * pl.when(is_address).then(0.2).otherwise(1.0)
        * pl.when((length < 3) & ~is_dense).then(0.4).otherwise(1.0)
        * pl.when(words > 5).then(0.6).otherwise(1.0)
        * pl.when(length > 40).then(0.6).otherwise(1.0)
    )


def display_name(keyword: pl.Expr) -> pl.Expr:
    """A keyword as people see it: first letter upper case."""
    return keyword.str.slice(0, 1).str.to_uppercase() + keyword.str.slice(1)


def with_centrality(keywords: pl.DataFrame, known: pl.DataFrame, *, usual: float) -> pl.DataFrame:
    """Add how central each keyword is in everyone's journeys.

    Parameters
    ----------
    known : DataFrame
        Columns ``keyword``, ``centrality``, as from the model `keyword_centrality`.
    usual : float
        For keywords that are not known; 0 where nothing is known of everyone's journeys.
    """
    return keywords.join(
        known.select("keyword", "centrality"), on="keyword", how="left", maintain_order="left"
    ).with_columns(pl.col("centrality").fill_null(usual))


def name_journeys(
    journeys: pl.DataFrame,
    keywords: pl.DataFrame,
    settings: NamingSettings,
    *,
    known: pl.DataFrame | None = None,
    usual: float = 0.0,
    former: pl.DataFrame | None = None,
    spellings: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Name each journey by its best keyword; no two journeys of a user get the same name.

    A keyword's score is the weighted mean of its closeness to the journey's centroid, its centrality in everyone's
    journeys, its number of events and its weight, both relative to the journey's largest, whether the user searched
    for it, its `readability`, and whether it named the journey before. Addresses and codes name a journey only where
    it has nothing else. Where two journeys want one name, the one with the heavier keywords gets it and the other takes
    its next best.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, in any order.
    keywords : DataFrame
        Columns ``journey`` (int64, row of `journeys`), ``keyword`` (not blank), ``weight`` (float64 > 0), ``events``
        (int > 0), ``is_searched`` (bool), ``centroid_similarity``; each keyword once per user, each journey at least
        once.
    known, usual
        As `with_centrality` takes them. Default: nothing is known of everyone's journeys.
    former : DataFrame, optional
        Columns ``user_id``, ``journey_id``, ``keyword``: what named journeys in their user's snapshot before.
    spellings : DataFrame, optional
        As `misspelt` takes them. Default: names are spelt as the keywords are.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``name``, ``keyword``, ``centrality``, ``name_score`` (float64, 0 to 1);
        one row per journey, sorted.

    Raises
    ------
    ValueError
        The weights add up to 0 or less.
    """
    words, word = number_words(keywords["keyword"])
    words = known_words(words, known, usual, {} if spellings is None else misspelt(spellings))
    places = _by_weight(journeys, journey_weight_units(keywords, len(journeys)))
    place = places["place"].to_numpy()[keywords["journey"].to_numpy()]
    was_name = np.zeros(len(keywords), dtype=np.bool_)
    if former is not None:
        was_name = word == _former_words(journeys, former, words)[keywords["journey"].to_numpy()]
    of_word = words[word]
    score = keyword_score(keyword_parts(keywords, of_word, place, was_name), settings)
    candidates = keywords.select(
        place=pl.lit(pl.Series(place)),
        word=pl.lit(pl.Series(word)),
        is_readable=pl.lit(of_word["readability"] >= READABLE),
        name_score=score,
    )
    ordered = places.sort("place")
    named = _distinct_names(candidates, ordered["user"], words["name"]).sort("place")
    of_name = words[named["word"]]
    return (
        ordered.select(_JOURNEY)
        .with_columns(named["name"], of_name["keyword"], of_name["centrality"], named["name_score"])
        .sort(_JOURNEY)
    )


def keyword_parts(
    keywords: pl.DataFrame, of_word: pl.DataFrame, place: NDArray[np.int64], was_name: NDArray[np.bool_]
) -> dict[str, pl.Series]:
    """What speaks for each keyword, from 0 to 1 each, by the name of its weight; the rows are those of `keywords`."""
    return {
        "closeness": keywords["centroid_similarity"].clip(0.0, 1.0),
        "centrality": of_word["centrality"].clip(0.0, 1.0),
        "frequency": _of_largest(keywords["events"], place),
        "keyword": _of_largest(keywords["weight"], place),
        "search": keywords["is_searched"].cast(pl.Float64),
        "readability": of_word["readability"],
        "stability": pl.Series(was_name).cast(pl.Float64),
    }


def keyword_score(parts: Mapping[str, pl.Series], settings: NamingSettings) -> pl.Series:
    """Their weighted mean.

    Raises
    ------
    ValueError
        The weights add up to 0 or less.
    """
    weights: dict[str, float] = {name: getattr(settings, f"{name}_weight") for name in parts}
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("the weights of naming add up to 0 or less: raise one of them")
    weighted = (part * (weights[name] / total) for name, part in parts.items())
    # One after the other: Polars adds columns up in another order, and to other bits, where it has other threads.
    return functools.reduce(operator.add, weighted).clip(0.0, 1.0)


def known_words(
    words: pl.DataFrame, known: pl.DataFrame | None, usual: float, misspelt_words: dict[str, str]
) -> pl.DataFrame:
    """What is known of distinct keywords: ``name``, ``readability`` and ``centrality``."""
    keyword = pl.col("keyword")
    words = words.with_columns(name=display_name(respelt(keyword, misspelt_words)), readability=readability(keyword))
    return words.with_columns(centrality=pl.lit(usual)) if known is None else with_centrality(words, known, usual=usual)


def _by_weight(journeys: pl.DataFrame, journey_weights: NDArray[np.int64]) -> pl.DataFrame:
    """The journeys with ``user``, a number, and ``place`` in the order of users, each one's heaviest journey first."""
    return (
        journeys.select(_JOURNEY)
        .with_columns(weight_units=pl.Series(journey_weights))
        .with_row_index("row")
        .sort("user_id", "weight_units", "journey_id", descending=[False, True, False])
        .with_columns(user=pl.col("user_id").rle_id(), place=pl.int_range(pl.len()))
        .sort("row")
    )


def _former_words(journeys: pl.DataFrame, former: pl.DataFrame, words: pl.DataFrame) -> NDArray[np.int64]:
    """The number of the word that named each journey before; -1 for none."""
    found = (
        journeys.select(_JOURNEY)
        .join(former.select(*_JOURNEY, "keyword"), on=_JOURNEY, how="left", maintain_order="left")
        .join(words.select("keyword").with_row_index("word"), on="keyword", how="left", maintain_order="left")
    )
    return found["word"].cast(pl.Int64).fill_null(-1).to_numpy()


def _of_largest(values: pl.Series, place: NDArray[np.int64]) -> pl.Series:
    """Values as shares of their journey's largest."""
    own = values.to_numpy()
    largest = np.zeros(place.max(initial=-1) + 1, dtype=own.dtype)
    np.maximum.at(largest, place, own)
    return pl.Series(own / largest[place])


def _distinct_names(candidates: pl.DataFrame, users: pl.Series, names: pl.Series) -> pl.DataFrame:
    """Best candidate of each journey whose name no earlier journey of the user has.

    Parameters
    ----------
    users : Series
        Of each place.
    names : Series
        Of each word.

    Returns
    -------
    DataFrame
        Columns of `candidates`, and ``user``, ``name``; one row per place.
    """

    def with_names(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(user=users.gather(rows["place"]), name=names.gather(rows["word"]))

    # Most journeys get their best name; to put all candidates in order for the others takes longest of all.
    best = with_names(candidates[_best_rows(candidates)])
    named = [best.unique(["user", "name"], keep="first", maintain_order=True)]
    others = candidates.join(named[0], on="place", how="anti").sort(
        "place", "is_readable", "name_score", "word", descending=[False, True, True, False]
    )
    ordered = with_names(others)
    left = ordered.join(named[0], on=["user", "name"], how="anti", maintain_order="left")
    while not left.is_empty():
        best = left.unique("place", keep="first", maintain_order=True)
        winners = best.unique(["user", "name"], keep="first", maintain_order=True)
        named.append(winners)
        left = left.join(winners, on="place", how="anti", maintain_order="left").join(
            winners, on=["user", "name"], how="anti", maintain_order="left"
        )
    distinct = pl.concat(named)
    unnamed = ordered.join(distinct, on="place", how="anti", maintain_order="left").unique(
        "place", keep="first", maintain_order=True
    )
    return pl.concat([distinct, _numbered(unnamed, distinct)])


def _best_rows(candidates: pl.DataFrame) -> NDArray[np.int64]:
    """The row of each place's best candidate: a readable one if there is any, with the highest score, first by word."""
    place, word, is_readable, score = (candidates[name].to_numpy() for name in candidates.columns)
    has_readable = np.zeros(place.max(initial=-1) + 1, dtype=np.bool_)
    has_readable[place[is_readable]] = True
    rows = np.flatnonzero(is_readable == has_readable[place])
    highest = np.full(len(has_readable), -np.inf)
    np.maximum.at(highest, place[rows], score[rows])
    rows = rows[score[rows] == highest[place[rows]]]
    first = np.full(len(has_readable), np.iinfo(np.int64).max)
    np.minimum.at(first, place[rows], word[rows])
    rows = rows[word[rows] == first[place[rows]]]
    return rows[np.argsort(place[rows], kind="stable")]


def _numbered(unnamed: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Journeys all of whose keywords read like names of others: "Istanbul (2)", with the first number that is free."""
    taken = set(named.join(unnamed, on="user", how="semi").select("user", "name").iter_rows())
    names = []
    for user, name in unnamed.select("user", "name").iter_rows():
        free = next(numbered for n in itertools.count(2) if (user, numbered := f"{name} ({n})") not in taken)
        taken.add((user, free))
        names.append(free)
    return unnamed.with_columns(name=pl.Series(names, dtype=pl.String))
