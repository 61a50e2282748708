"""A real model server on loopback: `transformers serve` with a Qwen model, and decoding constrained by xgrammar.

`transformers serve` takes ``response_format`` and ignores it. Here the schema of a request becomes a grammar that masks
the logits, as in vLLM and SGLang, which use the same library. Arguments: folder of the model, port.
"""

import json
import sys
from contextvars import ContextVar
from typing import Any

import xgrammar  # pyright: ignore[reportMissingImports]
from transformers.cli.serve import Serve
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.utils import GenerateManager
from xgrammar.contrib.hf import LogitsProcessor  # pyright: ignore[reportMissingImports]

_SCHEMA: ContextVar[dict[str, Any] | None] = ContextVar("schema", default=None)
_handle = ChatCompletionHandler.handle_request


async def handle_request(self: ChatCompletionHandler, body: dict[str, Any], request_id: str) -> Any:
    form = body.pop("response_format", None) or {}
    _SCHEMA.set(form.get("json_schema", {}).get("schema"))
    return await _handle(self, body, request_id)


async def generate(  # noqa: PLR0917 -- the signature it replaces
    self: GenerateManager, model: Any, processor: Any, inputs: Any, gen_config: Any, request_id: str
) -> tuple[str, int, Any]:
    schema = _SCHEMA.get()
    constraint = []
    if schema is not None:
        vocabulary = xgrammar.TokenizerInfo.from_huggingface(processor, vocab_size=model.config.vocab_size)
        # No blanks between tokens: a random model would write them for ever.
        grammar = xgrammar.GrammarCompiler(vocabulary).compile_json_schema(json.dumps(schema), any_whitespace=False)
        constraint = [LogitsProcessor(grammar)]
    sequences = await self.async_submit(
        model.generate, **inputs, generation_config=gen_config, tokenizer=processor, logits_processor=constraint
    )
    length = inputs["input_ids"].shape[-1]
    written = sequences[0, length:]
    return processor.decode(written, skip_special_tokens=True), length, written


ChatCompletionHandler.handle_request = handle_request
GenerateManager.generate_non_streaming = generate

if __name__ == "__main__":
    Serve(force_model=sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]), device="cpu", dtype="float32")
