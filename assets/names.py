"""What each journey is called, by its best keyword and, where one is used, by a language model."""

from datetime import date

import polars as pl

from assets.naming_model import TABLE as NAMING_MODEL
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.members import journey_weight_units, with_journeys
from journeys_dagster.inference.naming import name_journeys
from journeys_dagster.inference.titles import (
    KEYWORD_NAMER,
    TITLE_PROMPT,
    NameAnswer,
    apply_titles,
    kept_titles,
    title_keywords,
)
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.reads import JOURNEYS, SPELLINGS, members, members_in_order
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.tables import double, text, texts

_JOURNEY = ["user_id", "journey_id"]
_COLUMNS = "keyword, weight, events, list_contains(sources, 'search') as is_searched, centroid_similarity"
_FORMER = """
    with newest as (
        select user_id, max(as_of) as as_of
        from names
        where as_of < $as_of and {of_batch}
        group by user_id
    )
    select user_id, journey_id, keyword, name, namer, title_keywords, algorithm_version
    from names join newest using (as_of, user_id)
"""
_CENTRALITY = """
    select keyword, centrality
    from naming_model
    where as_of <= $as_of
        and keyword in (select keyword from clusters where as_of = $as_of and {of_batch})
"""
_USUAL = "select coalesce(max(usual), 0.0) as usual from naming_model where as_of <= $as_of"


def with_titles(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Journeys and their keywords in order, and the titles that a language model gives where it is used."""
    ordered = members_in_order(frames)
    return {**ordered, "titles": _titles(snapshot, ordered)}


def _titles(snapshot: Snapshot, frames: Frames) -> pl.DataFrame:
    """Titles by the language model, of the snapshot before or new; none where it is not used."""
    schema = {"user_id": pl.String, "journey_id": pl.String, "title": pl.String, "title_keywords": pl.List(pl.String)}
    titles = pl.DataFrame(schema=schema)
    if snapshot.llm is None:
        return titles
    members, journeys = with_journeys(frames["members"], frames["journeys"]), frames["journeys"]
    signatures = title_keywords(members.with_columns(journeys.select(_JOURNEY)[members["journey"]]))
    same = pl.col("algorithm_version") == snapshot.constants["algorithm_version"]
    by_model = frames["former"].filter(pl.col("namer") != KEYWORD_NAMER, same)
    titles = kept_titles(signatures, by_model.select(*_JOURNEY, "title_keywords", title="name"))
    new = signatures.join(titles, on=_JOURNEY, how="anti", maintain_order="left")
    # Equal journeys of different users are asked about once.
    distinct = new.unique("signature", keep="first", maintain_order=True)
    inputs = [{"keywords": words} for words in distinct["title_keywords"].to_list()]
    outcomes = snapshot.llm.complete(load_prompt(TITLE_PROMPT), inputs, NameAnswer, progress=snapshot.progress)
    made = pl.DataFrame(
        {
            "signature": distinct["signature"],
            "title": [outcome.answer.name if outcome.answer else None for outcome in outcomes],
        },
        schema={"signature": pl.String, "title": pl.String},
    )
    named = new.join(made.drop_nulls(), on="signature", maintain_order="left").select(list(schema))
    for note, count in (("titles_kept", len(titles)), ("titles_new", len(named)), ("untitled", len(new) - len(named))):
        snapshot.note(note, count)
    return pl.concat([titles.select(list(schema)), named])


@snapshot_asset(
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": text("the journey"),
        "name": text("the journey's name"),
        "keyword": text("the keyword the name was made from"),
        "centrality": double("how central the keyword is in everyone's journeys; 0 before models are trained"),
        "name_score": double("how good a name the keyword is, 0 to 1"),
        "namer": text("what named it: keyword, or the language model's name"),
        "keyword_name": text("the name by keyword, to compare"),
        "title_keywords": texts("keywords that the model's title was made from, masked", nullable=True),
    },
    key=("as_of", "user_id", "journey_id"),
    reads={
        "journeys": JOURNEYS,
        "members": members(_COLUMNS),
        "former": _FORMER,
        "centrality": _CENTRALITY,
        "usual": _USUAL,
        "spellings": SPELLINGS,
    },
    read=with_titles,
    empty_until_trained=(NAMING_MODEL,),
    kinds={"polars"},
    heavy=True,
    llm=("names",),
)
def names(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Name of each journey: its best keyword by closeness to its centroid, centrality in everyone's journeys,
    frequency, source and readability, misspelt words in the usual spelling, or the title a language model gave it;
    distinct within a user.
    """
    journeys, titles = frames["journeys"], frames["titles"]
    keywords = with_journeys(frames["members"], journeys)
    named = name_journeys(
        journeys,
        keywords,
        settings.naming,
        known=frames["centrality"],
        usual=frames["usual"]["usual"][0],
        former=frames["former"],
        spellings=frames["spellings"],
    )
    weights = journeys.with_columns(weight_units=pl.Series(journey_weight_units(keywords, len(journeys))))
    return apply_titles(named, titles, weights, namer=settings.llm.model)
