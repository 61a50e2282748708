"""Whole lists of journeys by a language model, beside those of the pipeline, to compare. Off unless enabled."""

from datetime import date

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.llm_journeys import LIST_PROMPT, JourneysAnswer, Lists, history_inputs
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.orchestration.snapshot_asset import Snapshot, snapshot_asset
from journeys_dagster.settings import Settings
from journeys_dagster.tables import double, integer, text, texts

_KEYWORDS = """
    select user_id, keyword, weight, events, sources, first_seen, last_seen
    from keywords
    where as_of = $as_of and {of_batch}
"""


def lists_of_model(snapshot: Snapshot, batch: int, frames: dict[str, pl.DataFrame]) -> Frames:
    """Ask about a batch of users; who got no answer has no rows."""
    lists = Lists()
    if snapshot.llm is not None:
        users = list(history_inputs(snapshot.read(_KEYWORDS, batch=batch), snapshot.as_of))
        outcomes = snapshot.llm.complete(
            load_prompt(LIST_PROMPT), [user.data for user in users], JourneysAnswer, progress=snapshot.progress
        )
        for user, outcome in zip(users, outcomes, strict=True):
            if outcome.answer is not None:
                lists.add(user, outcome.answer.journeys, model=snapshot.settings.llm.model)
        snapshot.note("keywords_given", lists.keywords)
        snapshot.note("keywords_invented", lists.invented)
    return {"lists": lists.frame()}


@snapshot_asset(
    grain="one row per as_of, user and rank",
    columns={
        "rank": integer("place in the model's list, 1 is best"),
        "name": text("the model's title, or a keyword where it is none"),
        "keywords": texts("keywords of the user's history, each in one journey"),
        "stage": text("evergreen, ongoing or ended, as the model sees it"),
        "confidence": double("0 to 1, as the model says"),
        "invented_keywords": integer("keywords it gave that the user never had"),
        "model": text("name of the language model"),
    },
    key=("as_of", "user_id", "rank"),
    read=lists_of_model,
    deps=("keywords",),
    kinds={"polars"},
    of_every_user=False,
    llm=("journeys",),
    only_with_llm=True,
    decides=False,
)
def llm_journeys(frames: Frames, as_of: date, settings: Settings) -> pl.DataFrame:
    """Each user's journeys as a language model lists them, from the same history in one call; keywords that it
    invents are dropped and counted. Nothing reads it but comparisons.
    """
    return frames["lists"]
