"""Decisions handed to a sender: a file with a manifest, whole or not at all, each decision in one export and no other.

An export is written under a hidden name and put on disk; then the log of sends has it, in one transaction; then it gets
its name. One that was killed before the log had it was none, and its decisions are exported again. One that was killed
after gets its name from the next export. So nothing is in two exports, and nothing in none.
"""

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import polars as pl

from journeys_dagster.notification.sends import NOTIFICATION_SENDS, SEND_ID
from journeys_dagster.resources.disk import flush_to_disk
from journeys_dagster.resources.export import MANIFEST, ExportError
from journeys_dagster.resources.file_lock import LockTimeoutError, file_lock
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.sources.writer import SUCCESS

Format = Literal["parquet", "ndjson"]

_HIDDEN, _SUFFIXES = ".sending-", {".parquet", ".ndjson"}
_LOCK = "export-notifications.lock"
_DECISIONS = "notification_decisions"
_EXPORTED = (
    *("send_id", "day", "utc_hour", "local_hour", "user_id", "channel", "journey_id", "name"),
    *("lead_kind", "lead", "as_of"),
)
"""What the file has; the log of sends has more."""
_NEWEST = f"select max(as_of) as day from {_DECISIONS}"
# What was decided anew of a day that a user's notifications were exported of is not sent on top. Nor is what a later
# decision did not count.
_UNSENT = f"""
    select
        {SEND_ID} as send_id, as_of, cast(as_of + 1 as date) as day, user_id, place, journey_id, name,
        list_transform(keywords, lambda each: each.keyword) as keywords,
        list_transform(keywords, lambda each: each.shown) as shown,
        channel, utc_hour, local_hour, lead_kind, lead, reason, decided.score, scored_by, propensity, features
    from {_DECISIONS} as decided
    join user_journeys using (as_of, user_id, journey_id)
    where as_of = $as_of and is_sent
        and user_id not in (select user_id from {NOTIFICATION_SENDS.name} where as_of >= $as_of)
        and user_id not in (select user_id from {_DECISIONS} where as_of > $as_of)
    order by user_id, place
"""
_WAITING = f"""
    select count(*) as decisions from {_DECISIONS} as decided
    where as_of = $as_of and is_sent and {SEND_ID} not in (select send_id from {NOTIFICATION_SENDS.name})
"""
_EXPORTS = f"select distinct export from {NOTIFICATION_SENDS.name}"


@dataclass(frozen=True)
class SendExport:
    """What an export came to.

    Attributes
    ----------
    path : Path or None
        Folder or file; none where everything had been exported before.
    manifest : dict
        What the manifest holds.
    finished : list of Path
        Exports that had been killed and now have their name.
    """

    path: Path | None
    manifest: dict[str, Any]
    finished: list[Path]


def export_sends(
    warehouse: Warehouse, to: Path, *, as_of: date | None = None, format: Format = "parquet"
) -> SendExport:
    """Write the decisions of a day that were not exported yet, and log them as sent.

    Parameters
    ----------
    to : Path
        A folder, in which each export is a new folder; or a file that is not there yet, ``….parquet`` or ``….ndjson``.
    as_of : date, optional
        Day of the decisions. Default: the newest.
    format : {'parquet', 'ndjson'}
        Of the file in a folder.

    Raises
    ------
    ExportError
        There are no decisions, the file is there already, or cannot be written.
    """
    to = to.resolve()
    is_file = to.suffix in _SUFFIXES
    if not warehouse.has_table(_DECISIONS):
        raise ExportError(
            f"warehouse {warehouse.path} has no decisions to export: set notifications.enabled and use `journeys run` "
            "first"
        )
    with (
        _named(to),
        file_lock(warehouse.path.parent / _LOCK, shared=False, timeout_seconds=warehouse.lock_timeout_seconds),
    ):
        warehouse.create_missing([NOTIFICATION_SENDS])
        finished = finish_killed(warehouse)
        as_of = as_of or warehouse.query(_NEWEST)["day"][0]
        if as_of is None:
            raise ExportError(f"warehouse {warehouse.path} has no decisions to export yet: use `journeys run` first")
        if is_file and to.exists():
            raise ExportError(f"export to {to} failed: the file is there already; give another name")
        (to.parent if is_file else to).mkdir(parents=True, exist_ok=True)
        rows = warehouse.query(_UNSENT, {"as_of": as_of})
        made_at = datetime.now(UTC)
        target = to if is_file else to / f"notifications_as_of_{as_of}_{made_at:%Y%m%dT%H%M%S%fZ}"
        file = target.suffix[1:] if is_file else format
        manifest = {
            "as_of": as_of.isoformat(),
            "day": (as_of + timedelta(days=1)).isoformat(),
            "made_at": made_at.isoformat(timespec="seconds"),
            "journeys_dagster": version("journeys_dagster"),
            "rows": rows.height,
            "rows_left_out": int(warehouse.query(_WAITING, {"as_of": as_of})["decisions"][0]) - rows.height,
            "key": "send_id",
        }
        if rows.is_empty():
            return SendExport(None, manifest, finished)
        mark = _mark(warehouse)
        # Of exports that were killed before the log had them; the others have their name now.
        _remove(target.parent.glob(f"{_HIDDEN}{mark}-*"))
        manifest |= _write(rows, target, manifest, file, mark)
        _log(
            warehouse,
            rows.drop("shown").with_columns(
                export=pl.lit(str(target)), exported_at=pl.lit(made_at.replace(tzinfo=None))
            ),
        )
        _give_name(target)
    return SendExport(target, manifest, finished)


