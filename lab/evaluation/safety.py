"""How well the safety check tells harmful names from harmless look-alikes, on names written by hand."""

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder
from journeys_dagster.inference.safety import judge_texts
from journeys_dagster.inference.safety_classifier import SafetyClassifier, learnt_phrases
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, OUTCOMES, Policy
from journeys_dagster.settings import SafetySettings

TUNING, REPORT = "tuning", "report"
BEFORE, DURING, AFTER, FRESH, BLIND = "before", "during", "after", "fresh", "blind"
_HALVES = {AFTER: REPORT, FRESH: REPORT, BLIND: BLIND}
_FILE = Path(__file__).with_name("safety_names.toml")


def load_names(policy: Policy) -> pl.DataFrame:
    """The names written by hand.

    Returns
    -------
    DataFrame
        Columns ``text``; ``category`` (what it is or resembles); ``expected`` (an outcome: the category's, or allow for
        a look-alike); ``written`` (before the policy, during its making, after its terms were settled, or fresh, after
        the classifier was: whoever made the policy knew those before and during, so that they flatter; or blind: at
        the very end, see the file); ``half`` (by hash: one to tune by, one to report; those after and fresh are all to
        report, nothing was tuned by them; those that are blind are neither, and reported apart).
    """
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    during, after, fresh, blind = (document.pop(written) for written in (DURING, AFTER, FRESH, BLIND))
    rows = [
        (
            text,
            category,
            policy.outcome_of(category) if kind == "harmful" else ALLOW,
            written,
            _HALVES.get(written) or _half(text),
        )
        for tables, written in (
            (document, BEFORE),
            (during, DURING),
            (after, AFTER),
            (fresh, FRESH),
            (blind, BLIND),
        )
        for category, kinds in tables.items()
        for kind, texts in kinds.items()
        for text in texts
    ]
    return pl.DataFrame(rows, schema=["text", "category", "expected", "written", "half"], orient="row")


def _half(text: str) -> str:
    return TUNING if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2 == 0 else REPORT


def flagged_texts(
    texts: pl.Series,
    policy: Policy,
    settings: SafetySettings,
    embedder: TextEmbedder,
    classifier: SafetyClassifier,
) -> pl.DataFrame:
    """Texts that are not allowed: ``text``, ``outcome``, ``reasons``, blocked ones first."""
    verdicts = _judged(texts, policy, settings, embedder, classifier).filter(pl.col("outcome") != ALLOW)
    return verdicts.sort("outcome", "text").select("text", "outcome", "reasons")


def _judged(
    texts: pl.Series,
    policy: Policy,
    settings: SafetySettings,
    embedder: TextEmbedder,
    classifier: SafetyClassifier,
) -> pl.DataFrame:
    return judge_texts(texts, embedder.embed(texts.to_list()), policy, classifier, settings)


def evaluate_safety(
    policy: Policy, settings: SafetySettings, embedder: TextEmbedder, classifier: SafetyClassifier
) -> pl.DataFrame:
    """The names written by hand with verdicts: `load_names` with ``outcome``, ``found`` (category), ``reasons``.

    Names to report that stand in the policy to the letter, by chance, are left out: the classifier has learnt them.
    """
    is_learnt = pl.col("text").is_in(learnt_phrases(policy)[0]) & (pl.col("half") != TUNING)
    names = load_names(policy).filter(~is_learnt)
    verdicts = _judged(names["text"], policy, settings, embedder, classifier)
    return names.with_columns(outcome=verdicts["outcome"], found=verdicts["category"], reasons=verdicts["reasons"])


def safety_report(verdicts: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
    """Recall and false alarms.

    Parameters
    ----------
    verdicts : DataFrame
        From `evaluate_safety`.
    by : sequence of str
        Of ``written``, ``half`` and ``category``.

    Returns
    -------
    DataFrame
        One row per value of `by`: ``harmful`` and ``harmless`` names; of the harmful ``recall``, the share with an
        outcome that is at least as strict as expected, and ``noticed``, the share that is not allowed; of the harmless
        ``false_blocks``, the share that is blocked, and ``false_flags``, the share that is not allowed.
    """
    strictness = {outcome: place for place, outcome in enumerate(OUTCOMES)}
    is_harmful = pl.col("expected") != ALLOW
    given, wanted = (pl.col(name).replace_strict(strictness, return_dtype=pl.Int32) for name in ("outcome", "expected"))
    is_flagged = pl.col("outcome") != ALLOW
    return (
        verdicts.group_by(by)
        .agg(
            harmful=is_harmful.sum(),
            harmless=(~is_harmful).sum(),
            recall=(given >= wanted).filter(is_harmful).mean(),
            noticed=is_flagged.filter(is_harmful).mean(),
            false_blocks=(pl.col("outcome") == BLOCK).filter(~is_harmful).mean(),
            false_flags=is_flagged.filter(~is_harmful).mean(),
        )
        .sort(by, descending=True)
    )


def confusion(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Names by expected (rows) and given (columns) outcome."""
    return pl.DataFrame(
        [
            {"expected": expected}
            | {given: len(verdicts.filter(expected=expected, outcome=given)) for given in OUTCOMES}
            for expected in OUTCOMES
        ]
    )
