"""The `journeys evaluate` commands: a corpus with known truth in, a table or JSON out."""

import click

from journeys_dagster.cli_evaluate.clusters import mixing_command, search_missions_command, world_command
from journeys_dagster.cli_evaluate.expansions import expansions_command
from journeys_dagster.cli_evaluate.identity import identity_group
from journeys_dagster.cli_evaluate.judge import judge_command
from journeys_dagster.cli_evaluate.names import naming_group
from journeys_dagster.cli_evaluate.rankings import diversification_command, intent_command, ranking_command
from journeys_dagster.cli_evaluate.realism import realism_command
from journeys_dagster.cli_evaluate.safety import safety_command
from journeys_dagster.cli_evaluate.stages import stages_group


@click.group()
def evaluate() -> None:
    """How good the journeys are, where the truth is known.

    Everything runs in memory, by the production code and the settings of journeys.toml; the home is not touched.
    """


for command in (
    *(search_missions_command, world_command, realism_command, mixing_command, identity_group),
    *(ranking_command, intent_command, diversification_command, stages_group, naming_group),
    judge_command,
    expansions_command,
    safety_command,
):
    evaluate.add_command(command)
