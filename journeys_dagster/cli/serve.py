"""The commands that answer for a home: over HTTP with a page, and to language models."""

import os
from datetime import datetime
from pathlib import Path

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.resources.home import Home

_ON = click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="Day on which lists are read. Default: today, UTC.")


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; beyond this machine only with a token.")
@click.option("--port", default=8321, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--per-second", default=1_000.0, show_default=True, type=click.FloatRange(1), help="Requests of an address."
)
@click.option(
    "--compare",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another home, shown beside this one.",
)
@_ON
def serve_command(host: str, port: int, per_second: float, compare: Path | None, on: datetime | None) -> None:
    """Answer for this home over HTTP, with a page, until interrupted.

    The environment variable JOURNEYS_TOKEN holds the secret that requests must bring, as a bearer's token or as the
    password that a browser asks for.
    """
    import logging

    from journeys_dagster.cli.progress import err
    from journeys_dagster.serving.api import TOKEN_VARIABLE, serve
    from journeys_dagster.serving.service import Journeys
    from journeys_dagster.settings import load_settings

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("journeys.serving").setLevel(logging.INFO)
    day = on.date() if on else None
    with plain_errors():
        settings = load_settings()
        err.print(f"http://{host}:{port}/ answers for {Home.from_environment().path}", soft_wrap=True, markup=False)
        serve(
            Journeys(Home.from_environment(), settings, on=day),
            host=host,
            port=port,
            token=os.environ.get(TOKEN_VARIABLE, ""),
            per_second=per_second,
            other=Journeys(Home(compare), settings, on=day) if compare else None,
        )


@click.command("mcp")
@click.option("--http", "port", type=click.IntRange(1, 65_535), help="Streamable HTTP at this port, in place of stdio.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; beyond this machine only with a token.")
@_ON
def mcp_command(port: int | None, host: str, on: datetime | None) -> None:
    """Answer for this home to language models, by the Model Context Protocol; over stdio, or HTTP at /mcp.

    It reads and never writes. Sensitive journeys are left out unless serving.sensitive_to_models is true.
    """
    from journeys_dagster.serving.api import TOKEN_VARIABLE
    from journeys_dagster.serving.mcp_server import build_server, serve_mcp
    from journeys_dagster.serving.service import Journeys
    from journeys_dagster.settings import load_settings

    with plain_errors():
        journeys = Journeys(Home.from_environment(), load_settings(), on=on.date() if on else None)
        if port is None:
            build_server(journeys).run("stdio")
        else:
            serve_mcp(journeys, host=host, port=port, token=os.environ.get(TOKEN_VARIABLE, ""))
