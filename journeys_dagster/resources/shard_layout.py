"""Where the shards of a home lie, for whoever looks a user up; imports nothing that takes time.

The layout that counts is in the driver's warehouse. Beside the shards lies a copy, so that nobody who reads lists has
to wait for a run that has the warehouse.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from journeys_dagster.sources.routing import shard_of

SHARDS_FOLDER = "shards"
_COPY = "layout.json"


@dataclass(frozen=True)
class ShardLayout:
    """Where shards lie.

    Attributes
    ----------
    folder : Path
        Of this generation of shards.
    count : int
    """

    folder: Path
    count: int

    def path(self, shard: int) -> Path:
        """The warehouse of a shard."""
        return self.folder / f"{shard:03}" / "warehouse.duckdb"

    def path_of(self, user_id: str) -> Path:
        """The warehouse of a user's shard."""
        return self.path(shard_of(user_id, self.count))

    @property
    def paths(self) -> list[Path]:
        """The warehouses of all shards."""
        return [self.path(shard) for shard in range(self.count)]


def layout_at(home: Path, count: int, generation: int) -> ShardLayout:
    """Where a generation of shards lies."""
    return ShardLayout(home.resolve() / SHARDS_FOLDER / f"{generation}", count)


def write_copy(home: Path, count: int, generation: int) -> None:
    """Leave a copy of the layout for readers; with one shard there is none."""
    copy = home / SHARDS_FOLDER / _COPY
    if count == 1:
        copy.unlink(missing_ok=True)
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    new = copy.with_suffix(".new")
    new.write_text(json.dumps({"shards": count, "generation": generation}), encoding="utf-8")
    new.replace(copy)


def read_copy(home: Path) -> ShardLayout | None:
    """The layout of a home; none where users are not split."""
    try:
        found = json.loads((home / SHARDS_FOLDER / _COPY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return layout_at(home, found["shards"], found["generation"])