def finish_killed(warehouse: Warehouse) -> list[Path]:
    """Give exports their name that are in the log and were killed before they had it."""
    exports = map(Path, warehouse.query(_EXPORTS)["export"])
    return [target for target in sorted(exports) if _give_name(target)]


def _mark(warehouse: Warehouse) -> str:
    """What tells the unfinished exports of one home from those of others to the same folder."""
    return hashlib.sha256(str(warehouse.path).encode()).hexdigest()[:8]


def _parts(target: Path) -> tuple[Path, ...]:
    """What an export consists of, the last one last to be there: a folder, or a manifest and its file."""
    return (target.with_name(f"{target.name}.{MANIFEST}"), target) if target.suffix in _SUFFIXES else (target,)


def _hidden(path: Path, mark: str) -> Path:
    return path.with_name(f"{_HIDDEN}{mark}-{path.name}")


def _give_name(target: Path) -> bool:
    is_given = False
    for part in _parts(target):
        for hidden in part.parent.glob(f"{_HIDDEN}????????-{glob.escape(part.name)}"):
            hidden.rename(part)
            is_given = True
    if is_given:
        flush_to_disk(target.parent)
    return is_given


def _write(rows: pl.DataFrame, target: Path, manifest: dict[str, Any], file: str, mark: str) -> dict[str, Any]:
    """Put an export on disk under its hidden name."""
    first, *_ = hidden = [_hidden(part, mark) for part in _parts(target)]
    is_file = len(hidden) > 1
    path, told = (hidden[1], first) if is_file else (first / f"notifications.{file}", first / MANIFEST)
    try:
        path.parent.mkdir(exist_ok=True)
        exported = rows.select(*_EXPORTED, keywords="shown")
        if file == "parquet":
            exported.write_parquet(path)
        else:
            exported.write_ndjson(path)
        with path.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        described = {
            "file": target.name if is_file else path.name,
            "bytes": path.stat().st_size,
            "sha256": digest,
            "columns": {name: str(kind) for name, kind in exported.schema.items()},
        }
        told.write_text(json.dumps({**manifest, **described}, indent=2) + "\n", encoding="utf-8")
        done = [path, told]
        if not is_file:
            (first / SUCCESS).touch()
            done += [first / SUCCESS, first]
        for each in (*done, target.parent):
            flush_to_disk(each)
    except BaseException:
        _remove(hidden)
        raise
    return described


def _log(warehouse: Warehouse, rows: pl.DataFrame) -> None:
    with warehouse.write() as connection:
        connection.register("new_rows", rows)
        known = connection.execute(
            f"select count(*) from new_rows where send_id in (select send_id from {NOTIFICATION_SENDS.name})"
        ).fetchall()[0][0]
        if known:
            raise ExportError(f"{known:,} of the decisions are in the log of sends already; nothing was exported")
        connection.execute(f"insert into {NOTIFICATION_SENDS.name} by name from new_rows")
        connection.unregister("new_rows")


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _named(to: Path) -> Iterator[None]:
    """Errors of the folder name it."""
    try:
        yield
    except LockTimeoutError as error:
        raise ExportError(f"export to {to} failed: another one is under way: {error}") from None
    except OSError as error:
        raise ExportError(
            f"export to {to} failed: {error}. What the log of sends has gets its name with the next export; nothing "
            "else was left."
        ) from None
