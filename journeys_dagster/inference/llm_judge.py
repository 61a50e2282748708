"""The judge by a language model: the prompt's input, which answers are valid, and whose grades count."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from journeys_dagster.inference.judge import MISSED
from journeys_dagster.inference.llm_journeys import history_inputs
from journeys_dagster.inference.titles import holds_address
from journeys_dagster.llm.masking import mask

JUDGE_PROMPT = "judge_journeys"
_MOST_LISTED_KEYWORDS = 8
_MARKUP = set('<>[]{}|`"\\#*_=@')
OPINION_SCHEMA = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "level": pl.Int32,
    "faults": pl.List(pl.String),
    "explanation": pl.String,
}


class JudgedJourney(BaseModel):
    """The judgement on one journey of a list."""

    model_config = ConfigDict(extra="forbid")
    place: Annotated[int, Field(ge=1, le=100)]
    level: Annotated[int, Field(ge=1, le=5)]
    faults: Annotated[list[Literal["duplicate", "wrong name", "wrong stage"]], Field(max_length=3)]
    explanation: Annotated[str, Field(min_length=3, max_length=300)]

    @field_validator("explanation")
    @classmethod
    def _is_plain(cls, explanation: str) -> str:
        explanation = " ".join(explanation.split())
        if _MARKUP & set(explanation) or holds_address(explanation):
            raise ValueError("an explanation holds no markup, no address and no long number")
        return explanation


class JudgeAnswer(BaseModel):
    """The judgement on a list: each of its places once, and what it lacks."""

    model_config = ConfigDict(extra="forbid")
    journeys: Annotated[list[JudgedJourney], Field(max_length=20)]
    missed: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=5)]

    @model_validator(mode="after")
    def _is_about_the_list(self, info: ValidationInfo) -> Self:
        if info.context is None:
            return self
        places = [journey["place"] for journey in info.context["journeys"]]
        if sorted(judged.place for judged in self.journeys) != sorted(places):
            raise ValueError(f"each place of the list is judged once: {places}")
        known = {row["keyword"].casefold() for row in info.context["history"]}
        if any(keyword.strip().casefold() not in known for keyword in self.missed):
            raise ValueError("missed keywords are keywords of the history, spelled as there")
        return self


@dataclass(frozen=True)
class JudgeInput:
    """What the prompt says about one user.

    Attributes
    ----------
    data : mapping
        The input of the prompt.
    journeys : mapping of int to str
        Ids of the listed journeys by place.
    unlisted : mapping of str to str
        Ids of the user's other journeys by their keywords, as these are sent and in lower case.
    """

    user_id: str
    data: Mapping[str, Any]
    journeys: Mapping[int, str]
    unlisted: Mapping[str, str]

    def opinions(self, answer: JudgeAnswer) -> Iterator[tuple[Any, ...]]:
        """Rows of `OPINION_SCHEMA`: one for each judged journey, and one for each that is missed."""
        for judged in answer.journeys:
            faults = sorted(set(judged.faults))
            yield self.user_id, self.journeys[judged.place], judged.level, faults, judged.explanation
        missed = (self.unlisted.get(keyword.strip().casefold()) for keyword in answer.missed)
        for journey_id in dict.fromkeys(each for each in missed if each is not None):
            yield self.user_id, journey_id, None, [MISSED], "An obvious journey that the list lacks."


def judge_inputs(
    listed: pl.DataFrame, members: pl.DataFrame, keywords: pl.DataFrame, as_of: date, *, top: int
) -> Iterator[JudgeInput]:
    """One input for each user who has a list.

    Parameters
    ----------
    listed : DataFrame
        Listed journeys: ``user_id``, ``journey_id``, ``rank``, ``name``, ``stage``.
    members : DataFrame
        ``user_id``, ``journey_id``, ``keyword``, ``weight``: of all journeys.
    keywords : DataFrame
        As `journeys_dagster.inference.llm_journeys.history_inputs` takes them.
    top : int
        How many of a list are judged.
    """
    histories = {user.user_id: user for user in history_inputs(keywords, as_of)}
    strongest = members.sort("user_id", "journey_id", "weight", "keyword", descending=[False, False, True, False])
    of_journey = {
        (user_id, journey_id): rows["keyword"].to_list()
        for (user_id, journey_id), rows in strongest.group_by(["user_id", "journey_id"], maintain_order=True)
    }
    shown = listed.filter(pl.col("rank") <= top).sort("user_id", "rank")
    for (user_id,), rows in shown.group_by(["user_id"], maintain_order=True):
        history = histories.get(str(user_id))
        if history is None:
            continue
        on_list = set(listed.filter(user_id=user_id)["journey_id"])
        journeys = [
            {
                "place": row["rank"],
                "name": row["name"],
                "keywords": of_journey.get((user_id, row["journey_id"]), [])[:_MOST_LISTED_KEYWORDS],
                "stage": row["stage"],
            }
            for row in rows.iter_rows(named=True)
        ]
        unlisted = {
            mask(keyword).casefold(): journey_id
            for (owner, journey_id), texts in of_journey.items()
            if owner == user_id and journey_id not in on_list
            for keyword in texts
        }
        yield JudgeInput(
            str(user_id),
            {"history": history.data["history"], "journeys": journeys},
            dict(zip(rows["rank"], rows["journey_id"], strict=True)),
            unlisted,
        )


def apply_opinions(measured: pl.DataFrame, judged: pl.DataFrame, opinions: pl.DataFrame, *, judge: str) -> pl.DataFrame:
    """The model's judgements where it gave some, the evidence's for the other users.

    Parameters
    ----------
    measured : DataFrame
        Every journey with its evidence, see `journeys_dagster.inference.judge.measure`.
    judged : DataFrame
        Judgements by evidence.
    opinions : DataFrame
        Columns of `OPINION_SCHEMA`.
    judge : str
        What the model is called.
    """
    key = ["user_id", "journey_id"]
    by_model = (
        measured.drop("level", "faults", "explanation")
        .join(opinions, on=key)
        # What is missed has no place.
        .with_columns(rank=pl.when(pl.col("level").is_not_null()).then("rank"), judge=pl.lit(judge))
        .select(judged.columns)
    )
    others = judged.join(opinions.select("user_id").unique(), on="user_id", how="anti", maintain_order="left")
    return pl.concat([others, by_model]).sort("user_id", "rank", "journey_id", nulls_last=True)
