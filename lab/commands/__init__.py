"""The `journeys evaluate` commands: a corpus with known truth in, a table or JSON out."""

import click

from lab.commands.clusters import clusters_command, mixing_command, search_missions_command
from lab.commands.expansions import expansions_command
from lab.commands.identity import identity_group
from lab.commands.judge import judge_command
from lab.commands.llm_journeys import llm_journeys_command
from lab.commands.names import naming_group
from lab.commands.rankings import diversification_command, intent_command, ranking_command
from lab.commands.realism import realism_command
from lab.commands.safety import safety_command
from lab.commands.stages import stages_group
from lab.commands.world import world_command


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
