"""One endpoint: a request is sent until there is a reply, or until it is clear that there will be none."""

import asyncio
import email.utils
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ValidationError

from journeys_dagster.errors import JourneysError
from journeys_dagster.llm.answers import LLMError, Usage
from journeys_dagster.llm.budget import Budget
from journeys_dagster.llm.request import Request
from journeys_dagster.settings.language_model import LLMSettings

if TYPE_CHECKING:
    from openai import APIStatusError

_WORTH_ANOTHER_ATTEMPT = {408, 409, 425, 429}
_OUT_OF_ORDER = {401, 403, 404}
"""The key, the model or the address is at fault: every other input would meet the same."""


class NoReplyError(JourneysError, carries_user_text=False):
    """One input got no reply; the message says why."""


class StoppedError(JourneysError, carries_user_text=False):
    """Nothing more is sent; the message says why."""


@dataclass(frozen=True)
class Reply:
    """What the model said, and what it took."""

    text: str
    refused: bool
    cut_off: bool
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Tokens(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Tokens | None = None


class Endpoint:
    """An open connection to the endpoint of the settings; use it in ``async with``."""

    def __init__(self, settings: LLMSettings, budget: Budget, usage: Usage) -> None:
        self._settings = settings
        self._budget = budget
        self._usage = usage
        self._stopped = asyncio.Event()
        self._not_before = 0.0

    async def __aenter__(self) -> Self:
        try:
            import openai
        except ModuleNotFoundError:
            raise LLMError("the package openai is missing: install journeys_dagster[llm]") from None
        # They would log addresses at INFO, and user text at DEBUG.
        for name in ("openai", "httpx", "httpx2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        settings = self._settings
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            # Servers on one's own machine need none, and the SDK wants one.
            api_key=os.environ.get(settings.api_key_variable, "").strip() or "none",
            max_retries=0,
            timeout=settings.timeout_seconds,
            # User text goes to the endpoint that was set, and nowhere else.
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    @property
    def stopped(self) -> str:
        """Why nothing more is sent; empty while things are sent."""
        return self._usage.stopped if self._stopped.is_set() else ""

    def stop(self, reason: str) -> None:
        """Send nothing more; who waits for another attempt is woken."""
        if not self._stopped.is_set():
            self._usage.stopped = reason
            self._stopped.set()

    async def ask(self, request: Request) -> Reply:
        """Send a request, again with growing waits after no answer, a server's error or too many requests.

        Raises
        ------
        NoReplyError
            This input got none.
        StoppedError
            The budget is reached or the endpoint is out of order.
        """
        settings = self._settings
        fault = ""
        for attempt in range(settings.retries + 1):
            await self._wait_for_turn()
            self._usage.retries += attempt > 0
            reply, fault, wait = await self._attempt(request)
            if reply is not None:
                return reply
            if attempt < settings.retries:
                await self._pause(wait or self._growing_wait(attempt))
        raise NoReplyError(f"{fault} after {settings.retries + 1} attempts")

    async def _attempt(self, request: Request) -> tuple[Reply | None, str, float]:
        """One attempt: a reply, or why there is none and for how long the endpoint asked to wait."""
        import openai

        most = (request.most_prompt_tokens, self._settings.max_output_tokens)
        if limit := await self._budget.reserve(*most):
            self.stop(limit)
            raise StoppedError(limit)
        # What is not known counts as the most it can be.
        taken = most
        self._usage.calls += 1
        try:
            began = time.monotonic()
            # The SDK's timeout is one of silence; an endpoint that drips would pass it for ever.
            async with asyncio.timeout(self._settings.timeout_seconds):
                text = await self._send(request)
            completion = _Completion.model_validate_json(text)
            used = completion.usage
            if used is not None:
                taken = (used.prompt_tokens, used.completion_tokens)
            reply = _reply(completion, *taken, seconds=time.monotonic() - began)
        except openai.APIStatusError as error:
            taken = (0, 0)
            return None, f"HTTP {error.status_code}", self._after_status(error)
        except (TimeoutError, openai.APITimeoutError):
            return None, "no answer in time", 0.0
        except openai.APIConnectionError:
            return None, "no connection, or one that broke off", 0.0
        except (ValidationError, IndexError):
            return None, "a reply that is no chat completion", 0.0
        else:
            return reply, "", 0.0
        finally:
            self._budget.settle(most, taken)
            self._usage.prompt_tokens += taken[0]
            self._usage.completion_tokens += taken[1]
            self._usage.cost += self._budget.cost_of(*taken)

    async def _send(self, request: Request) -> str:
        body = dict(request.body)
        response = await self._client.chat.completions.with_raw_response.create(
            model=self._settings.model,
            messages=list(request.messages),  # type: ignore[arg-type]
            extra_body=body,
        )
        return response.text

    def _after_status(self, error: "APIStatusError") -> float:
        """How long the endpoint asks to wait; an error that another attempt will not mend is raised."""
        status = error.status_code
        if status in _OUT_OF_ORDER:
            reason = (
                f"the endpoint said HTTP {status}: look at llm.base_url, llm.model and the key in "
                f"{self._settings.api_key_variable}"
            )
            self.stop(reason)
            raise StoppedError(reason)
        if status < 500 and status not in _WORTH_ANOTHER_ATTEMPT:
            raise NoReplyError(f"HTTP {status}")
        wait = asked_wait(error.response.headers)
        if wait > self._settings.max_wait_seconds:
            reason = f"the endpoint asked to wait for {wait:,.0f} s, longer than llm.max_wait_seconds"
            self.stop(reason)
            raise StoppedError(reason)
        if wait:
            # It means everyone who asks, not this request.
            self._not_before = max(self._not_before, time.monotonic() + wait)
        return wait

    def _growing_wait(self, attempt: int) -> float:
        longest = min(self._settings.max_wait_seconds, self._settings.first_wait_seconds * 2**attempt)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads requests, guards nothing

    async def _wait_for_turn(self) -> None:
        while (wait := self._not_before - time.monotonic()) > 0:
            # A little later for each, so that they do not all come back at once.
            await self._pause(wait + random.uniform(0, self._settings.first_wait_seconds))  # noqa: S311
        self._raise_if_stopped()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self.stopped:
            raise StoppedError(self.stopped)


def asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or a date; 0 without."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    try:
        when = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return 0.0
    zoned = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((zoned - datetime.now(UTC)).total_seconds(), 0.0)


def _reply(completion: _Completion, prompt_tokens: int, completion_tokens: int, *, seconds: float) -> Reply:
    choice = completion.choices[0]
    return Reply(
        text=choice.message.content or "",
        refused=bool(choice.message.refusal) or choice.finish_reason == "content_filter",
        cut_off=choice.finish_reason == "length",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        seconds=seconds,
    )
