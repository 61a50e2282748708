"""Shards: batches of users' frames as Parquet files on any storage, and what a worker of a cluster does with one.

A worker sees files and settings, never the warehouse. It renames its result at every attempt, so that a worker that
was given up on, and lives, writes beside what is being read.
"""

import functools
import platform
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.inference.fingerprint import installed
from journeys_dagster.inference.frames import Frames

_PREFIX = "journeys-shards-"
_DECISIVE_PACKAGES = ("numba", "numpy", "polars", "scipy", "tokenizers", "torch", "xgboost")


class ShardError(JourneysError, RuntimeError, carries_user_text=False):
    """A shard that this worker cannot compute; the message says why and what to do."""


@dataclass(frozen=True)
class ShardFolder:
    """A folder of shards.

    Attributes
    ----------
    url : str
        A path, or a URL of any scheme that fsspec knows; credentials are the environment's.
    """

    url: str

    @classmethod
    def made_in(cls, storage: str) -> "ShardFolder":
        """A new folder in a storage; what killed runs have left there is removed."""
        filesystem, root = _filesystem(storage)
        filesystem.makedirs(root, exist_ok=True)
        for left in filesystem.ls(root, detail=False):
            if left.rstrip("/").rsplit("/", 1)[-1].startswith(_PREFIX):
                filesystem.rm(left, recursive=True)
        return cls(f"{storage.rstrip('/')}/{_PREFIX}{uuid4().hex}")

    def write(self, name: str, frame: pl.DataFrame) -> int:
        """Write a frame; returns the bytes it takes."""
        filesystem, path = _filesystem(f"{self.url}/{name}.parquet")
        filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with filesystem.open(path, "wb") as file:
            frame.write_parquet(file)
            return file.tell()

    def read(self, name: str) -> pl.DataFrame:
        """Read a frame."""
        filesystem, path = _filesystem(f"{self.url}/{name}.parquet")
        with filesystem.open(path, "rb") as file:
            return pl.read_parquet(file)

    def remove(self) -> None:
        """Remove all shards, if any."""
        filesystem, path = _filesystem(self.url)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    # Another process writes here too.
    return url_to_fs(url, use_listings_cache=False)


def write_shard(folder: ShardFolder, number: int, frames: Frames) -> dict[str, Any]:
    """Write a batch's frames; returns the task that `compute_shard` takes."""
    written = sum(folder.write(f"{number:06}/{name}", frame) for name, frame in frames.items())
    return {"shard": number, "frames": list(frames), "bytes": written}


def compute_shard(
    task: Mapping[str, Any],
    *,
    folder: ShardFolder,
    compute: Callable[[Frames], pl.DataFrame],
    expected: Mapping[str, str],
) -> dict[str, Any]:
    """Compute one shard on a worker.

    Parameters
    ----------
    task : mapping
        From `write_shard`.
    compute : callable
        Pure: frames by name to rows.
    expected : mapping
        What `decisive_versions` is where the run was started.

    Returns
    -------
    dict
        ``shard``, its number, and ``rows``, the name of the result in the folder.

    Raises
    ------
    ShardError
        This worker has other code than the run, which might give other journeys.
    """
    own = decisive_versions()
    if own != expected:
        wrong = {name: wanted for name, wanted in expected.items() if own.get(name) != wanted}
        differing = ", ".join(f"{name} {own.get(name)} instead of {wanted}" for name, wanted in wrong.items())
        raise ShardError(
            f"worker {socket.gethostname()} has {differing}: install there what the run is started with, or its rows "
            "might differ"
        )
    number = int(task["shard"])
    rows = f"{number:06}/rows-{uuid4().hex}"
    folder.write(rows, compute({name: folder.read(f"{number:06}/{name}") for name in task["frames"]}))
    return {"shard": number, "rows": rows}


@functools.cache
def decisive_versions() -> Mapping[str, str]:
    """Versions of what rows depend on: Python, packages, and this project's computing code."""
    code = installed().version("journeys_dagster.inference", "journeys_dagster.settings")
    versions: Iterable[tuple[str, str]] = ((name, version(name)) for name in _DECISIVE_PACKAGES)
    return {"python": platform.python_version(), "journeys_dagster": code, **dict(versions)}
