"""The language model: which endpoint, what may be sent to it, what for, and how much it may cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from journeys_dagster.settings.operation import OperationSection
from journeys_dagster.settings.section import Count, Positive

OptionName = Annotated[str, Field(pattern=r"^[a-z_]+$")]
Amount = Annotated[float, Field(ge=0)]
USES = ("names", "journeys", "judge", "expansions", "safety")
"""What a model can be used for, by the setting that turns it on."""


class LLMSettings(OperationSection):
    """A language model behind an OpenAI-compatible endpoint. Off until an endpoint, a model and a use are set."""

    base_url: Annotated[str, Field(pattern=r"^(https?://[^\s@]+)?$")] = Field(
        "", description="Where the endpoint is, such as http://localhost:8000/v1. Empty: there is no language model."
    )
    model: str = Field("", description="Name of the model there. With its prompts part of algorithm_version once used.")
    send_user_text: bool = Field(
        False,
        description="Whether keywords of users may be sent to the endpoint; e-mail addresses, phone and other long "
        "numbers are masked first. Nothing is sent without.",
    )
    names: bool = Field(False, description="Whether the model names journeys; otherwise the best keyword does.")
    journeys: bool = Field(
        False, description="Whether the model infers whole lists of journeys too, into llm_journeys, to compare."
    )
    judge: bool = Field(
        False,
        description="Whether the model judges the lists of sampled users; otherwise the evidence judge does.",
    )
    expansions: bool = Field(
        False,
        description="Whether the model adds related journeys, one call per distinct journey that several users have.",
    )
    safety: bool = Field(
        False,
        description="Whether the model checks names too. It can only make an outcome stricter; a name that it was to "
        "check and gave no verdict on is not listed.",
    )
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        "JOURNEYS_LLM_KEY", description="Environment variable that holds the endpoint's key, a secret; may be unset."
    )
    structured_output: Literal["json_schema", "json_schema_without_limits", "json_object", "none"] = Field(
        "json_schema",
        description="How the answer's form is asked for: by the whole schema; without lengths and ranges; as any JSON "
        "object; in the prompt alone. Answers are checked in any case.",
    )
    max_output_tokens: Annotated[int, Field(ge=16, le=100_000)] = Field(
        1_000, description="Longest answer in tokens; a longer one is invalid."
    )
    max_output_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls that limit."
    )
    request_options: dict[OptionName, bool | int | float | str] = Field(
        default={"temperature": 0.0}, description="Further fields of each request."
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = Field(8, description="Requests at a time.")
    timeout_seconds: Positive = Field(60.0, description="Seconds to wait for one answer.")
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        5, description="Further attempts after no answer, a server's error or too many requests."
    )
    first_wait_seconds: Positive = Field(
        0.5, description="Seconds before the first of them, doubled each time, by chance a half to the whole of it."
    )
    max_wait_seconds: Positive = Field(
        120.0, description="Longest wait between attempts; an endpoint that asks for a longer one is left alone."
    )
    give_up_after: Count = Field(20, description="Inputs in a row without an answer after which no more are sent.")
    max_tokens_per_run: Annotated[int, Field(ge=0)] = Field(
        2_000_000, description="Tokens, read and written, that a run may use; 0: no limit."
    )
    max_cost_per_run: Amount = Field(
        0.0, description="Money that a run may cost, in the currency of prices; 0: no limit."
    )
    input_price: Amount = Field(0.0, description="Price of a million tokens read.")
    output_price: Amount = Field(0.0, description="Price of a million tokens written.")
    answers_per_write: Count = Field(
        100, description="Answers written to the cache at once; a killed run loses fewer than that."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        used = [use for use in USES if getattr(self, use)]
        missing = [name for name in ("base_url", "model", "send_user_text") if not getattr(self, name)]
        if used and missing:
            raise ValueError(f"{' and '.join(used)} need {', '.join(missing)} to be set too")
        if self.base_url and self.max_cost_per_run and not (self.input_price or self.output_price):
            raise ValueError("max_cost_per_run needs input_price or output_price")
        return self

    @property
    def is_set(self) -> bool:
        """Whether there is an endpoint that keywords may be sent to."""
        return bool(self.base_url and self.model and self.send_user_text)
