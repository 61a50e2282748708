"""Which of a journey's candidates it is called by: trees that learnt from titles that people give.

They expect of each candidate how near it comes to the title that a person would give. They learnt on simulated people,
of the tune half of the journey types, and on pairs written by hand; `journeys evaluate naming --half tune --refit-to`
trains them anew. The best keyword by the rule of `naming` stays where no other candidate is clearly better.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.members import number_words
from journeys_dagster.inference.naming import READABLE, display_name, keyword_parts, keyword_score, known_words
from journeys_dagster.inference.spelling import misspelt, respelt
from journeys_dagster.settings import NamingSettings
from lab.naming.name_candidates import (
    FEATURES,
    KEYWORD,
    LIBRARY,
    MIN_KEYWORDS,
    PHRASE,
    Members,
    name_candidates,
)
from lab.naming.title_library import TitleLibrary

if TYPE_CHECKING:
    import xgboost

MODEL = Path(__file__).with_suffix(".json")
GAIN = 0.1
"""By how much a candidate must be better than the best keyword."""
REST = 0.05
"""What counts for the candidate that named the journey in the snapshot before."""
OF_ONE_KIND = 0.5
"""Share of the keywords of a journey of items alone from which a phrase that they share is its name."""
TITLE_SCHEMA = {
    **{"user_id": pl.String, "journey_id": pl.String, "title": pl.String, "keyword": pl.String, "namer": pl.String},
    "title_keywords": pl.List(pl.String),
}
_ROWS_AT_ONCE = 500_000
_SOURCE = (KEYWORD, PHRASE, LIBRARY)
_JOURNEY = ["user_id", "journey_id"]


@lru_cache(maxsize=1)
def bundled_chooser() -> "xgboost.Booster":
    """The trees that lie beside this file."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(MODEL)
    return booster


