"""Naming a journey by the best of its keywords."""

import itertools

import polars as pl

from journeys_dagster.settings import NamingSettings

_JOURNEY = ["user_id", "journey_id"]
READABLE = 0.3
"""Readability from which a keyword names a journey by itself."""


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


def name_journeys(keywords: pl.DataFrame, settings: NamingSettings, former: pl.DataFrame | None = None) -> pl.DataFrame:
    """Name each journey by its best keyword; no two journeys of a user get the same name.

    A keyword's score is the weighted mean of its closeness to the journey's centroid, its centrality in everyone's
    journeys, its number of events and its weight, both relative to the journey's largest, whether the user searched
    for it, its `readability`, and whether it named the journey before. Addresses and codes name a journey only where
    it has nothing else. Where two journeys want one name, the one with the heavier keywords gets it and the other takes
    its next best.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword`` (not blank), ``weight`` (float64 > 0), ``events`` (int > 0),
        ``sources`` (list of str), ``centroid_similarity``, ``centrality`` (float64; 0 where everyone's journeys are not
        known); each keyword once per user.
    former : DataFrame, optional
        Columns ``user_id``, ``journey_id``, ``keyword``: what named journeys in their user's snapshot before.

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
    journeys, words = _journeys(keywords, former), _words(keywords)
    rows = keywords.join(journeys, on=_JOURNEY, maintain_order="left").join(words, on="keyword", maintain_order="left")
    parts = {
        "closeness": pl.col("centroid_similarity").clip(0.0, 1.0),
        "centrality": pl.col("centrality").clip(0.0, 1.0),
        "frequency": pl.col("events") / pl.col("events").max().over("place"),
        "keyword": pl.col("weight") / pl.col("weight").max().over("place"),
        "search": pl.col("sources").list.contains("search").cast(pl.Float64),
        "readability": pl.col("readability"),
        "stability": (pl.col("keyword") == pl.col("former")).fill_null(value=False).cast(pl.Float64),
    }
    weights: dict[str, float] = {name: getattr(settings, f"{name}_weight") for name in parts}
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("the weights of naming add up to 0 or less: raise one of them")
    score = pl.sum_horizontal(part * (weights[name] / total) for name, part in parts.items())
    candidates = rows.select(
        *("user", "place", "word", "name", "centrality"),
        is_readable=parts["readability"] >= READABLE,
        name_score=score.clip(0.0, 1.0),
    ).sort("place", "is_readable", "name_score", "word", descending=[False, True, True, False])
    return (
        _distinct_names(candidates)
        .join(journeys.select("place", *_JOURNEY), on="place")
        .join(words.select("word", "keyword"), on="word")
        .select(*_JOURNEY, "name", "keyword", "centrality", "name_score")
        .sort(_JOURNEY)
    )


def _journeys(keywords: pl.DataFrame, former: pl.DataFrame | None) -> pl.DataFrame:
    """The journeys, each user's heaviest first, with numbers in place of texts: ``place`` and ``user``.

    ``former`` is the keyword that named the journey before, null for none.
    """
    # Whole millionths add up to the same sum in any order.
    mass = (pl.col("weight") * 1e6).round().cast(pl.Int64).sum()
    journeys = (
        keywords.group_by(_JOURNEY)
        .agg(mass=mass)
        .sort("user_id", "mass", "journey_id", descending=[False, True, False])
        .select(*_JOURNEY, user=pl.col("user_id").rle_id())
        .with_row_index("place")
    )
    if former is None:
        return journeys.with_columns(former=pl.lit(None, dtype=pl.String))
    return journeys.join(former.select(*_JOURNEY, former="keyword"), on=_JOURNEY, how="left", maintain_order="left")


def _words(keywords: pl.DataFrame) -> pl.DataFrame:
    """The distinct keywords in order, with ``word``, their number. Users share many, and reading texts takes long."""
    keyword = pl.col("keyword")
    return (
        keywords.select(keyword.unique().sort())
        .with_row_index("word")
        .with_columns(name=display_name(keyword), readability=readability(keyword))
    )


def _distinct_names(candidates: pl.DataFrame) -> pl.DataFrame:
    """Best candidate of each journey whose name no earlier journey of the user has; candidates come best first."""
    named, left = [candidates.clear()], candidates
    while not left.is_empty():
        best = left.unique("place", keep="first", maintain_order=True)
        winners = best.unique(["user", "name"], keep="first", maintain_order=True)
        named.append(winners)
        left = left.join(
            best.join(winners, on="place", how="anti"), on="place", how="semi", maintain_order="left"
        ).join(winners, on=["user", "name"], how="anti", maintain_order="left")
    distinct = pl.concat(named)
    unnamed = candidates.join(distinct, on="place", how="anti", maintain_order="left").unique(
        "place", keep="first", maintain_order=True
    )
    return pl.concat([distinct, _numbered(unnamed, distinct)])


def _numbered(unnamed: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Journeys all of whose keywords read like names of others: "Istanbul (2)", with the first number that is free."""
    taken = set(named.join(unnamed, on="user", how="semi").select("user", "name").iter_rows())
    names = []
    for user, name in unnamed.select("user", "name").iter_rows():
        free = next(numbered for n in itertools.count(2) if (user, numbered := f"{name} ({n})") not in taken)
        taken.add((user, free))
        names.append(free)
    return unnamed.with_columns(name=pl.Series(names, dtype=pl.String))
