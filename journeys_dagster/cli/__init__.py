"""The `journeys` command: where each of its commands is. A command's own imports wait until it is called."""

import gc
import os
import sys
from importlib import import_module

import click

_COMMANDS = {
    "demo": (
        "journeys_dagster.cli.pipeline:demo_command",
        "A simulated platform: from an empty home to trained models and journeys.",
    ),
    "distill": (
        "journeys_dagster.cli.distill:distill_group",
        "Teach a small language model to title journeys, and use it.",
    ),
    "evaluate": ("lab.command:evaluate", "How good the journeys are, where the truth is known."),
    "experiments": (
        "journeys_dagster.cli.experiments:experiments_command",
        "What experiments on users say, each with a verdict; by default as of the newest day.",
    ),
    "export": (
        "journeys_dagster.cli.warehouse:export_command",
        "Write the marts as Parquet to a new folder below --to, whole or not at all, while runs go on.",
    ),
    "export-notifications": (
        "journeys_dagster.cli.notifications:export_notifications_command",
        "Hand what was decided to a sender, as a file with a manifest: each decision once, whole or not at all.",
    ),
    "import": (
        "journeys_dagster.cli.import_data:import_group",
        "Bring a log, or a public data set, into the landing zone.",
    ),
    "init": ("journeys_dagster.cli.pipeline:init_command", "Set up the home folder and print its Dagster home."),
    "inspect": (
        "journeys_dagster.cli.inspect:inspect_command",
        "Look at a landing zone before anything is run: is it ready, and if not, what is to be done.",
    ),
    "llm": ("journeys_dagster.cli.language_model:llm_group", "The language model in the box as an endpoint."),
    "mcp": (
        "journeys_dagster.cli.serve:mcp_command",
        "Answer for this home to language models, by the Model Context Protocol; over stdio, or HTTP at /mcp.",
    ),
    "migrate": (
        "journeys_dagster.cli.warehouse:migrate_command",
        "Bring a warehouse that an older version made to this version's tables, as runs do when they start.",
    ),
    "model": (
        "journeys_dagster.cli.language_model:model_command",
        "Bring the language model that a package carries into the home, once.",
    ),
    "prune": (
        "journeys_dagster.cli.warehouse:prune_command",
        "Delete snapshots older than retention.keep_days, and give their space back; current journeys stay.",
    ),
    "rejected": (
        "journeys_dagster.cli.rejected:rejected_command",
        "Show rejected landing rows and what to do about them; ids and texts by their shape alone.",
    ),
    "reshard": (
        "journeys_dagster.cli.reshard:reshard_command",
        "Move all users to another number of shards, whole or not at all; no row changes.",
    ),
    "run": (
        "journeys_dagster.cli.run:run_command",
        "Ingest the landing days that are missing, then infer journeys as of a day.",
    ),
    "serve": (
        "journeys_dagster.cli.serve:serve_command",
        "Answer for this home over HTTP, with a page, until interrupted.",
    ),
    "show": ("journeys_dagster.cli.show:show_command", "Show the current journeys of USER, or of some users."),
    "simulate": (
        "journeys_dagster.cli.pipeline:simulate_command",
        "Write a simulated platform to the landing zone, and its truth to the folder `truth` of the home.",
    ),
    "simulate-feedback": (
        "journeys_dagster.cli.notifications:simulate_feedback_command",
        "Let the people of a simulated platform react to a day's exported notifications, into the landing zone.",
    ),
    "status": (
        "journeys_dagster.cli.status:status",
        "What has landed and been inferred, what is stale and why, what runs, and what to do.",
    ),
    "train": (
        "journeys_dagster.cli.pipeline:train_command",
        "Train a ranker on what users came back to; it takes over if it beats what is in use.",
    ),
    "why": (
        "journeys_dagster.cli.why:why_command",
        "Why JOURNEY of USER is listed: by its id, or its place in the list.",
    ),
}
"""Where each command is, and what the list of commands says of it."""


class _LazyGroup(click.Group):
    """Commands whose modules are imported when they are called: to import Dagster takes longer than to show a user."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name][0].split(":")
        return getattr(import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in _COMMANDS.items()])


def set_collector() -> None:
    """Look for garbage seldom: millions of objects live to a command's end, and going through them takes a second."""
    gc.set_threshold(50_000, 20, 20)


def main() -> None:
    """Run the command and leave."""
    status = 0
    set_collector()
    try:
        cli()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    # PyTorch keeps Python objects alive past the interpreter's end, and DuckDB's binding would list them as leaks.
    os._exit(status)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """User journeys from an activity log.

    State lies under JOURNEYS_HOME (default .journeys), settings in journeys.toml.
    """
