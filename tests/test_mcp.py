"""The service for language models, by the SDK's own client: over stdio and HTTP, read only, texts marked as data."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="mcp missing: install the extra [mcp]")
pytest.importorskip("fastapi", reason="fastapi missing: install the extra [serve]")

from conftest import WORLD_LAST_DAY
from mcp import Client, StdioServerParameters

from journeys_dagster.resources.home import Home
from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.mcp_server import DATA, build_server
from journeys_dagster.serving.publication import Publication
from journeys_dagster.serving.service import Journeys
from journeys_dagster.settings import Settings

USER = "sim-user-000031"


class Half(Journeys):
    """Of each list, every other journey is sensitive."""

    def lists(self, users: Any) -> tuple[Publication, dict[str, UserList]]:
        publication, found = super().lists(users)
        return publication, {
            user: UserList(
                each.user_id,
                each.as_of,
                [type(one)(**{**_fields(one), "may_notify": one.rank % 2 == 0}) for one in each.journeys],
            )
            for user, each in found.items()
        }

    def why(self, user: str, journey: str) -> dict[str, Any]:
        told = super().why(user, journey)
        return {**told, "safety": {**told["safety"], "may_notify": told["place"]["rank"] % 2 == 0}}


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def asked(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    (content,) = result.content
    told = json.loads(content.text)  # type: ignore[union-attr]
    assert told["note"] == DATA
    return told["data"]


async def ask_everything(server: Any) -> dict[str, Any]:
    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"journeys", "why", "related", "trends"}
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
        told = await asked(client, "journeys", user_id=USER)
        first = told["journeys"][0]["journey_id"]
        return {
            "journeys": told["journeys"],
            "why": (await asked(client, "why", user_id=USER, journey_id=first))["why"],
            "related": (await asked(client, "related", user_id=USER))["related"],
            "trends": (await asked(client, "trends", limit=5))["trends"],
            "none": (await client.call_tool("why", {"user_id": USER, "journey_id": "none"})).is_error,
        }


def test_tools_tell_what_the_service_knows(finished_home: Path):
    service = Journeys(Home(finished_home), Settings(), on=WORLD_LAST_DAY)
    try:
        found = asyncio.run(ask_everything(build_server(service)))
        rows = service.rows("from current_user_journeys where user_id = $user and may_notify order by rank", user=USER)
        assert found["journeys"] == rows
        assert found["why"] == service.why(USER, rows[0]["journey_id"])
        assert found["related"] == service.related(USER)
        assert all(row["users"] >= 5 for row in found["trends"])
        assert found["none"] is True
    finally:
        service.close()


def test_sensitive_journeys_stay_in_the_house_unless_the_setting_lets_them_out(finished_home: Path):
    async def ask(service: Journeys) -> tuple[list[int], bool]:
        async with Client(build_server(service)) as client:
            told = await asked(client, "journeys", user_id=USER)
            first = service.lists([USER])[1][USER].journeys[0].journey_id
            refused = await client.call_tool("why", {"user_id": USER, "journey_id": first})
            return [row["rank"] for row in told["journeys"]], bool(refused.is_error)

    home = Home(finished_home)
    for let_out in (False, True):
        service = Half(home, Settings.model_validate({"serving": {"sensitive_to_models": let_out}}), on=WORLD_LAST_DAY)
        try:
            ranks, is_refused = asyncio.run(ask(service))
        finally:
            service.close()
        assert is_refused is not let_out
        assert (ranks[0] == 1) is let_out
        assert len(ranks) > 1


@pytest.mark.slow
def test_the_command_answers_over_stdio_and_http(finished_home: Path):
    environment = {**os.environ, "JOURNEYS_HOME": str(finished_home)}
    command = ["-c", "from journeys_dagster.cli import main; main()", "mcp", "--on", str(WORLD_LAST_DAY)]
    by_stdio = asyncio.run(ask_everything(StdioServerParameters(command=sys.executable, args=command, env=environment)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = subprocess.Popen([sys.executable, *command, "--http", str(port)], env=environment)
    try:
        for _ in range(600):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        by_http = asyncio.run(ask_everything(f"http://127.0.0.1:{port}/mcp"))
    finally:
        served.terminate()
        served.wait(30)
    assert by_stdio == by_http
    assert by_stdio["journeys"]
