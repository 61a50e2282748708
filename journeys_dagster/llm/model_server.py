"""A causal language model behind an OpenAI-compatible endpoint on loopback: `transformers serve`, held to the schema.

`transformers serve` takes ``response_format`` and ignores it. Here the schema of a request becomes a grammar that masks
the logits, as in vLLM and SGLang, which use the same library (xgrammar). For trials on one machine: one answer at a
time, no key, no limits.
"""

import json
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from journeys_dagster.environment import what_is_missing
from journeys_dagster.llm.answers import LLMError

HOST = "127.0.0.1"
_NEEDED = ("accelerate", "fastapi", "uvicorn", "xgrammar")


def serve(model: Path, *, port: int) -> None:
    """Serve a model until the process is ended.

    Parameters
    ----------
    model : Path
        Folder of a causal language model with a chat template.
    port : int
        On the loopback address.

    Raises
    ------
    LLMError
        The extra is not installed.
    """
    if said := what_is_missing("model-server", _NEEDED):
        raise LLMError(f"to serve a model takes {said}")
    from transformers.cli.serve import Serve

    _hold_to_schemas()
    Serve(force_model=str(model), host=HOST, port=port, device="auto", dtype="auto")


def _hold_to_schemas() -> None:
    """Have the handlers of `transformers serve` heed ``response_format``."""
    import xgrammar  # pyright: ignore[reportMissingImports]
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.utils import GenerateManager
    from xgrammar.contrib.hf import LogitsProcessor  # pyright: ignore[reportMissingImports]

    schema: ContextVar[dict[str, Any] | None] = ContextVar("schema", default=None)
    handle = ChatCompletionHandler.handle_request

    async def handle_request(self: ChatCompletionHandler, body: dict[str, Any], request_id: str) -> Any:  # noqa: ANN401
        form = body.pop("response_format", None) or {}
        schema.set(form.get("json_schema", {}).get("schema"))
        return await handle(self, body, request_id)

    async def generate(  # noqa: PLR0917 -- the signature it replaces
        self: GenerateManager,
        model: Any,  # noqa: ANN401
        processor: Any,  # noqa: ANN401
        inputs: Any,  # noqa: ANN401
        gen_config: Any,  # noqa: ANN401
        request_id: str,
    ) -> tuple[str, int, Any]:
        asked = schema.get()
        constraint = []
        if asked is not None:
            vocabulary = xgrammar.TokenizerInfo.from_huggingface(processor, vocab_size=model.config.vocab_size)
            # No blanks between tokens: a weak model would write them for ever.
            grammar = xgrammar.GrammarCompiler(vocabulary).compile_json_schema(json.dumps(asked), any_whitespace=False)
            constraint = [LogitsProcessor(grammar)]
        sequences = await self.async_submit(
            model.generate, **inputs, generation_config=gen_config, tokenizer=processor, logits_processor=constraint
        )
        length = inputs["input_ids"].shape[-1]
        written = sequences[0, length:]
        return processor.decode(written, skip_special_tokens=True), length, written

    ChatCompletionHandler.handle_request = handle_request
    GenerateManager.generate_non_streaming = generate
