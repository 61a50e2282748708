"""Quality of the safety check on names written by hand, harmful and look-alikes, and on catalogues."""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from journeys_dagster.inference.embedding import TextEmbedder, english_embedder
from journeys_dagster.inference.safety import check_texts
from journeys_dagster.inference.safety_classifier import (
    SafetyClassifier,
    fit_classifier,
    learnt_phrases,
    safety_classifier,
)
from journeys_dagster.inference.safety_policy import (
    ALLOW,
    BLOCK,
    OUTCOMES,
    QUIET,
    UNKNOWN,
    Policy,
    load_policy,
)
from journeys_dagster.settings import SafetySettings
from lab.benchmark import FILE, BenchmarkError, Result, Run, option
from lab.evaluation.statistics import intervals
from lab.simulation.catalogue import load_catalogue

TUNING, REPORT = "tuning", "report"
BEFORE, DURING, AFTER, FRESH, BLIND, UNSEEN, LAST = "before", "during", "after", "fresh", "blind", "unseen", "last"
_LATER = (DURING, AFTER, FRESH, BLIND, UNSEEN, LAST)
_HALVES = {AFTER: REPORT, FRESH: REPORT, BLIND: BLIND, UNSEEN: UNSEEN, LAST: LAST}
_FLAGS = (BLOCK, QUIET, UNKNOWN)
_FILE = Path(__file__).with_name("safety_names.toml")


@dataclass(frozen=True)
class Safety:
    """On names written by hand, harmful ones and look-alikes: recall and false alarms by the shipped policy."""

    name: ClassVar[str] = "safety"
    catalogue: tuple[Path, ...] = option(
        (), "List what is flagged of a file's lines too. May be repeated.", multiple=True, type=FILE
    )
    world: bool = option(default=False, help="List what is flagged of all texts of the simulated platform too.")
    refit_to: Path | None = option(
        None, "Fit the classifier anew, measure with it, and write it to a new file.", type=FILE
    )

    def measure(self, run: Run) -> Result:
        """Check the names."""
        policy = load_policy(run.settings.safety.policy)
        embedder = english_embedder(run.vectors.embedder)
        if self.refit_to is not None and self.refit_to.exists():
            raise BenchmarkError(f"{self.refit_to} exists already: name a new file for the classifier")
        with run.step("check names"):
            refit = self.refit_to is not None
            classifier = fit_classifier(policy, embedder) if refit else safety_classifier(policy, embedder)
            if self.refit_to is not None:
                classifier.save(self.refit_to)
            check = checker(policy, run.settings.safety, embedder, classifier)
            verdicts = evaluate_safety(policy, check)
            corpora = {name: check(texts) for name, texts in self._corpora().items()}
        to_report = verdicts.filter(half=REPORT)
        reports = {
            "halves": safety_report(verdicts, by=["half"]),
            "written": safety_report(verdicts, by=["written", "half"]),
            "categories": safety_report(to_report, by=["category"]),
            "confusion": confusion(to_report),
        }
        titles = (
            f"{len(verdicts)} names written by hand, by half",
            "by when they were written: before or during the making of the policy, after it, after the classifier",
            "half to report, by category",
            "half to report, expected (rows) and given outcome",
        )
        tables = dict(zip(titles, reports.values(), strict=True))
        shares = flagged_shares(corpora)
        if corpora:
            tables["shares of distinct texts by outcome"] = shares
        flagged = {
            name: rows.filter(pl.col("outcome") != ALLOW).sort("outcome", "text").select("text", "outcome", "reasons")
            for name, rows in corpora.items()
        }
        tables |= {f"{name}: what is flagged": rows for name, rows in flagged.items()}
        return Result(
            {"policy": policy.revision, "names": len(verdicts), **reports, "corpora": shares, "flagged": flagged},
            tables,
            [f"policy {policy.revision}; recall: outcome at least as strict as expected; noticed: not allowed"],
        )

    def _corpora(self) -> dict[str, pl.Series]:
        """Distinct texts of catalogues and of simulated activity, as they are checked."""
        corpora = {path.stem: pl.Series(path.read_text(encoding="utf-8").splitlines()) for path in self.catalogue}
        if self.world:
            catalogue = load_catalogue()
            texts = [*catalogue.queries, *catalogue.mixed_boards]
            for journey in catalogue.journeys:
                texts += [journey.name, *journey.interests, *journey.boards]
            texts += [text for item in catalogue.items for text in (item.title, *item.annotations)]
            corpora["world"] = pl.Series(texts)
        return {
            name: texts.str.to_lowercase().str.strip_chars().replace("", None).drop_nulls().unique().sort()
            for name, texts in corpora.items()
        }


def load_names(policy: Policy) -> pl.DataFrame:
    """The names written by hand.

    Returns
    -------
    DataFrame
        Columns ``text``; ``category`` (what it is or resembles); ``expected`` (an outcome: the category's, or allow for
        a look-alike); ``written`` (before the policy, during its making, after its terms were settled, or fresh, after
        the classifier was: whoever made the policy knew those before and during, so that they flatter; or blind, unseen
        and last: at the very end, see the file); ``half`` (by hash: one to tune by, one to report; those after and
        fresh are all to report, nothing was tuned by them; those that are blind, unseen or last are neither, and
        reported apart).
    """
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    later = [(document.pop(written), written) for written in _LATER]
    rows = [
        (
            text,
            category,
            policy.outcome_of(category) if kind == "harmful" else ALLOW,
            written,
            _HALVES.get(written) or _half(text),
        )
        for tables, written in ((document, BEFORE), *later)
        for category, kinds in tables.items()
        for kind, texts in kinds.items()
        for text in texts
    ]
    return pl.DataFrame(rows, schema=["text", "category", "expected", "written", "half"], orient="row")


def _half(text: str) -> str:
    return TUNING if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2 == 0 else REPORT


def checker(
    policy: Policy, settings: SafetySettings, embedder: TextEmbedder, classifier: SafetyClassifier
) -> Callable[[pl.Series], pl.DataFrame]:
    """What gives texts their verdicts, as `check_texts` does."""
    return lambda texts: check_texts(texts, embedder.embed(texts.to_list()), policy, classifier, settings)


def evaluate_safety(policy: Policy, check: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """The names written by hand with verdicts: `load_names` with ``outcome``, ``found`` (category), ``reasons``.

    Names to report that stand in the policy to the letter, by chance, are left out: the classifier has learnt them.
    """
    is_learnt = pl.col("text").is_in(learnt_phrases(policy)[0]) & (pl.col("half") != TUNING)
    names = load_names(policy).filter(~is_learnt)
    verdicts = check(names["text"])
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
    """Names by expected (rows) and given (columns) outcome; no name is expected to be unknown."""
    return pl.DataFrame(
        [
            {"expected": expected}
            | {given: len(verdicts.filter(expected=expected, outcome=given)) for given in OUTCOMES}
            for expected in OUTCOMES
            if expected != UNKNOWN
        ]
    )


def flagged_shares(corpora: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Of each corpus the shares of distinct texts that are blocked, quiet and unknown, with their intervals."""
    rows = []
    for name, verdicts in corpora.items():
        given = verdicts.select((pl.col("outcome") == flag).cast(pl.Float64).alias(flag) for flag in _FLAGS)
        rows.append({"corpus": name, "texts": len(verdicts)} | intervals(given, _FLAGS))
    return pl.DataFrame(rows)
