"""Whether feedback teaches a ranker what simulated people are truly in the middle of."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import action_names
from journeys_dagster.training.history import History, KeywordVectors
from journeys_dagster.training.ranker import attempt_ranker, heuristic_scores, label_mix
from journeys_dagster.training.ranking_metrics import CUTOFF
from journeys_dagster.training.replay import labelled_snapshots
from journeys_dagster.training.spans import snapshot_days, training_spans
from lab.benchmark import HALF, HALF_HELP, Result, Run, option
from lab.evaluation.corpora import keyword_truth, world_history
from lab.evaluation.statistics import AnnotatorAgreement, annotator_agreement, intervals, majority
from lab.simulation.grades import draw_human_labels
from lab.simulation.intent import draw_notification_feedback, latent_intent
from lab.simulation.journey_types import Half
from lab.simulation.world import World

NOTIFIED = 3
"""Journeys of a user that are notified about after a snapshot, drawn at random."""
_KEY = ["as_of", "user_id", "journey_id"]
_AGREEMENT = pl.Struct({"ndcg": pl.Float64, "tau": pl.Float64})
_MEMBERS = """
    select user_id, journey_id, keyword, weight from clusters join journey_identities using (user_id, cluster)
"""


@dataclass(frozen=True)
class Intent:
    """Rankers trained on simulated notification feedback and on returns, against what people truly are up to."""

    name: ClassVar[str] = "intent"
    users: int = option(1000, type=click.IntRange(1))
    days: int = option(120, type=click.IntRange(1))
    seed: int = option(23, type=int)
    half: Half | None = option(None, HALF_HELP, type=HALF)

    def measure(self, run: Run) -> Result:
        """Simulate, train, and compare orders."""
        world = run.world(users=self.users, days=self.days, seed=self.seed, half=self.half)
        with run.step("replay") as advance:
            found = evaluate_intent(world, run.settings, run.vectors, progress=advance)
        said = found.annotators
        notes = [
            f"trained on {counts['labels']:,} labels of {source}, {counts['positive']:,} positive"
            for source, counts in found.labels.items()
        ]
        notes.append(
            f"annotators on {said.graded:,} journeys: quadratic weighted kappa {said.kappa:.3f}, "
            f"Krippendorff's alpha {said.alpha:.3f}"
        )
        return Result(
            {
                "seed": self.seed,
                "half": self.half,
                "labels": found.labels,
                "rankers": found.table,
                "annotators": said,
            },
            {f"order of intent (NDCG@5, Kendall's tau-b), {found.users} users, seed {self.seed}": found.table},
            notes,
        )


@dataclass(frozen=True)
class IntentEvaluation:
    """How well orders agree with the latent one on test snapshots.

    Attributes
    ----------
    table : DataFrame
        One row per ranker: ``ranker``, and ``ndcg`` (NDCG@5 with the intent as gain) and ``tau`` (Kendall's τ-b), each
        as mean over users with ``_low`` and ``_high``.
    labels : dict
        Of the training span, by source.
    users : int
        Users with two journeys or more of different intent.
    annotators : AnnotatorAgreement
        On simulated grades of the same journeys.
    """

    table: pl.DataFrame
    labels: dict[str, dict[str, int]]
    users: int
    annotators: AnnotatorAgreement


def evaluate_intent(
    world: World,
    settings: Settings,
    vectors: KeywordVectors,
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> IntentEvaluation:
    """Send notifications in a simulated world, learn from what people do with them, and compare with the truth.

    The day after each past snapshot, `NOTIFIED` journeys of each user are notified about. One ranker is trained on the
    labels that follow, one on returns, on the same days; both rank the test snapshots, as the heuristics do.
    """
    history, ranking = world_history(world, settings), settings.ranking
    days = snapshot_days(*history.span, ranking)
    truth = keyword_truth(world, history, settings)
    rng = np.random.default_rng(seed)
    examples, feedback, grades = [], [], []
    sent: Counter[str] = Counter()
    for rows in labelled_snapshots(history, days, settings, vectors, progress=progress):
        day = rows["as_of"][0] + timedelta(days=1)
        known = rows.join(journey_intents(history, world, truth, day), on=_KEY[1:], how="left", maintain_order="left")
        examples.append(known.with_columns(pl.col("intent").fill_null(0.0)))
        lot = examples[-1].with_columns(lot=pl.Series(rng.random(len(rows))))
        drawn = lot.with_columns(
            position=pl.col("lot").rank("ordinal").over("user_id"),
            sent_lately=pl.Series([sent[user] for user in lot["user_id"]], dtype=pl.Int64),
        ).filter(pl.col("position") <= NOTIFIED)
        feedback.append(draw_notification_feedback(rng, drawn, day=day))
        grades.append(draw_human_labels(rng, drawn, day=day))
        # Half of what was sent before is forgotten from one snapshot to the next.
        sent = Counter({user: number // 2 for user, number in sent.items()}) + Counter(drawn["user_id"])
    returns = pl.concat(examples)
    told = _labelled_by_feedback(history, returns, pl.concat(feedback), settings)
    spans = training_spans(days, horizon_days=ranking.return_days, known_until=history.span[1], ranking=ranking)
    test, actions = spans.split(returns)[2], action_names(settings)
    trained = {
        name: attempt_ranker(rows.drop("intent"), spans, settings, current=None).trained.model.scores(
            test.drop("intent"), actions
        )
        for name, rows in (("model of feedback", told), ("model of returns", returns))
    }
    table, users = _compared(test, trained | heuristic_scores(test))
    labels, annotators = label_mix(spans.split(told)[0]), annotator_agreement(pl.concat(grades))
    return IntentEvaluation(table, labels, users, annotators)


def journey_intents(history: History, world: World, truth: pl.DataFrame, day: date) -> pl.DataFrame:
    """Intent of the journeys of the snapshot that was last replayed: that of the true one that most keywords are of."""
    members = history.query(_MEMBERS, {}).join(truth, on=["user_id", "keyword"])
    main = majority(members, ["user_id", "journey_id"], pl.col("weight").sum())
    intents = latent_intent(world.journeys, day).rename({"journey": "truth"})
    return main.join(intents, on=["user_id", "truth"]).select("user_id", "journey_id", "intent")


def _labelled_by_feedback(
    history: History, examples: pl.DataFrame, feedback: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """The examples that there was feedback on, labelled by it."""
    history.keep("journey_engagement", examples.select(_KEY))
    history.keep("notification_feedback", feedback)
    labels = history.rows_of("feedback_labels", examples["as_of"][-1]).cast({"label": pl.Float32})
    weights = settings.ranking.label_weights
    return (
        examples.drop("label_source", "label", "labelled_on")
        .join(labels, on=_KEY, how="inner")
        .with_columns(label_weight=pl.col("label_source").replace_strict(weights, default=1.0, return_dtype=pl.Float32))
    )


def _compared(test: pl.DataFrame, rankers: Mapping[str, NDArray[np.float64]]) -> tuple[pl.DataFrame, int]:
    """The table of `IntentEvaluation` and its users."""
    lists = ["as_of", "user_id"]
    # An order of one journey, or of journeys that are all the same, cannot be wrong.
    distinguished = test.with_columns(**{name: pl.Series(scores) for name, scores in rankers.items()}).filter(
        pl.col("intent").n_unique().over(lists) > 1
    )
    rows = []
    for name in rankers:
        agreed = distinguished.group_by(lists).agg(
            pl.map_groups(
                [name, "intent"], lambda columns: _agreement(*columns), return_dtype=_AGREEMENT, returns_scalar=True
            ).alias("agreement")
        )
        by_user = agreed.unnest("agreement").group_by("user_id").agg(pl.col("ndcg", "tau").mean()).sort("user_id")
        rows.append({"ranker": name, **intervals(by_user, ("ndcg", "tau"))})
    return pl.DataFrame(rows), distinguished["user_id"].n_unique()


def _agreement(scores: pl.Series, intent: pl.Series) -> dict[str, float]:
    from scipy.stats import kendalltau
    from sklearn.metrics import ndcg_score

    truth, stated = intent.to_numpy(), scores.to_numpy()
    tau = float(np.asarray(kendalltau(stated, truth))[0])
    return {"ndcg": float(ndcg_score([truth], [stated], k=CUTOFF)), "tau": 0.0 if np.isnan(tau) else tau}
