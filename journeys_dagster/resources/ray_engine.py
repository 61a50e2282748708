"""Computing batches of users on a Ray cluster: shards out, one task each, results back in order.

The warehouse is this process's alone: workers read and write Parquet files. What goes through Ray's object store is the
numbers of shards, so its size does not matter.
"""

import functools
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.inference.frames import Frames
from journeys_dagster.inference.shards import ShardFolder, compute_shard, decisive_versions, write_shard

ADDRESS_VARIABLE = "RAY_ADDRESS"
# Ray reads these when it is imported, once. By default it reports usage.
_SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}
# A cluster of one machine: no other one joins, so everything listens on the loopback address, on every system.
_OF_THIS_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
# Results and inputs are files; what is left are numbers and names.
_LOCAL_OBJECT_STORE_BYTES = 100 * 1024 * 1024


class RayEngineError(JourneysError, RuntimeError, carries_user_text=True):
    """Ray cannot be used, or a shard failed; the message says why and what to do."""


@dataclass(frozen=True)
class RayEngine:
    """Each batch is a shard, and each shard a task of Ray Data, which runs it again where its worker is lost.

    Attributes
    ----------
    address : str or None
        The cluster. Default: ``RAY_ADDRESS``, else a cluster of this machine is started, and lives as long as this
        process.
    storage : str
        Folder or URL of shards, which all workers reach; of one installation, whose runs take turns.
    cpus_per_shard : int
    """

    address: str | None
    storage: str
    cpus_per_shard: int

    def map(
        self, compute: Callable[[Frames], pl.DataFrame], batches: Iterable[Frames]
    ) -> Generator[pl.DataFrame, None, None]:
        """As `Engine.map`.

        Raises
        ------
        RayEngineError
            Ray is not installed, the cluster cannot be reached or is too small, or a shard failed.
        """
        connect(self.address, cpus_per_shard=self.cpus_per_shard)
        folder = ShardFolder.made_in(self.storage)
        try:
            tasks = [write_shard(folder, number, frames) for number, frames in enumerate(batches)]
            work = functools.partial(compute_shard, folder=folder, compute=compute, expected=decisive_versions())
            finished: dict[int, str] = {}
            wanted = 0
            for result in self._results(work, tasks):
                finished[result["shard"]] = result["rows"]
                while wanted in finished:
                    yield folder.read(finished.pop(wanted))
                    wanted += 1
        finally:
            folder.remove()

    def _results(
        self, work: Callable[[Mapping[str, Any]], dict[str, Any]], tasks: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """What the tasks return, as they end."""
        import ray.data
        from ray.exceptions import RayError

        if not tasks:
            return
        # No progress bars and no news: runs have their own log, and what goes wrong is raised.
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # One block a task: shards are what is lost and run again, and what the workers share.
        dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(work, num_cpus=self.cpus_per_shard)
        try:
            yield from dataset.iter_rows()
        except RayError as error:
            raise RayEngineError(
                f"a shard of {self.storage} failed on the cluster: {_cause(error)}. What was written before is there "
                "as a whole; mend the cause and run again."
            ) from error


def connect(address: str | None, *, cpus_per_shard: int) -> None:
    """Connect this process to the cluster, once; a cluster that is started here ends with the process.

    Raises
    ------
    RayEngineError
        Ray is not installed, the cluster cannot be reached, or no node of it has so many CPUs.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE) or None
    own = address is None and "ray" not in sys.modules
    for name, value in (_SILENT | _OF_THIS_MACHINE | _token() if own else _SILENT).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise RayEngineError(
            "run.engine is ray, which is not installed: pip install 'journeys_dagster[ray]', or set it to local"
        ) from None
    if not ray.is_initialized():
        threads = str(cpus_per_shard)
        environment = {
            f"{library}_THREADS": threads for library in ("POLARS_MAX", "NUMBA_NUM", "OMP_NUM", "OPENBLAS_NUM")
        }
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.WARNING,
            "runtime_env": {"env_vars": environment},
        }
        if address is None:
            options |= {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
        try:
            with _own_sigterm_handler():
                ray.init(address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RayEngineError(
                f"Ray cannot be reached at {address or 'a cluster of this machine'}: {error}. Set ray.address or "
                f"{ADDRESS_VARIABLE} to a cluster that runs, or leave both out to start one here."
            ) from error
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if most < cpus_per_shard:
        raise RayEngineError(
            f"no node of the Ray cluster has {cpus_per_shard} CPUs, the largest has {most:g}: lower ray.cpus_per_shard"
        )


def _token() -> dict[str, str]:
    """A token for a cluster that only this process knows, so that other users of the machine cannot run code in it."""
    return {} if "RAY_AUTH_TOKEN_PATH" in os.environ else {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep this process's way of ending: Ray would put its own in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _cause(error: Exception) -> str:
    """The first error on the worker: Ray hands it over as text, a traceback that ends in the message."""
    first = str(error).split("\n\nThe above exception", maxsplit=1)[0].splitlines()
    frames = [number for number, line in enumerate(first) if line.startswith("  ")]
    return " ".join(line.strip() for line in first[max(frames, default=-1) + 1 :])
