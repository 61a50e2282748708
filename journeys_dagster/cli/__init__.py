"""The `journeys` command: where each of its commands is. A command's own imports wait until it is called."""

import gc
import os
import sys
from importlib import import_module

import click

_COMMANDS = {
    "demo": "journeys_dagster.cli.pipeline:demo_command",
    "evaluate": "lab.command:evaluate",
    "export": "journeys_dagster.cli.warehouse:export_command",
    "import": "journeys_dagster.cli.pipeline:import_group",
    "init": "journeys_dagster.cli.pipeline:init_command",
    "migrate": "journeys_dagster.cli.warehouse:migrate_command",
    "prune": "journeys_dagster.cli.warehouse:prune_command",
    "run": "journeys_dagster.cli.pipeline:run_command",
    "show": "journeys_dagster.cli.show:show_command",
    "simulate": "journeys_dagster.cli.pipeline:simulate_command",
    "status": "journeys_dagster.cli.status:status",
    "train": "journeys_dagster.cli.pipeline:train_command",
}


class _LazyGroup(click.Group):
    """Commands whose modules are imported when they are called: to import Dagster takes longer than to show a user."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        return getattr(import_module(module), name)


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
