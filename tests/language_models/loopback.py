"""The rule server as tests use it: a process on loopback whose plan can be changed, and what it has seen."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
from rule_server import Plan

from journeys_dagster.settings import LLMSettings, Settings


@dataclass(frozen=True)
class Loopback:
    """A running server."""

    port: int

    def behave(self, **plan: Any) -> None:
        """Begin anew with a plan."""
        requests.post(f"http://127.0.0.1:{self.port}/plan", json=asdict(Plan(**plan)), timeout=10).raise_for_status()

    def figures(self) -> dict[str, Any]:
        """What it has seen since."""
        return requests.get(f"http://127.0.0.1:{self.port}/stats", timeout=10).json()

    def llm_settings(self, **settings: Any) -> LLMSettings:
        """Settings for it, with waits that suit a test."""
        quick: dict[str, Any] = {"timeout_seconds": 5.0, "first_wait_seconds": 0.02}
        base = {"base_url": f"http://127.0.0.1:{self.port}/v1", "model": "rules", "send_user_text": True}
        return LLMSettings.model_validate({**base, **quick, **settings})

    def settings(self, **settings: Any) -> Settings:
        """All settings, with the model at this server."""
        return Settings.model_validate({"llm": self.llm_settings(**settings)})


@contextmanager
def running() -> Iterator[Loopback]:
    """Start a server, and end it."""
    command = [sys.executable, str(Path(__file__).with_name("rule_server.py")), "{}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Loopback(int(process.stdout.readline()))
        finally:
            process.kill()


def without_prompts(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures without the texts."""
    return json.loads(json.dumps({name: value for name, value in figures.items() if name != "prompts"}))
