"""Whether a text may be shown to a user, by a policy's terms and by what it means; and then a journey.

Everything fails closed: a text whose vector is missing or no number, or that has no verdict, is blocked.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.embedding import BUNDLED_MODEL, TextEmbedder, model_revision
from journeys_dagster.inference.fingerprint import code_version
from journeys_dagster.inference.llm_safety import safety_inputs, with_opinions
from journeys_dagster.inference.members import number_words
from journeys_dagster.inference.readable_text import READ_WHOLE
from journeys_dagster.inference.safety_classifier import SafetyClassifier, safety_classifier
from journeys_dagster.inference.safety_policy import (
    ALLOW,
    BLOCK,
    OUTCOMES,
    QUIET,
    UNKNOWN,
    Category,
    Policy,
    load_policy,
)
from journeys_dagster.inference.safety_text import first_found, needles, plain_forms, spaced, without
from journeys_dagster.llm.parts import llm_parts
from journeys_dagster.settings import SafetySettings, Settings

NO_MEANING = "its meaning could not be told"
NO_VERDICT = "was not checked"
NOT_COVERED = "the policy does not cover it"
VERDICT_SCHEMA = {
    "text": pl.String,
    "outcome": pl.String,
    "category": pl.String,
    "reasons": pl.List(pl.String),
    "by_term": pl.Boolean,
    "probability": pl.Float64,
}
_JOURNEY = ["user_id", "journey_id"]
_FORMS = ("plain", "read")
_SAYS = ": says '"


def verdict_revision(settings: Settings, policy: Policy) -> str:
    """Name under which verdicts are kept: same name, same verdicts, but for those that a language model still owes."""
    computing = (checked_text, check_frame, load_policy, safety_classifier)
    asking = (safety_inputs, with_opinions) if settings.llm.safety else ()
    parts = {
        "code": code_version(*computing, *asking),
        "policy": policy.revision,
        "model": model_revision(BUNDLED_MODEL, ""),
        "settings": settings.safety.model_dump(exclude={"policy", "blocked_share", "quiet_share"}),
        "llm": llm_parts(settings.llm, uses=("safety",)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def check_texts(
    texts: pl.Series,
    vectors: NDArray[np.float32],
    policy: Policy,
    classifier: SafetyClassifier,
    settings: SafetySettings,
) -> pl.DataFrame:
    """Check each text against each category of a policy.

    A text is in a category if one of its terms stands in it outside the category's exceptions, and then gets the
    category's outcome. Otherwise its embedding counts: it is quiet where all categories have ``quiet_probability``
    together, and blocked where they have ``block_probability`` and those that block have more than half of it. What
    the policy does not cover is unknown, unless a term stands in it. What the model cannot read counts by terms alone.

    Parameters
    ----------
    texts : Series of str
    vectors : array of shape (texts, dimensions), float32
        By the bundled English model, of unit length, or zero where it cannot read the text.
    classifier : SafetyClassifier
        Of this policy, by the same model.

    Returns
    -------
    DataFrame
        Columns of `VERDICT_SCHEMA`, one row per text, in order. ``outcome`` is the strictest of its categories',
        ``category`` the first of these (null where allowed), ``reasons`` say what was found in each, in the policy's
        words, ``by_term`` says whether a term was found, and not only the classifier; ``probability`` is that of all
        categories.
    """
    if len(texts) != len(vectors):
        raise ValueError(f"{len(texts)} texts and {len(vectors)} vectors: equally many are needed")
    is_known: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_columns(
        **{name: spaced(form) for name, form in zip(_FORMS, plain_forms(pl.col("text")), strict=True)}
    )
    probability = _probabilities(frame, np.where(is_known[:, None], vectors, np.float32(0.0)), policy, classifier)
    probability[~is_known | ~vectors.any(axis=1)] = 0.0
    may_block = np.array([category.outcome == BLOCK for category in policy.categories])
    together = probability.sum(axis=1)
    is_quiet = together >= settings.quiet_probability
    is_sure = is_quiet & (together >= settings.block_probability)
    blocks = is_sure & (probability[:, may_block].sum(axis=1) > together / 2)
    # One category stands for its outcome: the likeliest of those that give it.
    likeliest = np.where(blocks[:, None] & ~may_block, -1.0, probability).argmax(axis=1)
    found: list[pl.Expr] = []
    for place, category in enumerate(policy.categories):
        is_like = is_quiet & (likeliest == place)
        found += _findings(category, is_like & ~(may_block[place] & ~blocks), is_like, probability[:, place])
    checked = frame.select("text", *found, is_covered=policy.covers(pl.col("text"))).with_columns(
        probability=pl.Series(np.where(is_known, probability.sum(axis=1), np.nan), dtype=pl.Float64),
        is_known=pl.Series(is_known),
    )
    return checked.select(_verdict(policy)).cast(pl.Schema(VERDICT_SCHEMA))  # type: ignore[arg-type]


def check_frame(
    frames: Mapping[str, pl.DataFrame],
    *,
    embedder: TextEmbedder,
    policy: Policy,
    classifier: SafetyClassifier,
    settings: SafetySettings,
) -> pl.DataFrame:
    """`check_texts` of ``texts`` with those ``embeddings`` of them that are there; the others are embedded here.

    Parameters
    ----------
    embedder : TextEmbedder
        Of the bundled English model, which the classifier reads, whatever keywords are embedded by.
    """
    texts, known = frames["texts"]["text"], frames["embeddings"]
    vectors = np.full((len(texts), classifier.dimensions), np.nan, dtype=np.float32)
    by_keyword = pl.DataFrame({"keyword": texts}).with_row_index("row").join(known, on="keyword", maintain_order="left")
    if not by_keyword.is_empty():
        flat = by_keyword["embedding"].explode(empty_as_null=True, keep_nulls=True).to_numpy()
        vectors[by_keyword["row"].to_numpy()] = flat.reshape(len(by_keyword), -1)
    is_new = np.ones(len(texts), dtype=np.bool_)
    is_new[by_keyword["row"].to_numpy()] = False
    if is_new.any():
        vectors[is_new] = embedder.embed(texts.filter(pl.Series(is_new)).to_list())
    # What was read of a text counts as if it were all of it; the classifier knows no other vectors.
    lengths = np.linalg.norm(vectors, axis=1)
    is_part = (lengths > 0) & (lengths < READ_WHOLE)
    vectors[is_part] /= lengths[is_part, None]
    return check_texts(texts, vectors, policy, classifier, settings)


def _probabilities(
    frame: pl.DataFrame, vectors: NDArray[np.float32], policy: Policy, classifier: SafetyClassifier
) -> NDArray[np.float64]:
    """Probability of each category, shape (texts, categories); 0 where a text has one of the category's exceptions."""
    columns = [classifier.classes.index(category.name) for category in policy.categories]
    probability = classifier.probabilities(vectors)[:, columns]
    for place, category in enumerate(policy.categories):
        if category.exceptions:
            has_one = frame["plain"].str.contains_any(needles(category.exceptions))
            probability[has_one.to_numpy(), place] = 0.0
    return probability


