"""Texts that people graded for a described need, and levels of relevance by signals without a language model.

Levels are calibrated on other topics than those they are compared on.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety_text import plain_forms
from journeys_dagster.llm.client import LLM, Progress
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.monitoring.judge_agreement import LEVELS
from lab.benchmark import BenchmarkError

SIGNALS, EMBEDDING, MAJORITY = "evidence", "embedding only", "majority class"
METHODS = (SIGNALS, EMBEDDING, MAJORITY)
RELEVANCE_PROMPT = "judge_relevance"
FOLDS = 5
COLUMNS = ("topic", "task_description", "title", "snippet", "grade")
_TITLE, _SNIPPET, _TITLE_WORDS, _SNIPPET_WORDS = range(4)


def read_pairs(path: Path) -> pl.DataFrame:
    """Read graded pairs from a tab-separated file with a header of `COLUMNS`.

    Returns
    -------
    DataFrame
        `COLUMNS`, and ``level``, which is 1 for a grade of 0 or less, else one more than it.

    Raises
    ------
    BenchmarkError
        The file is missing or has another header, a line has another number of fields or a grade that is no whole
        number up to 4, or there are fewer topics than folds.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from None
    if not lines or tuple(lines[0]) != COLUMNS:
        raise BenchmarkError(f"{path}: line 1 must be the columns {', '.join(COLUMNS)}, separated by tabs")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(COLUMNS):
            raise BenchmarkError(f"{path}: line {number} has {len(line)} fields, {len(COLUMNS)} are needed")
        if not line[-1].removeprefix("-").isdecimal() or int(line[-1]) >= len(LEVELS):
            raise BenchmarkError(f"{path}: line {number}: grade must be a whole number up to {len(LEVELS) - 1}")
    grade = pl.col("grade").cast(pl.Int64)
    rows = pl.DataFrame(lines[1:], schema=dict.fromkeys(COLUMNS, pl.String), orient="row").with_columns(
        grade=grade, level=1 + grade.clip(lower_bound=0)
    )
    if (topics := rows["topic"].n_unique()) < FOLDS:
        raise BenchmarkError(f"{path} has {topics} topics, {FOLDS} are needed")
    return rows


def grade_pairs(pairs: pl.DataFrame, embedder: TextEmbedder) -> pl.DataFrame:
    """Levels of every pair by each of `METHODS`, calibrated on the topics of the other folds.

    ``evidence`` is the ridge regression of the level on four signals: cosine of the need to title and to snippet, and
    the share of the need's words (by rarity) in each. ``embedding only`` is the cosine to title and snippet together.
    Both give levels in the shares that people gave on the other topics. ``majority class`` gives the level that was
    given most there.

    Returns
    -------
    DataFrame
        ``topic``, ``level`` and one column of levels per method.
    """
    signals, together = _signals(pairs, embedder)
    folds = pairs["topic"].rank("dense").to_numpy() % FOLDS
    levels = pairs["level"].to_numpy()
    judged = {name: np.zeros(len(pairs), dtype=np.int64) for name in METHODS}
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        scores = {SIGNALS: _ridge(signals, levels, train), EMBEDDING: together}
        for name, score in scores.items():
            judged[name][test] = _in_shares(score[test], score[train], levels[train])
        judged[MAJORITY][test] = np.bincount(levels[train]).argmax()
    return pairs.select("topic", "level").with_columns(**{name: pl.Series(of) for name, of in judged.items()})


class RelevanceAnswer(BaseModel):
    """What a model is to answer: a level, and why."""

    model_config = ConfigDict(extra="forbid")
    level: Annotated[int, Field(ge=1, le=5)]
    explanation: Annotated[str, Field(max_length=300)]


def grade_by_model(pairs: pl.DataFrame, llm: LLM, *, progress: Progress | None = None) -> pl.Series:
    """Level of each pair by a language model, in order; null where it gave no answer. Nothing is calibrated."""
    inputs = [
        {"need": row["task_description"], "title": row["title"], "text": row["snippet"]}
        for row in pairs.iter_rows(named=True)
    ]
    outcomes = llm.complete(load_prompt(RELEVANCE_PROMPT), inputs, RelevanceAnswer, progress=progress)
    return pl.Series([outcome.answer.level if outcome.answer else None for outcome in outcomes], dtype=pl.Int64)


def _signals(rows: pl.DataFrame, embedder: TextEmbedder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The four signals, shape (pairs, 4), and the cosine to title and snippet together."""
    both = rows.select(pl.concat_str("title", "snippet", separator=" "))["title"]
    need, title, snippet, text = (
        _distinct_vectors(texts, embedder) for texts in (rows["task_description"], rows["title"], rows["snippet"], both)
    )
    words = rows.select(
        plain_forms(pl.col(name))[0].str.split(" ").list.unique().alias(name)
        for name in ("task_description", "title", "snippet")
    )
    rarity = _rarity(words["task_description"])
    columns = np.empty((len(rows), 4))
    columns[:, _TITLE] = np.einsum("ij,ij->i", need, title)
    columns[:, _SNIPPET] = np.einsum("ij,ij->i", need, snippet)
    columns[:, _TITLE_WORDS] = _share_of_words(words["task_description"], words["title"], rarity)
    columns[:, _SNIPPET_WORDS] = _share_of_words(words["task_description"], words["snippet"], rarity)
    return columns, np.einsum("ij,ij->i", need, text, dtype=np.float64)


def _distinct_vectors(texts: pl.Series, embedder: TextEmbedder) -> NDArray[np.float32]:
    distinct = texts.unique().sort()
    return embedder.embed(distinct.to_list())[distinct.search_sorted(texts).to_numpy()]


def _rarity(needs: pl.Series) -> dict[str, float]:
    """How few of the distinct needs have each word; a word that all have says nothing."""
    distinct = needs.unique()
    counts = distinct.explode(empty_as_null=True, keep_nulls=True).value_counts()
    return {word: float(np.log(len(distinct) / count)) for word, count in counts.iter_rows()}


def _share_of_words(needs: pl.Series, texts: pl.Series, rarity: dict[str, float]) -> NDArray[np.float64]:
    def share(need: Sequence[str], text: set[str]) -> float:
        total = sum(rarity[word] for word in need)
        return sum(rarity[word] for word in sorted(set(need) & text)) / total if total else 0.0

    return np.array([share(need, set(text)) for need, text in zip(needs, texts, strict=True)])


def _ridge(signals: NDArray[np.float64], levels: NDArray[np.int64], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Predictions for all pairs of a ridge regression (Hoerl and Kennard 1970) on standardised signals of some."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge()).fit(signals[train], levels[train]).predict(signals)


def _in_shares(
    scores: NDArray[np.float64], known_scores: NDArray[np.float64], known_levels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Levels of scores, cut where known scores must be cut to give the known levels' shares; none that nobody gave."""
    shares = np.cumsum([np.mean(known_levels == level) for level in LEVELS[:-1]])
    cuts = np.quantile(known_scores, np.minimum(shares, 1.0))
    return np.minimum(LEVELS[0] + np.searchsorted(cuts, scores, side="right"), known_levels.max())
