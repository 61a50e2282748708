"""All assets put together."""

from collections.abc import Mapping
from datetime import date

import dagster as dg

from assets import (
    diversification_trade_off,
    keyword_embeddings,
    naming_model,
    ranking_labels,
    ranking_model,
    safety_verdicts,
    stage_model,
    users_in_scope,
)
from assets.clusters import CLUSTERS
from assets.diversified_journeys import DIVERSIFIED_JOURNEYS
from assets.journey_identities import JOURNEY_IDENTITIES
from assets.names import NAMES
from assets.rankings import RANKINGS
from assets.safety import SAFETY
from assets.snapshots import build_snapshot_asset
from assets.sources import build_source_asset
from assets.sql_models import Draw, build_sql_asset
from assets.stages import STAGES
from journeys_dagster.inference.algorithm import algorithm_version
from journeys_dagster.inference.embedding import model_revision
from journeys_dagster.inference.safety_policy import load_policy
from journeys_dagster.reporting.plots import histogram
from journeys_dagster.resources.trained_models import RANKING_MODEL, STAGE_MODEL
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sql_models import SqlModel, load_audits, load_macros
from journeys_dagster.tables import Table

STEPS = (CLUSTERS, JOURNEY_IDENTITIES, RANKINGS, DIVERSIFIED_JOURNEYS, STAGES, NAMES, SAFETY)
_NOT_ALGORITHM = {"run", "landing"}


def build_assets(
    settings: Settings, partitions_def: dg.PartitionsDefinition, models: Mapping[str, SqlModel]
) -> list[dg.AssetsDefinition]:
    """Sources, SQL models and steps."""
    sources = declared_sources(tuple(settings.keywords.action_weights))
    audits, macros = load_audits(), load_macros()
    tables: dict[str, Table] = {
        **{name: source.table for name, source in sources.items()},
        **{name: model.table for name, model in models.items()},
        **{step.name: step.table for step in STEPS},
        users_in_scope.TABLE.name: users_in_scope.TABLE,
        keyword_embeddings.TABLE.name: keyword_embeddings.TABLE,
        safety_verdicts.TABLE.name: safety_verdicts.TABLE,
        RANKING_MODEL.name: RANKING_MODEL,
        STAGE_MODEL.name: STAGE_MODEL,
        naming_model.NAMING_MODEL.name: naming_model.NAMING_MODEL,
    }
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
        users_in_scope.build_users_in_scope(
            partitions_def=partitions_def, algorithm_version=current_algorithm_version(settings, models)
        ),
        keyword_embeddings.build_keyword_embeddings(partitions_def=partitions_def),
        safety_verdicts.build_safety_verdicts(partitions_def=partitions_def),
        ranking_labels.build_ranking_labels(models["journey_features"].table),
        ranking_model.build_ranking_model(),
        stage_model.build_stage_model(),
        naming_model.build_naming_model(),
        diversification_trade_off.build_diversification_trade_off(),
        *(build_snapshot_asset(step, partitions_def=partitions_def) for step in STEPS),
    ]


def current_algorithm_version(settings: Settings, models: Mapping[str, SqlModel]) -> str:
    """Fingerprint of this code location; settings that only steer runs have no part in it."""
    return algorithm_version(
        settings=settings.model_dump(mode="json", exclude=_NOT_ALGORITHM),
        model_revision=model_revision(settings.embedding.model, settings.embedding.revision),
        policy_revision=load_policy(settings.safety.policy).revision,
        sql_code_versions={name: model.code_version for name, model in models.items()},
    )


def _draw_keywords(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    counts = warehouse.query(
        "select count(*) as n from keywords where as_of = $as_of group by user_id", {"as_of": as_of}
    )
    png = histogram(counts["n"], title=f"Keywords per user, {as_of}", x_label="keywords", y_label="users")
    return png, "histogram of keywords per user"


def _draw_journeys(warehouse: Warehouse, as_of: date) -> tuple[bytes, str]:
    counts = warehouse.query("select journeys from user_snapshots where as_of = $as_of", {"as_of": as_of})
    png = histogram(counts["journeys"], title=f"Journeys per user, {as_of}", x_label="journeys", y_label="users")
    return png, "histogram of journeys per user"


_DRAWINGS: dict[str, Draw] = {"keywords": _draw_keywords, "user_snapshots": _draw_journeys}
