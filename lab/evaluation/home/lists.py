"""Whether a user's list is right: names, lifecycle and stage, order, what is on it twice, and what it covers."""

import numpy as np
import polars as pl

from journeys_dagster.inference.stages import ENDED, EVERGREEN, ONGOING, SITUATIONAL
from journeys_dagster.training.history import KeywordVectors
from journeys_dagster.training.ranking_metrics import CUTOFF
from lab.evaluation.home.reading import Part
from lab.evaluation.home.report import PIPELINE, values
from lab.evaluation.naming import ALIKE
from lab.evaluation.staging import FIXED_DAYS

_JOURNEY = ["user_id", "journey_id"]
HEAVIEST = "heaviest keyword"
HEAVIEST_LIST = "heaviest keywords as journeys"
BEST_ORDER = "best order of what was found (ceiling)"
ENDED_WITHIN_DAYS = 90
BEST_KEYWORD = "best keyword there is (ceiling)"


def name_values(part: Part, vectors: KeywordVectors) -> pl.DataFrame:
    """Names of the listed journeys against the true ones; journeys of nothing but noise have none."""
    true = part.listed.filter(pl.col("truth").is_not_null()).select(*_JOURNEY, "name", "truth")
    keywords = part.keywords.join(true, on=_JOURNEY, suffix="_of_journey").select(
        *_JOURNEY, "keyword", "weight", truth="truth_of_journey"
    )
    scored = keywords.with_columns(cosine=_cosines(vectors, keywords["keyword"], keywords["truth"]))

    def picked(by: str) -> pl.DataFrame:
        best = scored.sort(by, "keyword", descending=[True, False]).unique(_JOURNEY, keep="first", maintain_order=True)
        return best.select(*_JOURNEY, "truth", name="keyword")

    found = []
    for method, rows in {PIPELINE: true, HEAVIEST: picked("weight"), BEST_KEYWORD: picked("cosine")}.items():
        named = rows.with_columns(
            exact=pl.col("name").str.to_lowercase() == pl.col("truth").str.to_lowercase(),
            cosine=_cosines(vectors, rows["name"], rows["truth"]),
        )
        for measure, value in (
            ("name_exact", pl.col("exact").mean()),
            ("name_cosine", pl.col("cosine").mean()),
            ("name_alike", (pl.col("cosine") >= ALIKE).mean()),
        ):
            found.append(values(named.group_by("user_id").agg(value=value), measure, method, pl.col("value")))
    return pl.concat(found)


def _cosines(vectors: KeywordVectors, first: pl.Series, second: pl.Series) -> pl.Series:
    """Cosines of texts, whatever their capitals."""
    texts = pl.DataFrame({"keyword": pl.concat([first, second]).str.to_lowercase()})
    codes = vectors.code(texts)["code"].to_numpy()
    left, right = (vectors.vectors[half] for half in np.split(codes, 2))
    return pl.Series(np.einsum("ij,ij->i", left, right, dtype=np.float64))


def stage_values(part: Part) -> pl.DataFrame:
    """Lifecycle and stage of the listed journeys against the true ones."""
    rows = staged(part)
    ended_after = pl.lit(FIXED_DAYS)
    methods = {
        "lifecycle": {
            PIPELINE: pl.col("lifecycle"),
            f"all {EVERGREEN}": pl.lit(EVERGREEN),
            f"all {SITUATIONAL}": pl.lit(SITUATIONAL),
        },
        "stage": {
            PIPELINE: pl.col("stage"),
            "days since the last event": pl.when(pl.col("recency_days") <= ended_after)
            .then(pl.lit(ONGOING))
            .otherwise(pl.lit(ENDED)),
            f"all {EVERGREEN}": pl.lit(EVERGREEN),
            f"all {ONGOING}": pl.lit(ONGOING),
        },
    }
    return pl.concat(
        values(
            rows.group_by("user_id").agg(right=(stated == pl.col(f"true_{what}")).mean()),
            f"{what}_accuracy",
            method,
            pl.col("right"),
        )
        for what, by_method in methods.items()
        for method, stated in by_method.items()
    )


def staged(part: Part) -> pl.DataFrame:
    """Listed journeys with ``true_lifecycle``, ``true_stage`` and ``recency_days``; those of noise are left out."""
    true = part.journeys.select("user_id", "truth", true_lifecycle="lifecycle", true_stage="stage")
    recency = part.ranked.select(*_JOURNEY, "recency_days")
    return part.listed.join(true, on=["user_id", "truth"]).join(recency, on=_JOURNEY)


def forecasts_of(part: Part) -> pl.DataFrame:
    """The two numbers of every listed journey and what is true: ``user_id``, ``number``, ``stated``, ``true``.

    Confidence is right where a list has a true journey for the first time: noise and what is on it again are none. As
    in the order, a return counts at the first place.
    """
    rows = part.listed.sort("user_id", "rank").with_columns(
        again=pl.col("truth").is_not_null() & ~pl.struct("user_id", "truth").is_first_distinct()
    )
    is_journey = (pl.col("truth").is_not_null() & ~pl.col("again")).cast(pl.Float64)
    return pl.concat(
        [
            rows.select("user_id", number=pl.lit("confidence"), stated="confidence", true=is_journey),
            rows.filter(~pl.col("again")).select(
                "user_id", number=pl.lit("return"), stated="return_probability", true="returned"
            ),
        ]
    )


