"""How much a run may use: reserved before a request is sent, settled when it is known what it took."""

import asyncio

from journeys_dagster.settings.language_model import LLMSettings


class Budget:
    """Tokens and money of one run, over all that ask a model in it.

    A request is sent only if the most it can take still fits, so the budget is reached and never passed, as long as
    the endpoint keeps to `llm.max_output_tokens`. Usage that the endpoint does not report counts as that maximum.
    """

    def __init__(self, settings: LLMSettings) -> None:
        self._settings = settings
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._reserved = (0, 0)
        self._settled: asyncio.Event | None = None

    @property
    def cost(self) -> float:
        """Money spent."""
        return self.cost_of(self.prompt_tokens, self.completion_tokens)

    def cost_of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Money for so many tokens."""
        settings = self._settings
        return (prompt_tokens * settings.input_price + completion_tokens * settings.output_price) / 1e6

    async def reserve(self, prompt_tokens: int, completion_tokens: int) -> str:
        """Reserve what a request can take at most, waiting for others to be settled where that may make room.

        Returns
        -------
        str
            Why it does not fit; empty where it does.
        """
        while True:
            if limit := self._limit_passed(prompt_tokens, completion_tokens):
                return limit
            reserved = (self._reserved[0] + prompt_tokens, self._reserved[1] + completion_tokens)
            if not self._limit_passed(*reserved):
                self._reserved = reserved
                return ""
            if self._settled is None or self._settled.is_set():
                self._settled = asyncio.Event()
            await self._settled.wait()

    def settle(self, reserved: tuple[int, int], taken: tuple[int, int]) -> None:
        """Give a reservation back and book what was taken."""
        self._reserved = (self._reserved[0] - reserved[0], self._reserved[1] - reserved[1])
        self.prompt_tokens += taken[0]
        self.completion_tokens += taken[1]
        if self._settled is not None:
            self._settled.set()

    def _limit_passed(self, prompt_tokens: int, completion_tokens: int) -> str:
        settings = self._settings
        tokens = (self.prompt_tokens + prompt_tokens, self.completion_tokens + completion_tokens)
        if 0 < settings.max_tokens_per_run < sum(tokens):
            return f"the budget of {settings.max_tokens_per_run:,} tokens (llm.max_tokens_per_run) is reached"
        if 0 < settings.max_cost_per_run < self.cost_of(*tokens):
            return f"the budget of {settings.max_cost_per_run:g} (llm.max_cost_per_run) is reached"
        return ""
