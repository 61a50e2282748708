"""The `journeys evaluate` commands: a corpus with known truth in, a table or JSON out."""

import click

from journeys_dagster.cli_evaluate.clusters import clusters_command, mixing_command, search_missions_command
from journeys_dagster.cli_evaluate.expansions import expansions_command
from journeys_dagster.cli_evaluate.identity import identity_group
from journeys_dagster.cli_evaluate.judge import judge_command
from journeys_dagster.cli_evaluate.llm_journeys import llm_journeys_command
from journeys_dagster.cli_evaluate.names import naming_group
from journeys_dagster.cli_evaluate.rankings import diversification_command, intent_command, ranking_command
from journeys_dagster.cli_evaluate.realism import realism_command
from journeys_dagster.cli_evaluate.safety import safety_command
from journeys_dagster.cli_evaluate.stages import stages_group
from journeys_dagster.cli_evaluate.world import world_command


@click.group()
def evaluate() -> None:
    """How good the journeys are, where the truth is known.

    By the production code and the settings of journeys.toml. `world` reads what a simulated home's warehouse holds;
    everything else runs in memory. No home is changed.
    """


for command in (
    *(world_command, search_missions_command, clusters_command, realism_command, mixing_command, identity_group),
    *(ranking_command, intent_command, diversification_command, stages_group, naming_group, llm_journeys_command),
    *(judge_command, expansions_command, safety_command),
):
    evaluate.add_command(command)
