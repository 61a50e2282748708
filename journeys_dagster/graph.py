"""All assets put together."""

from collections.abc import Mapping
from datetime import date

import dagster as dg

from assets import (
    diversification_trade_off,
    inferred_days,
    journey_expansions,
    judge_metrics,
    keyword_embeddings,
    naming_model,
    quality_metrics,
    ranking_labels,
    ranking_model,
    retention,
    safety_verdicts,
    stage_model,
    users_in_scope,
)
from assets.clusters import CLUSTERS
from assets.diversified_journeys import DIVERSIFIED_JOURNEYS
from assets.expansions import EXPANSIONS
from assets.journey_events import JOURNEY_EVENTS
from assets.journey_identities import JOURNEY_IDENTITIES
from assets.judge_scores import JUDGE_SCORES
from assets.keywords import KEYWORDS
from assets.llm_journeys import LLM_JOURNEYS
from assets.names import NAMES
from assets.rankings import RANKINGS
from assets.safety import SAFETY
from assets.sources import build_source_asset
from assets.stages import STAGES
from journeys_dagster.inference.algorithm import Algorithm, current_algorithm
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.inference.safety_policy import load_policy
from journeys_dagster.llm.parts import llm_parts
from journeys_dagster.orchestration.snapshots import build_snapshot_asset
from journeys_dagster.orchestration.sql_assets import Draw, build_sql_asset
from journeys_dagster.orchestration.timing import at_training_time, require_cron
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.landing_state import SEEN_LANDING_DAYS
from journeys_dagster.resources.llm import LLM_ANSWERS
from journeys_dagster.resources.trained_models import RANKING_MODEL, STAGE_MODEL
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import LLMSettings, Settings
from journeys_dagster.sources.contracts import LANDED_DAYS, REJECTED_ROWS, declared_sources
from journeys_dagster.sql.models import ModelError, SqlModel, load_audits, load_macros
from journeys_dagster.tables import Table

STEPS = (
    KEYWORDS,
    CLUSTERS,
    JOURNEY_IDENTITIES,
    JOURNEY_EVENTS,
    RANKINGS,
    DIVERSIFIED_JOURNEYS,
    STAGES,
    NAMES,
    SAFETY,
    EXPANSIONS,
    JUDGE_SCORES,
)


def build_assets(
    settings: Settings, partitions_def: dg.PartitionsDefinition, models: Mapping[str, SqlModel]
) -> list[dg.AssetsDefinition]:
    """Sources, SQL models and steps."""
    sources = declared_sources(tuple(settings.keywords.action_weights))
    audits, macros = load_audits(), load_macros()
    algorithm = algorithm_in_use(settings, models)
    tables = declared_tables(settings, models)
    if unknown := audits.keys() - tables.keys():
        raise ModelError(f"there are audits of {', '.join(sorted(unknown))}, which is no table")
    return [
        *(build_source_asset(source, partitions_def=partitions_def) for source in sources.values()),
        *(
            build_sql_asset(
                model,
                audits.get(model.name, []),
                tables=tables,
                macros=macros,
                partitions_def=partitions_def,
                draw=_DRAWINGS.get(model.name),
            )
            for model in models.values()
        ),
        users_in_scope.build_users_in_scope(partitions_def=partitions_def, algorithm_version=algorithm.version),
        keyword_embeddings.build_keyword_embeddings(partitions_def=partitions_def),
        ranking_labels.build_ranking_labels(
            models["journey_features"].table, condition=at_training_time(settings.automation)
        ),
        safety_verdicts.build_safety_verdicts(partitions_def=partitions_def, asks_llm=settings.llm.safety),
        journey_expansions.build_journey_expansions(
            partitions_def=partitions_def,
            algorithm_version=algorithm.version,
            asks_llm=settings.llm.expansions or settings.llm.safety,
        ),
        ranking_model.build_ranking_model(),
        stage_model.build_stage_model(),
        naming_model.build_naming_model(condition=at_training_time(settings.automation)),
        diversification_trade_off.build_diversification_trade_off(),
        retention.build_retention(
            snapshot_tables(models), cron=require_cron("retention.cron", settings.retention.cron)
        ),
        *(
            build_snapshot_asset(
                step,
                audits.get(step.name, []),
                partitions_def=partitions_def,
                asks_llm=step.name in _asking(settings.llm),
            )
            for step in STEPS
        ),
        *(
            [build_snapshot_asset(LLM_JOURNEYS, partitions_def=partitions_def, asks_llm=True)]
            if settings.llm.journeys
            else []
        ),
        inferred_days.build_inferred_days(partitions_def=partitions_def, algorithm=algorithm),
        judge_metrics.build_judge_metrics(partitions_def=partitions_def),
        quality_metrics.build_quality_metrics(partitions_def=partitions_def, sources=sources),
    ]


def declared_tables(settings: Settings, models: Mapping[str, SqlModel]) -> dict[str, Table]:
    """All tables and views of the warehouse by name."""
    sources = declared_sources(tuple(settings.keywords.action_weights))
    tables = [
        *(source.table for source in sources.values()),
        REJECTED_ROWS,
        LANDED_DAYS,
        *(model.table for model in models.values()),
        *(step.table for step in STEPS),
        LLM_JOURNEYS.table,
        users_in_scope.TABLE,
        keyword_embeddings.TABLE,
        safety_verdicts.TABLE,
        journey_expansions.JOURNEY_EXPANSIONS,
        ranking_labels.labels_table(models["journey_features"].table),
        RANKING_MODEL,
        STAGE_MODEL,
        naming_model.NAMING_MODEL,
        diversification_trade_off.TRADE_OFF,
        inferred_days.INFERRED_DAYS,
        inferred_days.ALGORITHM_PARTS,
        SEEN_LANDING_DAYS,
        LLM_ANSWERS,
        quality_metrics.QUALITY_METRICS,
        judge_metrics.JUDGE_METRICS,
    ]
    return {table.name: table for table in tables}


def snapshot_tables(models: Mapping[str, SqlModel]) -> list[Table]:
    """The tables whose rows are replaced snapshot by snapshot, as of each inferred day."""
    return [
        users_in_scope.TABLE,
        *(model.table for model in models.values() if model.materialized == "snapshot"),
        *(step.table for step in STEPS),
        LLM_JOURNEYS.table,
        journey_expansions.JOURNEY_EXPANSIONS,
    ]


def algorithm_in_use(settings: Settings, models: Mapping[str, SqlModel]) -> Algorithm:
    """The algorithm of this code location; settings that only steer runs have no part in it."""
    return current_algorithm(
        settings=settings.algorithm() | llm_parts(settings.llm),
        model_revision=model_revision(settings.embedding.model, settings.embedding.revision),
        policy_revision=load_policy(settings.safety.policy).revision,
        sql_code_versions={name: model.code_version for name, model in models.items()},
    )


def _asking(llm: LLMSettings) -> set[str]:
    """The steps that are to ask the language model."""
    return {step for step, is_on in ((NAMES.name, llm.names), (JUDGE_SCORES.name, llm.judge)) if is_on}


def _draw_journeys(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    counts = warehouse.query("select journeys from user_snapshots where as_of = $as_of", {"as_of": as_of})
    png = histogram(counts["journeys"], title=f"Journeys per user, {as_of}", x_label="journeys", y_label="users")
    return png, "histogram of journeys per user"


_DRAWINGS: dict[str, Draw] = {"user_snapshots": _draw_journeys}
