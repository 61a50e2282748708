"""The whole path with a real model server: a small Qwen model with random weights, decoding constrained by the schema.

A random model has nothing to say, so the form of its answers is all that is tested: they fit the schema, and what does
not say what the keywords say never becomes a name.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import requests
from conftest import Pipeline
from pydantic import BaseModel, ConfigDict, Field

from journeys_dagster.inference.titles import NameAnswer
from journeys_dagster.llm.client import LLM
from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.llm import WarehouseCache
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import LLMSettings, Settings

_MISSING = [name for name in ("accelerate", "fastapi", "uvicorn", "xgrammar") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"{', '.join(_MISSING)} missing: install the extra [model-server]"),
]


class Opinion(BaseModel):
    """A form that anything can be said in."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[str, Field(min_length=2, max_length=30)]
    stage: Literal["evergreen", "ongoing", "ended"]
    grade: Annotated[int, Field(ge=1, le=5)]


@pytest.fixture(scope="module")
def model_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings for a server with the model."""
    folder = tmp_path_factory.mktemp("qwen") / "model"
    subprocess.run([sys.executable, str(Path(__file__).with_name("random_qwen.py")), str(folder)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / "server.log"
    serve = "from journeys_dagster.cli import main; main()"
    command = [sys.executable, "-c", serve, "llm", "serve", "--model", str(folder), "--port", str(port)]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield {
                "base_url": f"http://127.0.0.1:{port}/v1",
                "model": str(folder),
                "send_user_text": True,
                "max_output_tokens": 400,
                "request_options": {"temperature": 1.0, "seed": 7},
                "concurrency": 2,
            }
        finally:
            process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()[-3_000:]
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3_000:])


def test_a_real_server_answers_in_the_schema_and_is_asked_once(
    model_settings: dict[str, Any], warehouse: Warehouse, figures: Callable[..., None]
):
    settings = LLMSettings.model_validate(model_settings)
    inputs = [{"keywords": [f"{thing} wedding", "garden"]} for thing in "abcdefghijklmnopqrst"]
    llm = LLM(settings, cache=WarehouseCache(warehouse))
    outcomes = llm.complete(load_prompt("name_journey"), inputs, Opinion)
    assert all(outcome.answer is not None for outcome in outcomes), llm.usage
    assert len({outcome.answer.title for outcome in outcomes if outcome.answer}) > 1
    assert llm.usage.completion_tokens > 0
    again = LLM(settings, cache=WarehouseCache(warehouse))
    assert [each.answer for each in again.complete(load_prompt("name_journey"), inputs, Opinion)] == [
        outcome.answer for outcome in outcomes
    ]
    assert again.usage.calls == 0
    figures(
        answered=llm.usage.answered,
        repairs=llm.usage.repairs,
        **{name: llm.usage.figures()[name] for name in ("llm_calls", "llm_latency_p50", "llm_completion_tokens")},
    )


def test_without_the_constraint_the_same_model_answers_nothing(model_settings: dict[str, Any]):
    """So what is answered above is owed to the constraint."""
    settings = LLMSettings.model_validate({**model_settings, "structured_output": "none", "max_output_tokens": 60})
    llm = LLM(settings)
    assert [each.answer for each in llm.complete(load_prompt("name_journey"), [{"keywords": ["sofa"]}], Opinion)] == [
        None
    ]
    assert llm.usage.repairs == 1


def test_what_a_random_model_says_becomes_no_name(
    model_settings: dict[str, Any], finished_home: Path, world_days: list[date], tmp_path: Path
):
    shutil.copytree(finished_home, tmp_path / "home")
    pipeline = Pipeline(
        Home(tmp_path / "home"),
        Settings.model_validate({"llm": {**model_settings, "names": True, "give_up_after": 10}}),
    )
    result = pipeline.materialize("names", days=(world_days[-1], world_days[-1]))
    assert result.success
    names = pipeline.table("names", f"as_of = '{world_days[-1]}'")
    by_model = names.filter(names["namer"] != "keyword")
    # A word of the keywords may come up by chance; anything else may not.
    for row in by_model.to_dicts():
        assert NameAnswer.model_validate({"name": row["name"]}, context={"keywords": row["title_keywords"]})
    answers = pipeline.table("llm_answers")
    assert len(answers) >= 10
    assert all(json.loads(answer) for answer in answers["answer"].drop_nulls())
