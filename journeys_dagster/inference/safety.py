"""Whether a text may be shown to a user, by a policy's terms and by what it means; and then a journey.

Everything fails closed: a text whose vector is missing or no number, or that has no verdict, is blocked.
"""

import hashlib
import json

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.inference.safety_classifier import SafetyClassifier
from journeys_dagster.inference.safety_policy import ALLOW, BLOCK, OUTCOMES, QUIET, Category, Policy
from journeys_dagster.inference.safety_text import phrase_pattern, plain_forms, without
from journeys_dagster.settings import SafetySettings, Settings

NO_MEANING = "its meaning could not be told"
NO_VERDICT = "was not checked"
VERDICT_SCHEMA = {
    "text": pl.String,
    "outcome": pl.String,
    "category": pl.String,
    "reasons": pl.List(pl.String),
    "probability": pl.Float64,
}
_JOURNEY = ["user_id", "journey_id"]


def verdict_revision(settings: Settings, policy: Policy) -> str:
    """Name under which verdicts are kept: same name, same verdicts."""
    parts = {
        "policy": policy.revision,
        "model": model_revision(settings.embedding.model, settings.embedding.revision),
        "settings": settings.safety.model_dump(exclude={"policy", "blocked_share"}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def judge_texts(
    texts: pl.Series,
    vectors: NDArray[np.float32],
    policy: Policy,
    classifier: SafetyClassifier,
    settings: SafetySettings,
) -> pl.DataFrame:
    """Check each text against each category of a policy.

    A text is in a category if one of its terms stands in it outside the category's exceptions, and then gets the
    category's outcome. Otherwise its embedding counts: it is blocked where the categories that block have a probability
    of ``block_probability`` together, and quiet where all categories have ``quiet_probability`` together.

    Parameters
    ----------
    texts : Series of str
    vectors : array of shape (texts, dimensions), float32
        Their unit vectors.
    classifier : SafetyClassifier
        Of this policy, by the same model.

    Returns
    -------
    DataFrame
        Columns of `VERDICT_SCHEMA`, one row per text, in order. ``outcome`` is the strictest of its categories',
        ``category`` the first of these (null where allowed), ``reasons`` say what was found in each, in the policy's
        words, ``probability`` is that of all categories together.
    """
    if len(texts) != len(vectors):
        raise ValueError(f"{len(texts)} texts and {len(vectors)} vectors: equally many are needed")
    is_known: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_columns(
        **dict(zip(("plain", "read"), plain_forms(pl.col("text")), strict=True))
    )
    probability = _probabilities(frame, np.where(is_known[:, None], vectors, np.float32(0.0)), policy, classifier)
    probability[~is_known] = 0.0
    may_block = np.array([category.outcome == BLOCK for category in policy.categories])
    blocks = probability[:, may_block].sum(axis=1) >= settings.block_probability
    is_quiet = probability.sum(axis=1) >= settings.quiet_probability
    # One category stands for its outcome: the likeliest of those that give it.
    likeliest = np.where(blocks[:, None] & ~may_block, -1.0, probability).argmax(axis=1)
    found: list[pl.Expr] = []
    for place, category in enumerate(policy.categories):
        is_like = (blocks | is_quiet) & (likeliest == place)
        found += _findings(category, is_like & ~(may_block[place] & ~blocks), is_like, probability[:, place])
    judged = frame.select("text", *found).with_columns(
        probability=pl.Series(np.where(is_known, probability.sum(axis=1), np.nan), dtype=pl.Float64),
        is_known=pl.Series(is_known),
    )
    return judged.select(_verdict(policy)).cast(pl.Schema(VERDICT_SCHEMA))  # type: ignore[arg-type]


def _probabilities(
    frame: pl.DataFrame, vectors: NDArray[np.float32], policy: Policy, classifier: SafetyClassifier
) -> NDArray[np.float64]:
    """Probability of each category, shape (texts, categories); 0 where a text has one of the category's exceptions."""
    columns = [classifier.classes.index(category.name) for category in policy.categories]
    probability = classifier.probabilities(vectors)[:, columns]
    for place, category in enumerate(policy.categories):
        exceptions = phrase_pattern(category.exceptions)
        if exceptions is not None:
            probability[frame.select(pl.col("plain").str.contains(exceptions)).to_series().to_numpy(), place] = 0.0
    return probability


def _findings(
    category: Category, gets_outcome: NDArray[np.bool_], is_like: NDArray[np.bool_], probability: NDArray[np.float64]
) -> list[pl.Expr]:
    """Why a text is in a category, null where it is not, and the outcome; by a term if there is one."""
    exceptions, terms = phrase_pattern(category.exceptions), phrase_pattern(category.terms)
    assert terms is not None  # noqa: S101 - the policy's reader sees to it
    term = pl.coalesce(without(pl.col(form), exceptions).str.extract(terms, 1) for form in ("plain", "read"))
    resembles = pl.lit(pl.Series(is_like))
    return [
        pl.coalesce(
            pl.format(f"{category.name}: says '{{}}'", term),
            pl.when(resembles).then(
                pl.format(f"{category.name}: means it, probability {{}}", pl.lit(pl.Series(probability)).round(2))
            ),
        ).alias(category.name),
        pl.when(term.is_not_null() | pl.lit(pl.Series(gets_outcome)))
        .then(pl.lit(category.outcome))
        .when(resembles)
        .then(pl.lit(QUIET))
        .alias(_outcome_of(category)),
    ]


def _outcome_of(category: Category) -> str:
    return f"{category.name} outcome"


def _verdict(policy: Policy) -> list[pl.Expr]:
    """The strictest of the categories' outcomes, with the first category that has it."""
    categories = policy.categories
    outcome = pl.coalesce(
        *(
            pl.when(pl.any_horizontal(pl.col(_outcome_of(c)) == strict for c in categories)).then(pl.lit(strict))
            for strict in reversed(OUTCOMES)
        ),
        pl.lit(ALLOW),
    )
    category = pl.coalesce(
        pl.when(pl.col(_outcome_of(c)) == strict).then(pl.lit(c.name))
        for strict in reversed(OUTCOMES)
        for c in categories
    )
    return [
        pl.col("text"),
        pl.when("is_known").then(outcome).otherwise(pl.lit(BLOCK)).alias("outcome"),
        category.alias("category"),
        pl.concat_list(*(c.name for c in categories), pl.when(~pl.col("is_known")).then(pl.lit(NO_MEANING)))
        .list.drop_nulls()
        .alias("reasons"),
        pl.col("probability"),
    ]


def judge_journeys(
    names: pl.DataFrame, keywords: pl.DataFrame, verdicts: pl.DataFrame, settings: SafetySettings
) -> pl.DataFrame:
    """Check journeys by the verdicts on their names and keywords.

    A journey is blocked where its name is, and where blocked keywords make up ``blocked_share`` of its weight or more.
    It is quiet where its name or any keyword is quiet, or any keyword is blocked: it is as sensitive as the most
    sensitive thing it holds.

    Parameters
    ----------
    names : DataFrame
        Columns ``user_id``, ``journey_id``, ``name``.
    keywords : DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword``, ``weight`` (float64 > 0).
    verdicts : DataFrame
        Columns of `VERDICT_SCHEMA`, of `checked_text` of names and of keywords; a text that is missing is blocked.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``outcome``, ``category`` (null where allowed, and where nothing was
        found but an error), ``reasons`` (list of str), ``unlisted_keywords`` (list of str: those that are blocked); one
        row per row of `names`, sorted.
    """
    # Whole millionths add up to the same sum in any order.
    mass = (pl.col("weight") * 1e6).round().cast(pl.Int64)
    is_blocked = pl.col("outcome") == BLOCK
    of_keywords = (
        _with_verdicts(keywords, pl.col("keyword"), verdicts)
        .sort(*_JOURNEY, "strictness", "keyword", descending=[False, False, True, False])
        .group_by(_JOURNEY, maintain_order=True)
        .agg(
            keywords_strictness=pl.col("strictness").max(),
            blocked_mass=mass.filter(is_blocked).sum(),
            mass=mass.sum(),
            keywords_category=pl.col("category").first(),
            keywords_reasons=pl.format("keyword {}", pl.col("reasons").list.join(", "))
            .filter(pl.col("outcome") != ALLOW)
            .unique(maintain_order=True),
            unlisted_keywords=pl.col("keyword").filter(is_blocked).sort(),
        )
    )
    share = pl.col("blocked_mass") / pl.col("mass")
    by_keywords = (
        pl.when(
            pl.col("keywords_strictness").is_null() | ((pl.col("blocked_mass") > 0) & (share >= settings.blocked_share))
        )
        .then(OUTCOMES.index(BLOCK))
        .when(pl.col("keywords_strictness") > OUTCOMES.index(ALLOW))
        .then(OUTCOMES.index(QUIET))
        .otherwise(OUTCOMES.index(ALLOW))
    )
    strictness = pl.max_horizontal("strictness", by_keywords)
    return (
        _with_verdicts(names, pl.col("name"), verdicts)
        .join(of_keywords, on=_JOURNEY, how="left", maintain_order="left")
        .select(
            *_JOURNEY,
            outcome=strictness.replace_strict(dict(enumerate(OUTCOMES)), return_dtype=pl.String),
            category=pl.when(pl.col("strictness") >= by_keywords)
            .then(pl.coalesce("category", "keywords_category"))
            .otherwise(pl.coalesce("keywords_category", "category")),
            reasons=pl.concat_list(
                pl.col("reasons").list.eval(pl.format("name {}", pl.element())),
                pl.col("keywords_reasons").fill_null([f"no keyword {NO_VERDICT}"]),
            ),
            unlisted_keywords=pl.col("unlisted_keywords").fill_null([]),
        )
        .sort(_JOURNEY)
    )


def checked_text(text: pl.Expr) -> pl.Expr:
    """The form in which a name or keyword is checked, so that what differs in capitals only is checked once."""
    return text.str.to_lowercase()


def _with_verdicts(rows: pl.DataFrame, text: pl.Expr, verdicts: pl.DataFrame) -> pl.DataFrame:
    known = verdicts.select("text", "outcome", "category", "reasons")
    is_told = pl.col("outcome").is_in(OUTCOMES).fill_null(value=False)
    return (
        rows.with_columns(text=checked_text(text))
        .join(known, on="text", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(is_told).then("outcome").otherwise(pl.lit(BLOCK)),
            reasons=pl.when(is_told).then("reasons").otherwise([NO_VERDICT]),
        )
        .with_columns(
            strictness=pl.col("outcome").replace_strict(
                {outcome: place for place, outcome in enumerate(OUTCOMES)}, return_dtype=pl.Int32
            )
        )
    )
