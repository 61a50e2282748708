"""Whole lists of journeys by a language model, from the history that the pipeline sees: what is asked, what is kept."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from journeys_dagster.inference.titles import LONGEST_KEYWORD, NameAnswer
from journeys_dagster.llm.masking import mask

LIST_PROMPT = "infer_journeys"
MOST_KEYWORDS = 100
"""Strongest keywords of a user that are sent."""
_COLUMNS = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "name": pl.String,
    "keywords": pl.List(pl.String),
    "stage": pl.String,
    "confidence": pl.Float64,
    "invented_keywords": pl.Int32,
    "model": pl.String,
}


class JourneyAnswer(BaseModel):
    """One journey of a list."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=2, max_length=60)]
    keywords: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=LONGEST_KEYWORD)]], Field(min_length=1, max_length=40)
    ]
    stage: Literal["evergreen", "ongoing", "ended"]
    confidence: Annotated[float, Field(ge=0, le=1)]


class JourneysAnswer(BaseModel):
    """A user's list, best first."""

    model_config = ConfigDict(extra="forbid")
    journeys: Annotated[list[JourneyAnswer], Field(max_length=20)]


@dataclass(frozen=True)
class HistoryInput:
    """What the prompt says about one user.

    Attributes
    ----------
    data : mapping
        The input of the prompt.
    keywords : mapping of str to str
        The user's keywords by how they are sent, which is masked and in lower case.
    """

    user_id: str
    data: Mapping[str, Any]
    keywords: Mapping[str, str]


def history_inputs(keywords: pl.DataFrame, as_of: date) -> Iterator[HistoryInput]:
    """One input for each user.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``keyword``, ``weight``, ``events``, ``sources``, ``first_seen``, ``last_seen``.
    """
    short = keywords.filter(pl.col("keyword").str.len_chars() <= LONGEST_KEYWORD)
    strongest = short.sort("user_id", "weight", "keyword", descending=[False, True, False])
    for (user_id,), rows in strongest.group_by(["user_id"], maintain_order=True):
        known: dict[str, str] = {}
        history = []
        for row in rows.head(MOST_KEYWORDS).iter_rows(named=True):
            sent = mask(row["keyword"])
            if not sent.strip() or known.setdefault(sent.casefold(), row["keyword"]) != row["keyword"]:
                continue
            history.append(
                {
                    "keyword": sent,
                    "events": row["events"],
                    "from": list(row["sources"]),
                    "first_seen_days_ago": (as_of - row["first_seen"].date()).days,
                    "last_seen_days_ago": (as_of - row["last_seen"].date()).days,
                }
            )
        if history:
            yield HistoryInput(str(user_id), {"history": history}, known)


@dataclass
class Lists:
    """Checked lists of journeys.

    Attributes
    ----------
    rows : list of dict
        One per journey.
    keywords, invented : int
        Keywords that models gave; of them, those that are not in the user's history, which are dropped.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    keywords: int = 0
    invented: int = 0

    def add(self, user: HistoryInput, journeys: Sequence[JourneyAnswer], *, model: str) -> None:
        """Parse a user's list: keywords that exist, each in the first journey that has it; names that are titles."""
        used: set[str] = set()
        names: set[str] = set()
        rank = 0
        for journey in journeys:
            given = dict.fromkeys(each.strip().casefold() for each in journey.keywords)
            known = [user.keywords[each] for each in given if each in user.keywords]
            self.keywords += len(given)
            self.invented += len(given) - len(known)
            own = [each for each in known if each not in used]
            if not own:
                continue
            used.update(own)
            rank += 1
            name = _name(journey.name, own, names)
            names.add(name.casefold())
            self.rows.append(
                {
                    "user_id": user.user_id,
                    "rank": rank,
                    "name": name,
                    "keywords": own,
                    "stage": journey.stage,
                    "confidence": journey.confidence,
                    "invented_keywords": len(given) - len(known),
                    "model": model,
                }
            )

    def frame(self) -> pl.DataFrame:
        """The rows as a table."""
        return pl.DataFrame(self.rows, schema=_COLUMNS)


def _name(given: str, keywords: Sequence[str], taken: set[str]) -> str:
    """The model's title if it is one and free, else the first keyword whose name is free."""
    candidates = [each[:1].upper() + each[1:] for each in keywords]
    with suppress(ValidationError):
        candidates.insert(0, NameAnswer.model_validate({"name": given}, context={"keywords": keywords}).name)
    free = (each for each in candidates if each.casefold() not in taken)
    return next(free, f"{candidates[-1]} ({len(taken) + 1})")
