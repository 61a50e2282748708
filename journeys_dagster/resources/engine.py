"""Where the heavy steps compute, in this process or on the workers of a Ray cluster, and reading ahead of them."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import polars as pl

from journeys_dagster.inference.frames import Frames
from journeys_dagster.resources.ray_engine import RayEngine
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings

SHARDS = "shards"
_Item = TypeVar("_Item")
_END = object()


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


@dataclass(frozen=True)
class LocalEngine:
    """In this process.

    Attributes
    ----------
    side_by_side : int
        Batches that are computed at a time. One is enough of what keeps all cores busy by itself.
    """

    side_by_side: int = 1

    def map(
        self, compute: Callable[[Frames], pl.DataFrame], batches: Iterable[Frames]
    ) -> Generator[pl.DataFrame, None, None]:
        """As `Engine.map`."""
        with ThreadPoolExecutor(self.side_by_side, thread_name_prefix="batch") as threads:
            computed: deque[Future[pl.DataFrame]] = deque()
            for frames in batches:
                computed.append(threads.submit(compute, frames))
                if len(computed) == self.side_by_side:
                    yield computed.popleft().result()
            while computed:
                yield computed.popleft().result()


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


def one_ahead(items: Iterable[_Item]) -> Generator[_Item, None, None]:
    """The same items in the same order, each made in a thread of its own while the one before it is used.

    Where making an item raises, the items before it come first. At most two items are held: the present one and the
    next. Close the generator where not all of it is taken; it waits for the item that is being made, and closes
    `items` if these are a generator.

    Parameters
    ----------
    items : iterable
        Taken in one thread only, but not in the caller's.
    """
    iterator = iter(items)
    try:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="one-ahead") as thread:
            following = thread.submit(next, iterator, _END)
            while (item := following.result()) is not _END:
                following = thread.submit(next, iterator, _END)
                yield item  # type: ignore[misc]
    finally:
        if isinstance(iterator, Generator):
            iterator.close()
