"""What comes back: an outcome for each input, what it took, and the cache that keeps answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel

from journeys_dagster.errors import JourneysError

Answer = TypeVar("Answer", bound=BaseModel)


class LLMError(JourneysError, RuntimeError, carries_user_text=False):
    """The language model is not set up, or its package is missing; the message names the setting."""


@dataclass(frozen=True)
class Outcome(Generic[Answer]):
    """What became of one input.

    Attributes
    ----------
    answer : Answer or None
        What the model said, checked.
    fault : str
        Why there is none; names no user text.
    from_cache : bool
        Whether it had been asked before.
    is_left : bool
        Whether it was not asked, or not to the end: the budget was reached, or the endpoint is out of order.
    """

    answer: Answer | None
    fault: str = ""
    from_cache: bool = False
    is_left: bool = False


@dataclass(frozen=True)
class CachedAnswer:
    """A row of the cache: the model's last word on one input.

    Attributes
    ----------
    key : str
        Hash of model, prompt version and input.
    answer : str or None
        Checked JSON.
    fault : str or None
        Why there is none: the model refused, or its answer was invalid twice.
    """

    key: str
    model: str
    prompt: str
    prompt_version: str
    answer: str | None
    fault: str | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    answered_at: datetime


class ResponseCache(Protocol):
    """Where answers are kept between runs."""

    def read(self, keys: Sequence[str]) -> Mapping[str, CachedAnswer]:
        """The answers there are, by key."""
        ...

    def write(self, answers: Sequence[CachedAnswer]) -> None:
        """Keep answers, all or none of them; of a key that is there already, the first answer stays."""
        ...


@dataclass
class Usage:
    """What a client did, summed up.

    Attributes
    ----------
    inputs, answered, failed, left : int
        Inputs given; with an answer; that failed alone; that are left for another run.
    cache_hits : int
        Inputs whose outcome was known before, or that equal an earlier one.
    calls : int
        Requests sent, attempts and repairs among them.
    retries, repairs : int
        Attempts after the first; requests to put an invalid answer right.
    cost : float
        In the currency of the prices.
    stopped : str
        Why inputs are left; empty where none is.
    """

    inputs: int = 0
    answered: int = 0
    failed: int = 0
    left: int = 0
    cache_hits: int = 0
    calls: int = 0
    retries: int = 0
    repairs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    stopped: str = ""
    latencies: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Plain figures by name, for the UI and for JSON; latencies as quantiles, in seconds."""
        median, high = np.quantile(self.latencies, [0.5, 0.95]) if self.latencies else (0.0, 0.0)
        plain = {name: value for name, value in vars(self).items() if name not in {"latencies", "faults", "stopped"}}
        named = {f"llm_{name}": value for name, value in plain.items()}
        named |= {"llm_latency_p50": float(median), "llm_latency_p95": float(high)}
        said = {"llm_stopped": self.stopped, "llm_faults": "; ".join(self.faults_by_count())}
        return named | {name: text for name, text in said.items() if text}

    def faults_by_count(self) -> list[str]:
        """What inputs failed by, the most frequent first."""
        ordered = sorted(self.faults.items(), key=lambda fault: (-fault[1], fault[0]))
        return [f"{count:,} × {fault}" for fault, count in ordered]
