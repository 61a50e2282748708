"""Where the heavy steps compute: in the run's own process, or on the workers of a Ray cluster."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol

import polars as pl

from journeys_dagster.inference.steps import Frames
from journeys_dagster.resources.ray_engine import RayEngine
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

SHARDS = "shards"


class Engine(Protocol):
    """What computes batches of users."""

    def map(
        self, compute: Callable[[Frames], pl.DataFrame], batches: Iterable[Frames]
    ) -> Generator[pl.DataFrame, None, None]:
        """The result of each batch, in order. The rows are the same, bit for bit, with every engine.

        Parameters
        ----------
        compute : callable
            Pure, and importable by a worker.
        batches : iterable of mappings of str to DataFrame
            Taken one by one, so that no more than a few are held in memory.

        Close the generator where not all of it is taken.
        """
        ...


class LocalEngine:
    """Batch after batch in this process."""

    def map(
        self, compute: Callable[[Frames], pl.DataFrame], batches: Iterable[Frames]
    ) -> Generator[pl.DataFrame, None, None]:
        """As `Engine.map`."""
        for frames in batches:
            yield compute(frames)


def engine_in_use(settings: Settings, warehouse: Warehouse) -> Engine:
    """The engine that is set; shards lie beside the warehouse where no other storage is set."""
    if settings.run.engine == "local":
        return LocalEngine()
    ray = settings.ray
    return RayEngine(
        address=ray.address,
        storage=ray.storage or str(warehouse.path.parent / SHARDS),
        cpus_per_shard=ray.cpus_per_shard,
    )
