"""Pairs of a journey's keywords and its title, written by any configured language model in place of people."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from journeys_dagster.inference.titles import TITLE_PROMPT, NameAnswer
from journeys_dagster.llm.answers import Usage
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.resources.llm import WarehouseCache
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import LLMSettings
from lab.teacher.pairs import FEWEST_KEYWORDS, LONGEST_TITLE, pair_line


@dataclass(frozen=True)
class Labelled:
    """What came of it.

    Attributes
    ----------
    text : str
        Lines as `load_pairs` reads them.
    too_few : int
        Journeys with fewer keywords than a pair has, which were not asked about.
    too_long : int
        Titles with more words than a pair's.
    """

    text: str
    pairs: int
    too_few: int
    too_long: int
    usage: Usage


def label_journeys(
    journeys: pl.DataFrame,
    settings: LLMSettings,
    warehouse: Warehouse,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Ask the model of the settings for a title of each journey, with its budget and the warehouse as its cache.

    Parameters
    ----------
    journeys : DataFrame
        Column ``title_keywords``.

    Raises
    ------
    LLMError
        There is no endpoint that user text may be sent to.
    """
    asked = [words for words in journeys["title_keywords"].to_list() if len(words) >= FEWEST_KEYWORDS]
    llm = LLM(settings, cache=WarehouseCache(warehouse))
    inputs = [{"keywords": words} for words in asked]
    outcomes = llm.complete(load_prompt(TITLE_PROMPT), inputs, NameAnswer, progress=progress)
    titled = [(outcome.answer.name, words) for outcome, words in zip(outcomes, asked, strict=True) if outcome.answer]
    lines = [pair_line(title, words) for title, words in titled if len(title.split()) <= LONGEST_TITLE]
    return Labelled("".join(lines), len(lines), len(journeys) - len(asked), len(titled) - len(lines), llm.usage)
