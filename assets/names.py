"""Step: what each journey is called, by its best keyword and, where one is used, by a language model."""

import polars as pl

from assets.naming_model import NAMING_MODEL
from journeys_dagster.inference import steps
from journeys_dagster.inference.members import with_journeys
from journeys_dagster.inference.titles import (
    KEYWORD_NAMER,
    TITLE_PROMPT,
    NameAnswer,
    kept_titles,
    title_keywords,
)
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.members import read_members
from journeys_dagster.orchestration.snapshots import Snapshot, SnapshotStep
from journeys_dagster.tables import Column

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


def read(snapshot: Snapshot, batch: int) -> steps.Frames:
    """The journeys of a batch of users, keyword by keyword, and what is known for naming them."""
    frames = read_members(snapshot, batch, _COLUMNS)
    if snapshot.warehouse.has_table("names"):
        frames["former"] = snapshot.read(_FORMER, batch=batch)
    if snapshot.warehouse.has_table(NAMING_MODEL.name):
        frames["centrality"] = snapshot.read(_CENTRALITY, batch=batch)
        frames["usual"] = snapshot.warehouse.query(_USUAL, {"as_of": snapshot.as_of})
    else:
        frames["centrality"] = pl.DataFrame(schema={"keyword": pl.String, "centrality": pl.Float64})
        frames["usual"] = pl.DataFrame({"usual": [0.0]})
    frames["titles"] = _titles(snapshot, frames)
    return frames


def _titles(snapshot: Snapshot, frames: steps.Frames) -> pl.DataFrame:
    """Titles by the language model, of the snapshot before or new; none where it is not used."""
    schema = {"user_id": pl.String, "journey_id": pl.String, "title": pl.String, "title_keywords": pl.List(pl.String)}
    titles = pl.DataFrame(schema=schema)
    if snapshot.llm is None:
        return titles
    members, journeys = with_journeys(frames["members"], frames["journeys"]), frames["journeys"]
    signatures = title_keywords(members.with_columns(journeys.select(_JOURNEY)[members["journey"]]))
    if (former := frames.get("former")) is not None:
        same = pl.col("algorithm_version") == snapshot.constants["algorithm_version"]
        by_model = former.filter(pl.col("namer") != KEYWORD_NAMER, same)
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


NAMES = SnapshotStep(
    name="names",
    description="Name of each journey: its best keyword by closeness to its centroid, centrality in everyone's "
    "journeys, frequency, source and readability, or the title a language model gave it; distinct within a user.",
    grain="one row per as_of, user and journey",
    columns={
        "journey_id": Column(type="VARCHAR", description="the journey"),
        "name": Column(type="VARCHAR", description="how to call it"),
        "keyword": Column(type="VARCHAR", description="the keyword the name was made from"),
        "centrality": Column(
            type="DOUBLE", description="how central the keyword is in everyone's journeys; 0 before models are trained"
        ),
        "name_score": Column(type="DOUBLE", description="how good a name the keyword is, 0 to 1"),
        "namer": Column(type="VARCHAR", description="what the name is from: keyword, or the language model's name"),
        "keyword_name": Column(type="VARCHAR", description="how the keyword calls it, to compare"),
        "title_keywords": Column(
            type="VARCHAR[]", description="keywords that the model's title was made from, masked", nullable=True
        ),
    },
    key=("as_of", "user_id", "journey_id"),
    deps=("clusters", "journey_identities", "naming_model", "users_in_scope"),
    kinds=frozenset({"polars"}),
    read=read,
    is_heavy=True,
    compute=steps.name,
)