def order_values(part: Part) -> pl.DataFrame:
    """NDCG@5 of a list with the true intent as gain.

    A true journey counts at its first place only, and the best list holds all that the user is truly up to and has
    shown: what was not found, or found in pieces, costs. Users without any intent are left out.
    """
    intent = part.journeys.select("user_id", "truth", "intent")
    best = _gains(intent.filter(pl.col("intent") > 0), pl.col("intent")).rename({"gain": "ideal"})
    ranked = part.ranked.join(intent, on=["user_id", "truth"], how="left").with_columns(pl.col("intent").fill_null(0.0))
    listed = part.listed.join(intent, on=["user_id", "truth"], how="left").with_columns(pl.col("intent").fill_null(0.0))
    # A piece of what stands higher already would take up a place.
    first = ranked.with_columns(is_first=pl.struct("user_id", "truth").is_first_distinct())
    orders = {
        PIPELINE: (listed, -pl.col("rank")),
        "frequency × recency": (ranked, pl.col("frequency") * (-pl.col("recency_days") / 30).exp()),
        "recency": (ranked, -pl.col("recency_days")),
        "frequency": (ranked, pl.col("frequency")),
        "random": (ranked, pl.struct(*_JOURNEY).hash(seed=0)),
        BEST_ORDER: (first, pl.when("is_first").then("intent").otherwise(-1.0)),
    }
    found = []
    for method, (rows, order) in orders.items():
        gained = best.join(_gains(rows, order), on="user_id", how="left")
        found.append(values(gained, "ndcg_at_5", method, pl.col("gain").fill_null(0.0) / pl.col("ideal")))
    return pl.concat(found)


def _gains(rows: pl.DataFrame, order: pl.Expr) -> pl.DataFrame:
    """Discounted intent of the first five of each user; what comes again gains nothing."""
    tie = [name for name in ("journey_id", "truth") if name in rows.columns][:1]
    placed = (
        rows.sort("user_id", order, *tie, descending=[False, True, False])
        .with_columns(place=pl.int_range(pl.len()).over("user_id"))
        .filter(pl.col("truth").is_not_null())
        .unique(["user_id", "truth"], keep="first", maintain_order=True)
        .filter(pl.col("place") < CUTOFF)
    )
    discounted = pl.col("intent") / (pl.col("place") + 2.0).log(2.0)
    return placed.group_by("user_id").agg(gain=discounted.sum())


def content_values(part: Part) -> pl.DataFrame:
    """What is on the lists: repeated journeys, noise, and what of the user's true journeys and events they hold."""
    members = part.keywords.filter(pl.col("journey_id").is_not_null())
    ours = part.listed.select("user_id", entry="journey_id", truth="truth")
    held = members.join(part.listed.select(*_JOURNEY), on=_JOURNEY, how="semi").select(
        "user_id", "keyword", entry="journey_id"
    )
    length = part.listed.group_by("user_id").agg(length=pl.len())
    heaviest = (
        members.sort("user_id", "weight", "keyword", descending=[False, True, False])
        .with_columns(place=pl.int_range(1, pl.len() + 1).over("user_id"))
        .join(length, on="user_id")
        .filter(pl.col("place") <= pl.col("length"))
        .select("user_id", "keyword", "truth", entry="keyword")
    )
    lists = {PIPELINE: (ours, held), HEAVIEST_LIST: (heaviest, heaviest.drop("truth"))}
    found = []
    for method, (entries, contents) in lists.items():
        of_user = entries.group_by("user_id").agg(
            repeated=pl.col("truth").drop_nulls().len() - pl.col("truth").drop_nulls().n_unique(),
            noise=pl.col("truth").null_count(),
        )
        found.append(values(of_user, "duplicates_per_list", method, pl.col("repeated").cast(pl.Float64)))
        found.append(values(of_user, "noise_per_list", method, pl.col("noise").cast(pl.Float64)))
        listed = part.journeys.join(
            entries.select("user_id", "truth").drop_nulls().unique().with_columns(hit=pl.lit(1.0)),
            on=["user_id", "truth"],
            how="left",
        ).with_columns(pl.col("hit").fill_null(0.0))
        for measure, which in (
            ("live_journeys_listed", pl.col("stage") != ENDED),
            ("ended_journeys_listed", (pl.col("stage") == ENDED) & (pl.col("days_ended") <= ENDED_WITHIN_DAYS)),
        ):
            hits = listed.filter(which).group_by("user_id").agg(pl.col("hit").mean())
            found.append(values(hits, measure, method, pl.col("hit")))
        found += _coverage(part, entries, contents, method)
    return pl.concat(found)


def _coverage(part: Part, entries: pl.DataFrame, contents: pl.DataFrame, method: str) -> list[pl.DataFrame]:
    """Share of a user's events that the list holds, and that it holds in a journey of what they are truly part of."""
    placed = (
        part.events.filter(pl.col("truth").is_not_null())
        .join(contents, on=["user_id", "keyword"], how="left")
        .join(entries.select("user_id", "entry", found="truth"), on=["user_id", "entry"], how="left")
        .group_by("user_id", "event")
        .agg(
            held=pl.col("entry").is_not_null().any(),
            right=(pl.col("truth") == pl.col("found")).fill_null(value=False).any(),
        )
        .group_by("user_id")
        .agg(pl.col("held", "right").mean())
    )
    return [
        values(placed, "event_coverage", method, pl.col("held")),
        values(placed, "event_coverage_right", method, pl.col("right")),
    ]
