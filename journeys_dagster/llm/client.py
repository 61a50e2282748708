"""The client: many inputs to one prompt, each an answer of the schema or a fault of its own."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from journeys_dagster.llm.answers import Answer, CachedAnswer, LLMError, Outcome, ResponseCache, Usage
from journeys_dagster.llm.budget import Budget
from journeys_dagster.llm.endpoint import Endpoint, NoReplyError, Reply, StoppedError
from journeys_dagster.llm.prompts import Prompt
from journeys_dagster.llm.request import Request, build_request, prompt_version
from journeys_dagster.settings.language_model import LLMSettings

Progress = Callable[[int, int], None]
_WRITE_AFTER_SECONDS = 5.0
_REFUSED = "the model refused"
_CUT_OFF = "the answer is longer than max_output_tokens"
_MOST_REPEATED_CHARACTERS = 4_000
# JSON has none, yet grammars that constrain decoding let models write them (seen with xgrammar 0.2.8).
_CONTROL = re.compile(r"[\x00-\x1f]")


class LLM:
    """A language model that answers in a schema.

    Parameters
    ----------
    settings : LLMSettings
        Endpoint, limits and prices. The key comes from the environment.
    cache : ResponseCache, optional
        Where answers are kept; without it, each call to `complete` asks again.
    budget : Budget, optional
        What the run may use yet, shared by all of its clients. Default: one of its own.

    Attributes
    ----------
    usage : Usage
        What all calls to `complete` did.
    """

    def __init__(
        self, settings: LLMSettings, *, cache: ResponseCache | None = None, budget: Budget | None = None
    ) -> None:
        self.settings = settings
        self.usage = Usage()
        self._cache = cache
        self._budget = budget or Budget(settings)

    def complete(
        self,
        prompt: Prompt,
        inputs: Sequence[Mapping[str, Any]],
        schema: type[Answer],
        *,
        progress: Progress | None = None,
    ) -> list[Outcome[Answer]]:
        """Ask the model about each input, unless its answer is known.

        Equal inputs are asked once. An answer that does not fit the schema gets one attempt to be put right, then its
        input fails alone. Refusals and answers that stay invalid are cached like answers, as the model's last word;
        what got no reply is asked again by the next run.

        Parameters
        ----------
        inputs : sequence of mapping
            JSON-like data, identifiers and all: texts are masked here, see `journeys_dagster.llm.masking`.
        schema : type of BaseModel
            Form of an answer, every field required and ``extra="forbid"``. Its validators find the masked input as
            ``info.context``; their messages go to the model, so that it can put the answer right.
        progress : callable, optional
            Called with inputs done and inputs given.

        Returns
        -------
        list of Outcome
            In the order of the inputs.

        Raises
        ------
        LLMError
            There is no endpoint that user text may be sent to, or the package is missing.
        """
        if not self.settings.is_set:
            raise LLMError("a language model needs llm.base_url, llm.model and llm.send_user_text")
        began = time.monotonic()
        version = prompt_version(prompt, schema, self.settings)
        requests = [build_request(prompt, data, schema, self.settings, version=version) for data in inputs]
        outcomes = self._known(requests, schema)
        waiting = {request.key: request for request in requests if request.key not in outcomes}
        asked = _Asked(
            llm=self,
            prompt=prompt,
            version=version,
            schema=schema,
            outcomes=outcomes,
            inputs=len(inputs),
            progress=progress,
        )
        try:
            if waiting:
                asyncio.run(asked.ask_all(list(waiting.values())))
        finally:
            asked.write()
            self.usage.seconds += time.monotonic() - began
        results = [outcomes[request.key] for request in requests]
        self._sum_up(results, asked=len(waiting))
        return results

    def _known(self, requests: Sequence[Request], schema: type[Answer]) -> dict[str, Outcome[Answer]]:
        """Outcomes from the cache; what no longer fits the schema's checks is asked again."""
        if self._cache is None:
            return {}
        data = {request.key: request.data for request in requests}
        known: dict[str, Outcome[Answer]] = {}
        for key, cached in self._cache.read(list(data)).items():
            if cached.answer is None:
                known[key] = Outcome(None, cached.fault or "", from_cache=True)
            elif (answer := check_answer(cached.answer, schema, data[key])[0]) is not None:
                known[key] = Outcome(answer, from_cache=True)
        return known

    def _sum_up(self, results: Sequence[Outcome[Any]], *, asked: int) -> None:
        usage = self.usage
        usage.inputs += len(results)
        usage.cache_hits += len(results) - asked
        for outcome in results:
            usage.answered += outcome.answer is not None
            usage.left += outcome.is_left
            if outcome.answer is None and not outcome.is_left:
                usage.failed += 1
                usage.faults[outcome.fault] = usage.faults.get(outcome.fault, 0) + 1

    def write(self, answers: Sequence[CachedAnswer]) -> None:
        """Keep answers, where there is a cache."""
        if self._cache is not None and answers:
            self._cache.write(answers)

    @property
    def budget(self) -> Budget:
        """What the run may use yet."""
        return self._budget


