"""Naming a journey by the best of its keywords."""

import itertools

import polars as pl

_JOURNEY = ["user_id", "journey_id"]


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


def name_journeys(
    keywords: pl.DataFrame, *, closeness_weight: float, keyword_weight: float, readability_weight: float
) -> pl.DataFrame:
    """Name each journey by its best keyword; no two journeys of a user get the same name.

    A keyword's score is the weighted sum of its closeness to the centroid, its weight relative to the journey's
    heaviest keyword, and its `readability`. Where two journeys want one name, the one with the heavier keywords
    gets it and the other takes its next best.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword`` (not blank), ``weight`` (float64 > 0),
        ``centroid_similarity`` (float64); each keyword once per user.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``name``, ``keyword``, ``name_score`` (float64, 0 to 1); one row per
        journey, sorted.

    Raises
    ------
    ValueError
        All three weights are 0.
    """
    total = closeness_weight + keyword_weight + readability_weight
    if total <= 0:
        raise ValueError("the weights of closeness, keyword weight and readability are all 0: set one of them")
    # Whole millionths add up to the same sum in any order.
    mass = (pl.col("weight") * 1e6).round().cast(pl.Int64).sum().over(_JOURNEY)
    candidates = keywords.select(
        *_JOURNEY,
        "keyword",
        name=display_name(pl.col("keyword")),
        mass=mass,
        name_score=(
            closeness_weight / total * pl.col("centroid_similarity").clip(0.0, 1.0)
            + keyword_weight / total * pl.col("weight") / pl.col("weight").max().over(_JOURNEY)
            + readability_weight / total * readability(pl.col("keyword"))
        ).clip(0.0, 1.0),
    ).sort("user_id", "mass", "journey_id", "name_score", "keyword", descending=[False, True, False, True, False])
    return _distinct_names(candidates).select(*_JOURNEY, "name", "keyword", "name_score").sort(_JOURNEY)


def _distinct_names(candidates: pl.DataFrame) -> pl.DataFrame:
    """Best candidate of each journey whose name no earlier journey of the user has; candidates come best first."""
    named = [candidates.clear()]
    left = candidates
    while not left.is_empty():
        best = left.unique(_JOURNEY, keep="first", maintain_order=True)
        winners = best.unique(["user_id", "name"], keep="first", maintain_order=True)
        named.append(winners)
        left = left.join(winners, on=_JOURNEY, how="anti", maintain_order="left").join(
            winners, on=["user_id", "name"], how="anti", maintain_order="left"
        )
    distinct = pl.concat(named)
    unnamed = candidates.join(distinct, on=_JOURNEY, how="anti", maintain_order="left").unique(
        _JOURNEY, keep="first", maintain_order=True
    )
    return pl.concat([distinct, _numbered(unnamed, distinct)])


def _numbered(unnamed: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Journeys all of whose keywords read like names of others: "Istanbul (2)", with the first number that is free."""
    taken = set(named.join(unnamed, on="user_id", how="semi").select("user_id", "name").iter_rows())
    names = []
    for user_id, name in unnamed.select("user_id", "name").iter_rows():
        free = next(numbered for n in itertools.count(2) if (user_id, numbered := f"{name} ({n})") not in taken)
        taken.add((user_id, free))
        names.append(free)
    return unnamed.with_columns(name=pl.Series(names, dtype=pl.String))
