"""The language model as a resource of runs, and the warehouse as the cache of its answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import dagster as dg
import polars as pl

from journeys_dagster.llm.answers import CachedAnswer
from journeys_dagster.llm.budget import Budget
from journeys_dagster.llm.client import LLM
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings.language_model import LLMSettings
from journeys_dagster.tables import Table, bigint, double, integer, text, timestamp

LLM_ANSWERS = Table(
    name="llm_answers",
    kind="kept",
    description="What language models answered, so that nothing is asked twice. It holds no input. Rows may be deleted "
    "to have their inputs asked again.",
    grain="one row per model, prompt version and input",
    columns={
        "key": text("hash of model, prompt version and masked input"),
        "model": text("name of the model at the endpoint"),
        "prompt": text("name of the prompt's file"),
        "prompt_version": text("fingerprint of prompt, schema and request options"),
        "answer": text("checked answer, as JSON", nullable=True),
        "fault": text("why there is none: refused, or invalid twice", nullable=True),
        "calls": integer("replies it took: 2 where the first was invalid"),
        "prompt_tokens": bigint("tokens read"),
        "completion_tokens": bigint("tokens written"),
        "latency_seconds": double("seconds until the replies had come"),
        "answered_at": timestamp("when, UTC"),
    },
    key=("key",),
)


class WarehouseCache:
    """The table `llm_answers` as a cache."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def read(self, keys: Sequence[str]) -> Mapping[str, CachedAnswer]:
        """The answers there are, by key."""
        if not self._warehouse.has_table(LLM_ANSWERS.name):
            return {}
        rows = self._warehouse.query(
            f"from {LLM_ANSWERS.name} where key in (select unnest($keys::varchar[]))", {"keys": list(keys)}
        )
        return {row["key"]: CachedAnswer(**row) for row in rows.iter_rows(named=True)}

    def write(self, answers: Sequence[CachedAnswer]) -> None:
        """Keep answers in one transaction; of a key that is there already, the first answer stays."""
        with self._warehouse.write() as connection:
            connection.execute(LLM_ANSWERS.create_sql())
            schema = connection.sql(f"from {LLM_ANSWERS.name} limit 0").pl().schema
            connection.register("new_rows", pl.DataFrame([asdict(answer) for answer in answers], schema=schema))
            connection.execute(
                f"insert into {LLM_ANSWERS.name} by name "
                f"select * from new_rows where key not in (select key from {LLM_ANSWERS.name})"
            )
            connection.unregister("new_rows")


def llm_resource(settings: LLMSettings) -> dg.ResourceDefinition:
    """The resource, a new one for each run: it makes clients, so that each asset shows what it took by itself."""

    @dg.resource(
        required_resource_keys={"warehouse"},
        description="The language model of the settings, for one run: all of its assets share the run's budget.",
    )
    def _llm(context: dg.InitResourceContext) -> Callable[[], LLM]:
        return partial(LLM, settings, cache=WarehouseCache(context.resources.warehouse), budget=Budget(settings))

    return _llm
