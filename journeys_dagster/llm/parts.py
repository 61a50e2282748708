"""What of a language model is part of the algorithm: nothing while it decides no journey."""

from collections.abc import Collection
from typing import Any

from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.settings.language_model import LLMSettings

PROMPT_OF_USE = {"names": "name_journey", "safety": "check_safety"}
"""Uses whose answers reach `user_journeys`, by the setting that turns them on."""
_DECIDING = ("model", "structured_output", "max_output_tokens", "request_options")


def llm_parts(settings: LLMSettings, *, uses: Collection[str] = tuple(PROMPT_OF_USE)) -> dict[str, Any]:
    """The parts of `algorithm_version`: model, request and prompts of those `uses` that are on; empty where none is."""
    prompts = {use: load_prompt(PROMPT_OF_USE[use]).version for use in uses if getattr(settings, use)}
    if not prompts:
        return {}
    return {"llm": {**{name: getattr(settings, name) for name in _DECIDING}, "prompts": prompts}}