def _findings(
    category: Category, gets_outcome: NDArray[np.bool_], is_like: NDArray[np.bool_], probability: NDArray[np.float64]
) -> list[pl.Expr]:
    """Why a text is in a category, null where it is not, and the outcome; by a term if there is one."""
    exceptions, terms = needles(category.exceptions), needles(category.terms)
    term = pl.coalesce(first_found(without(pl.col(form), exceptions), terms) for form in _FORMS)
    resembles = pl.lit(pl.Series(is_like))
    return [
        pl.coalesce(
            pl.format(f"{category.name}{_SAYS}{{}}'", term),
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
        pl.when(~pl.col("is_covered")).then(pl.lit(UNKNOWN)),
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
        pl.concat_list(
            *(c.name for c in categories),
            pl.when(~pl.col("is_covered")).then(pl.lit(NOT_COVERED)),
            pl.when(~pl.col("is_known")).then(pl.lit(NO_MEANING)),
        )
        .list.drop_nulls()
        .alias("reasons"),
        (pl.any_horizontal(pl.col(c.name).str.contains(_SAYS, literal=True) for c in categories) | ~pl.col("is_known"))
        .fill_null(value=False)
        .alias("by_term"),
        pl.col("probability"),
    ]


def journey_outcomes(
    journeys: pl.DataFrame,
    flagged: pl.DataFrame,
    verdicts: pl.DataFrame,
    settings: SafetySettings,
    *,
    name_verdicts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Check journeys by the verdicts on their names and keywords.

    A journey is blocked where its name is, where all of its keywords are, and where blocked ones make up
    ``blocked_share`` of its weight or more. It is quiet where its name is, where any keyword is quiet or blocked by a
    term, and where those that are by their meaning alone make up ``quiet_share`` of its weight or more: of thirty
    ordinary keywords one or two seem to mean something, and a journey is about what several of its keywords mean. It is
    unknown where its name is, and where unknown keywords make up this share together with those.

    Parameters
    ----------
    journeys : DataFrame
        Columns ``user_id``, ``journey_id``, ``name``, ``keywords`` (int, how many) and ``weight_units`` (int, how heavy
        together).
    flagged : DataFrame
        The keywords that may not be allowed; most are, and need not be here. Columns ``journey`` (int64, row of
        `journeys`), ``keyword``, ``weight_units`` (int64 > 0).
    verdicts : DataFrame
        Columns of `VERDICT_SCHEMA`, of `checked_text` of keywords; a text that is missing is blocked.
    name_verdicts : DataFrame, optional
        The same of names. Default: `verdicts` are of both.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``outcome``, ``category`` (null where allowed, and where nothing was
        found but an error), ``reasons`` (list of str), ``unlisted_keywords`` (list of str: those that are blocked); one
        row per row of `journeys`, sorted.
    """
    is_blocked, is_unknown = pl.col("outcome") == BLOCK, pl.col("outcome") == UNKNOWN
    of_keywords = (
        _flagged(flagged, verdicts)
        .group_by("journey", maintain_order=True)
        .agg(
            blocked=is_blocked.sum(),
            blocked_units=pl.col("weight_units").filter(is_blocked).sum(),
            quiet_units=pl.col("weight_units").filter(~is_unknown).sum(),
            flagged_units=pl.col("weight_units").sum(),
            is_named=pl.col("by_term").any(),
            keywords_category=pl.col("category").first(),
            keywords_reasons=pl.col("reason").unique(maintain_order=True),
            unlisted_keywords=pl.col("keyword").filter(is_blocked).sort(),
        )
    )
    by_keywords = (
        pl.when(
            (pl.col("keywords") == 0)
            | _is_share(pl.col("blocked_units"), settings.blocked_share)
            | (pl.col("blocked") == pl.col("keywords"))
        )
        .then(OUTCOMES.index(BLOCK))
        .when(pl.col("is_named") | _is_share(pl.col("quiet_units"), settings.quiet_share))
        .then(OUTCOMES.index(QUIET))
        .when(_is_share(pl.col("flagged_units"), settings.quiet_share))
        .then(OUTCOMES.index(UNKNOWN))
        .otherwise(OUTCOMES.index(ALLOW))
    )
    strictness = pl.max_horizontal("strictness", by_keywords)
    no_texts = pl.lit([], dtype=pl.List(pl.String))
    known = (
        _with_verdicts(journeys, pl.col("name"), verdicts if name_verdicts is None else name_verdicts)
        .with_row_index("journey")
        .cast({"journey": pl.Int64})
    )
    # Of most journeys nothing is flagged, and nothing is said.
    is_clear = (
        (pl.col("strictness") == OUTCOMES.index(ALLOW))
        & (pl.col("keywords") > 0)
        & ~pl.col("journey").is_in(of_keywords["journey"].implode())
    )
    clear = known.filter(is_clear).select(
        *_JOURNEY,
        outcome=pl.lit(ALLOW),
        category=pl.lit(None, dtype=pl.String),
        reasons=no_texts,
        unlisted_keywords=no_texts,
    )
    others = (
        known.filter(~is_clear)
        .join(of_keywords, on="journey", how="left", maintain_order="left")
        .select(
            *_JOURNEY,
            outcome=strictness.replace_strict(dict(enumerate(OUTCOMES)), return_dtype=pl.String),
            category=pl.when(strictness > 0).then(
                pl.when(pl.col("strictness") >= by_keywords)
                .then(pl.coalesce("category", "keywords_category"))
                .otherwise(pl.coalesce("keywords_category", "category"))
            ),
            reasons=pl.when(strictness > 0)
            .then(
                pl.concat_list(
                    pl.col("reasons").list.eval(pl.format("name {}", pl.element())),
                    pl.when(pl.col("keywords") == 0)
                    .then(pl.lit([f"no keyword {NO_VERDICT}"]))
                    .otherwise(pl.col("keywords_reasons").fill_null(no_texts)),
                )
            )
            .otherwise(no_texts),
            unlisted_keywords=pl.col("unlisted_keywords").fill_null([]),
        )
    )
    return pl.concat([clear, others]).sort(_JOURNEY)


def shown_spellings(keywords: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """Of each journey the keywords that are shown in another spelling, where that one is allowed.

    Parameters
    ----------
    keywords : DataFrame
        Columns ``user_id``, ``journey_id``, ``keyword``, ``shown``, in the order in which they are to be listed.
    verdicts : DataFrame
        Columns of `VERDICT_SCHEMA`, of `checked_text` of what is shown.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``respelt_keywords`` (list of struct of ``keyword`` and ``shown``);
        journeys without any have no row.
    """
    allowed = verdicts.filter(outcome=ALLOW)["text"]
    return (
        keywords.filter(checked_text(pl.col("shown")).is_in(allowed.implode()))
        .group_by(_JOURNEY, maintain_order=True)
        .agg(respelt_keywords=pl.struct("keyword", "shown"))
    )


def _is_share(units: pl.Expr, share: float) -> pl.Expr:
    """Whether some units are any, and the share of the journey's weight or more."""
    return (units > 0) & (units / pl.col("weight_units") >= share)


def _flagged(flagged: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """The keywords that are not allowed, with verdicts: by journey, the strictest first."""
    words, word = number_words(flagged["keyword"])
    reason = pl.format("keyword {}", pl.col("reasons").list.join(", "))
    words = _with_verdicts(words, pl.col("keyword"), verdicts).with_columns(reason=reason)
    return (
        words[word]
        .with_columns(flagged.select("journey", "weight_units"), word=pl.Series(word))
        .filter(pl.col("strictness") > 0)
        .sort("journey", "strictness", "word", descending=[False, True, False])
    )


def checked_text(text: pl.Expr) -> pl.Expr:
    """The form in which a name or keyword is checked, so that what differs in capitals only is checked once."""
    return text.str.to_lowercase()


def _with_verdicts(rows: pl.DataFrame, text: pl.Expr, verdicts: pl.DataFrame) -> pl.DataFrame:
    known = verdicts.select("text", "outcome", "category", "reasons", "by_term")
    is_known = pl.col("outcome").is_in(OUTCOMES).fill_null(value=False)
    return (
        rows.with_columns(text=checked_text(text))
        .join(known, on="text", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(is_known).then("outcome").otherwise(pl.lit(BLOCK)),
            reasons=pl.when(is_known).then("reasons").otherwise([NO_VERDICT]),
            by_term=pl.when(is_known).then("by_term").otherwise(pl.lit(value=True)),
        )
        .with_columns(
            strictness=pl.col("outcome").replace_strict(
                {outcome: place for place, outcome in enumerate(OUTCOMES)}, return_dtype=pl.Int32
            )
        )
    )