@dataclass(kw_only=True)
class _Asked:
    """The inputs of one call to `LLM.complete` that have to be asked."""

    llm: LLM
    prompt: Prompt
    version: str
    schema: type[BaseModel]
    outcomes: dict[str, Outcome[Any]]
    inputs: int
    progress: Progress | None
    unwritten: list[CachedAnswer] = field(default_factory=list)
    written_at: float = field(default_factory=time.monotonic)
    fails_in_a_row: int = 0

    async def ask_all(self, requests: Sequence[Request]) -> None:
        """Ask with as many workers as requests may be out at a time."""
        llm = self.llm
        left = iter(requests)
        async with Endpoint(llm.settings, llm.budget, llm.usage) as endpoint:
            workers = [self._work(endpoint, left) for _ in range(min(llm.settings.concurrency, len(requests)))]
            await asyncio.gather(*workers)
            for request in left:
                self.outcomes[request.key] = Outcome(None, endpoint.stopped, is_left=True)

    async def _work(self, endpoint: Endpoint, left: Iterator[Request]) -> None:
        while not endpoint.stopped:
            request = next(left, None)
            if request is None:
                return
            try:
                outcome = await self._ask(endpoint, request)
            except StoppedError as reason:
                outcome = Outcome(None, str(reason), is_left=True)
            except NoReplyError as reason:
                outcome = Outcome(None, str(reason))
            self.outcomes[request.key] = outcome
            self._watch(endpoint, outcome)
            if self.progress is not None:
                self.progress(len(self.outcomes), self.inputs)
            await self._write_in_time()

    async def _ask(self, endpoint: Endpoint, request: Request) -> Outcome[Any]:
        """One input: the reply, one repair where it is invalid, and what is kept of it."""
        usage = self.llm.usage
        reply = await endpoint.ask(request)
        replies = [reply]
        answer, fault, said = self._checked(reply, request)
        if answer is None and not reply.refused:
            usage.repairs += 1
            repaired = request.repaired(reply.text[:_MOST_REPEATED_CHARACTERS], said)
            reply = await endpoint.ask(repaired)
            replies.append(reply)
            answer, fault, said = self._checked(reply, request)
        usage.latencies.extend(each.seconds for each in replies)
        self.unwritten.append(
            CachedAnswer(
                key=request.key,
                model=self.llm.settings.model,
                prompt=self.prompt.name,
                prompt_version=self.version,
                answer=None if answer is None else answer.model_dump_json(),
                fault=fault or None,
                calls=len(replies),
                prompt_tokens=sum(each.prompt_tokens for each in replies),
                completion_tokens=sum(each.completion_tokens for each in replies),
                latency_seconds=sum(each.seconds for each in replies),
                answered_at=datetime.now(UTC).replace(tzinfo=None),
            )
        )
        return Outcome(answer, fault)

    def _checked(self, reply: Reply, request: Request) -> tuple[Any, str, str]:
        """The answer, or its fault in short and as the repair prompt states it."""
        if reply.refused:
            return None, _REFUSED, _REFUSED
        if reply.cut_off:
            return None, _CUT_OFF, _CUT_OFF
        text = reply.text
        if self.llm.settings.structured_output == "none":
            # Without a constraint models wrap the object in words.
            text = text[text.find("{") : text.rfind("}") + 1]
        return check_answer(text, self.schema, request.data)

    def _watch(self, endpoint: Endpoint, outcome: Outcome[Any]) -> None:
        if outcome.answer is not None or outcome.fault == _REFUSED or outcome.is_left:
            self.fails_in_a_row = 0
            return
        self.fails_in_a_row += 1
        if self.fails_in_a_row >= self.llm.settings.give_up_after:
            endpoint.stop(
                f"{self.fails_in_a_row} inputs in a row got no usable answer (llm.give_up_after), the last one: "
                f"{outcome.fault}"
            )

    async def _write_in_time(self) -> None:
        is_late = time.monotonic() - self.written_at > _WRITE_AFTER_SECONDS
        if self.unwritten and (is_late or len(self.unwritten) >= self.llm.settings.answers_per_write):
            # Waiting for the warehouse must not hold up the others' answers.
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        """Keep what has come since the last time."""
        answers, self.unwritten = self.unwritten, []
        self.written_at = time.monotonic()
        try:
            self.llm.write(answers)
        except BaseException:
            self.unwritten = [*answers, *self.unwritten]
            raise


def check_answer(text: str, schema: type[Answer], data: Mapping[str, Any]) -> tuple[Answer | None, str, str]:
    """An answer of the schema, or its fault: the kinds of error, without text, and as the repair prompt has it."""
    try:
        return schema.model_validate_json(_CONTROL.sub(" ", text), context=data), "", ""
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        kinds = sorted({fault["type"] for fault in found})
        said = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in found)
        return None, f"an invalid answer ({', '.join(kinds)})", said[:1_000]