def chosen_titles(
    journeys: pl.DataFrame,
    keywords: pl.DataFrame,
    vectors: NDArray[np.float32],
    named: pl.DataFrame,
    settings: NamingSettings,
    *,
    library: TitleLibrary,
    known: pl.DataFrame | None = None,
    usual: float = 0.0,
    former: pl.DataFrame | None = None,
    spellings: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What journeys are called in place of their best keyword.

    Parameters
    ----------
    journeys, known, usual, spellings
        As `name_journeys` takes them.
    keywords : DataFrame
        As `name_journeys` takes it, with ``code``, row of `vectors`; journeys with too few keywords may be left out.
    named : DataFrame
        From `name_journeys`.
    library : TitleLibrary
        Of the embedding model that the vectors are of.
    former : DataFrame, optional
        Columns ``user_id``, ``journey_id``, ``name``: what journeys were called in their user's snapshot before.

    Returns
    -------
    DataFrame
        As `apply_titles` takes titles, with ``keyword`` (null unless the title is one) and ``namer``.
    """
    members, numbers = named_members(keywords, vectors, settings, known=known, usual=usual)
    if not len(numbers):
        return pl.DataFrame(schema=TITLE_SCHEMA)
    ids = journeys.select(_JOURNEY)[numbers]
    before = named.select(*_JOURNEY, "keyword").with_columns(former=pl.lit(None, dtype=pl.String))
    if former is not None:
        before = before.drop("former").join(former.select(*_JOURNEY, former="name"), on=_JOURNEY, how="left")
    before = ids.join(before, on=_JOURNEY, how="left", maintain_order="left")
    chosen = choose_names(members, library, before["keyword"], former=before["former"], spellings=spellings)
    titles = pl.concat([ids[chosen["journey"]], chosen.drop("journey")], how="horizontal")
    return titles.with_columns(title_keywords=pl.lit(None, dtype=pl.List(pl.String))).select(list(TITLE_SCHEMA))


def named_members(
    keywords: pl.DataFrame,
    vectors: NDArray[np.float32],
    settings: NamingSettings,
    *,
    known: pl.DataFrame | None = None,
    usual: float = 0.0,
) -> tuple[Members, NDArray[np.int64]]:
    """The keywords of journeys with `MIN_KEYWORDS` and more, and which journey each of them is of.

    Parameters
    ----------
    keywords : DataFrame
        As `name_journeys` takes it, with ``code``, row of `vectors`.
    known, usual
        As `name_journeys` takes them.

    Returns
    -------
    members : Members
    journeys : array of shape (journeys,), int64
        The value of ``journey`` in `keywords` behind each number.
    """
    large = keywords.filter(pl.len().over("journey") >= MIN_KEYWORDS).sort("journey", "keyword")
    words, word = number_words(large["keyword"])
    journey = large["journey"].rle_id().cast(pl.Int64)
    of_word = known_words(words, known, usual, {})[word]
    parts = keyword_parts(large, of_word, journey.to_numpy(), np.zeros(len(large), dtype=np.bool_))
    rows = pl.DataFrame(
        {
            "journey": journey,
            "word": word,
            "weight": large["weight"],
            "closeness": large["centroid_similarity"],
            **{name: parts[name] for name in ("centrality", "frequency", "search")},
            "share": parts["keyword"],
            "rule": keyword_score(parts, settings),
        }
    )
    of_words = np.zeros((len(words), vectors.shape[1]), dtype=np.float32)
    of_words[word] = vectors[large["code"].to_numpy()]
    return Members(rows, words["keyword"], of_words), large["journey"].unique().sort().to_numpy()


def choose_names(
    members: Members,
    library: TitleLibrary,
    best: pl.Series,
    *,
    former: pl.Series,
    spellings: pl.DataFrame | None = None,
    trees: "xgboost.Booster | None" = None,
) -> pl.DataFrame:
    """Names that are better than the best keyword.

    Parameters
    ----------
    members : Members
    library : TitleLibrary
        Of the embedding model that the vectors are of.
    best, former : Series of str
        Of each journey its best keyword, and the name that it had (null: none).
    spellings : DataFrame, optional
        As `misspelt` takes them.
    trees : Booster, optional
        Default: the bundled ones.

    Returns
    -------
    DataFrame
        Columns ``journey``, ``title``, ``keyword`` (null for what is none) and ``namer``, for journeys that the best
        keyword does not name, in order.
    """
    found = name_candidates(members, library)
    shown = dict(zip(library.texts, library.titles, strict=True))
    text = pl.col("name")
    own = display_name(respelt(text, {} if spellings is None else misspelt(spellings)))
    source = pl.col("source").cast(pl.Int64)
    found = found.with_columns(
        expected_fit=pl.Series(_scores(bundled_chooser() if trees is None else trees, found)),
        title=pl.when(source == _SOURCE.index(LIBRARY)).then(text.replace(shown)).otherwise(own),
        best=best.gather(found["journey"]),
        former=former.gather(found["journey"]),
        of_items=pl.col("search").max().over("journey") == 0.0,
    )
    is_best = (source == 0) & (text == pl.col("best"))
    is_former = (pl.col("title").str.to_lowercase() == pl.col("former").str.to_lowercase()).fill_null(value=False)
    # Trees that learnt from searches cannot judge what a catalogue calls its goods.
    of_one_kind = pl.col("of_items") & (source == _SOURCE.index(PHRASE)) & (pl.col("whole") >= OF_ONE_KIND)
    score = pl.when(of_one_kind).then(10.0 + pl.col("whole") * (1.0 + pl.col("words"))).otherwise(
        pl.col("expected_fit") + GAIN * is_best.cast(pl.Float32)
    ) + REST * is_former.cast(pl.Float32)
    return (
        found.filter(is_best | (pl.col("readability") >= READABLE))
        .with_columns(score=score, is_best=is_best)
        .sort("journey", "score", "name", descending=[False, True, False])
        .unique("journey", keep="first", maintain_order=True)
        .filter(~pl.col("is_best"))
        .select(
            "journey",
            "title",
            keyword=pl.when(source == 0).then(text),
            namer=source.replace_strict(dict(enumerate(_SOURCE)), return_dtype=pl.String),
        )
    )


def _scores(trees: "xgboost.Booster", found: pl.DataFrame) -> NDArray[np.float32]:
    """How near each candidate comes to what a person would say."""
    import xgboost

    scores = np.zeros(len(found), dtype=np.float32)
    for first in range(0, len(found), _ROWS_AT_ONCE):
        rows = found[first : first + _ROWS_AT_ONCE].select(FEATURES).to_numpy()
        scores[first : first + len(rows)] = trees.predict(xgboost.DMatrix(rows))
    return scores
