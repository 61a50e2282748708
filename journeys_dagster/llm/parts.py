"""What of a language model is part of the algorithm: nothing while it decides no journey."""

from typing import Any

from journeys_dagster.llm.prompts import load_prompt
from journeys_dagster.settings.language_model import LLMSettings

PROMPT_OF_USE = {"names": "name_journey"}
"""Uses whose answers reach `user_journeys`, by the setting that turns them on."""
_DECIDING = ("model", "structured_output", "max_output_tokens", "request_options")


def llm_parts(settings: LLMSettings) -> dict[str, Any]:
    """The parts of `algorithm_version`: model, request and prompts of the uses that are on; empty where none is."""
    prompts = {use: load_prompt(prompt).version for use, prompt in PROMPT_OF_USE.items() if getattr(settings, use)}
    if not prompts:
        return {}
    return {"llm": {**{name: getattr(settings, name) for name in _DECIDING}, "prompts": prompts}}
