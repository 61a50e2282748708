"""Lists by user in an embedded key-value store (LMDB): many processes read while one writes, and nobody waits.

A publication is one transaction of LMDB's, so a reader sees all of it or nothing, also where its process is killed;
LMDB writes pages anew and lets go of the old ones once nobody reads them.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import msgspec

from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.publication import Publication, Publishing, StoreError, stored_publication

FOLDER = "published"
_LARGEST = 1 << 40
"""Bytes of address space, which take no disk; LMDB does not grow beyond."""
_LISTS, _ABOUT = b"lists", b"about"
_PUBLICATION, _MARKS = b"publication", b"marks"
_LONGEST_KEY = 500
_READERS = 1024


class PublishedLists:
    """The lists, to be read; close it or use it as a context. A process opens a folder once at a time."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "data.mdb").exists():
            raise StoreError(f"nothing is published in {folder} yet: use `journeys run` first")
        try:
            self._environment = lmdb.open(
                str(folder), readonly=True, max_dbs=2, map_size=_LARGEST, max_readers=_READERS, readahead=False
            )
            self._lists, self._about = (self._environment.open_db(name, create=False) for name in (_LISTS, _ABOUT))
        except lmdb.Error as error:
            raise StoreError(f"what is published in {folder} cannot be read: {error}") from None
        self._decode = msgspec.json.Decoder(UserList).decode

    def __enter__(self) -> "PublishedLists":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._environment.close()

    def publication(self) -> Publication:
        """What is visible now."""
        with self._environment.begin() as transaction:
            return self._publication(transaction)

    def get(self, users: Iterable[str]) -> tuple[Publication, dict[str, UserList]]:
        """The lists of those users who have one, all of one publication."""
        with self._environment.begin(buffers=True) as transaction:
            publication = self._publication(transaction)
            found = ((user, transaction.get(_key(user), db=self._lists)) for user in users if user)
            return publication, {user: self._decode(value) for user, value in found if value is not None}

    def anybody(self) -> str | None:
        """A user with a list, drawn by chance, though not each with the same; none where nobody has one."""
        bounds = self._bounds()
        if bounds is None:
            return None
        shared = next((place for place, both in enumerate(zip(*bounds, strict=False)) if len({*both}) > 1), 0)
        first, last = (int.from_bytes(key[shared : shared + 8].ljust(8, b"\0")) for key in bounds)
        drawn = random.randint(first, last)  # noqa: S311 - nobody gains by guessing it
        return self.near(bounds[0][:shared] + drawn.to_bytes(8))

    def near(self, place: bytes) -> str | None:
        """The user at or after a place in the order of keys, else the first one; none where nobody has a list."""
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._lists)
            found = cursor.set_range(place) or cursor.first()
            return self._decode(cursor.value()).user_id if found else None

    def _bounds(self) -> tuple[bytes, bytes] | None:
        """First and last key; none where nobody has a list."""
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._lists)
            if not cursor.first():
                return None
            first = cursor.key()
            cursor.last()
            return first, cursor.key()

    def _publication(self, transaction: lmdb.Transaction) -> Publication:
        stored = transaction.get(_PUBLICATION, db=self._about)
        return stored_publication(None if stored is None else bytes(stored), str(self._folder))


class _Transaction(Publishing):
    """A publication as one transaction of LMDB's."""

    def __init__(self, transaction: lmdb.Transaction, lists: Any, before: Publication | None, marks: bytes) -> None:  # noqa: ANN401 - lmdb does not name it
        super().__init__(before, marks)
        self._transaction, self._lists = transaction, lists

    def clear(self) -> None:
        self._transaction.drop(self._lists, delete=False)

    def put(self, user: str, text: str, *, in_order: bool = False) -> None:
        key, value = _key(user), text.encode()
        if not in_order and self._transaction.get(key, db=self._lists) == value:
            return
        # What comes in order goes to the end without a search. A hashed key comes out of order.
        self._transaction.put(key, value, db=self._lists, append=in_order and key[:1] != b"\0")
        self.changed += 1

    def remove(self, user: str) -> None:
        self.removed += self._transaction.delete(_key(user), db=self._lists)

    def users(self) -> int:
        return self._transaction.stat(self._lists)["entries"]


@contextmanager
def publishing(folder: Path, *, day: date) -> Iterator[Publishing]:
    """Publish: what the block writes is visible at once when it ends, and not at all after an exception.

    Where nothing has changed, not even the day, there is no new version.

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lmdb.open(str(folder), max_dbs=2, map_size=_LARGEST, max_readers=_READERS) as environment:
            # Of readers that were killed, whose pages would be kept for ever.
            environment.reader_check()
            lists, about = (environment.open_db(name) for name in (_LISTS, _ABOUT))
            with environment.begin(write=True) as transaction:
                stored = transaction.get(_PUBLICATION, db=about)
                before = None if stored is None else msgspec.json.decode(stored, type=Publication)
                marks = transaction.get(_MARKS, db=about) or b""
                made = _Transaction(transaction, lists, before, marks)
                yield made
                if made.marks != marks:
                    transaction.put(_MARKS, made.marks, db=about)
                made.conclude(day)
                if made.publication is not before:
                    transaction.put(_PUBLICATION, msgspec.json.encode(made.publication), db=about)
    except lmdb.Error as error:
        raise StoreError(f"lists cannot be published in {folder}: {error}. What was there is there as it was") from None


@dataclass(frozen=True)
class FolderStore:
    """Lists in a folder of this machine."""

    folder: Path

    def lists(self) -> PublishedLists:
        """The lists, to be read."""
        return PublishedLists(self.folder)

    @contextmanager
    def publishing(self, *, day: date) -> Iterator[Publishing]:
        """Publish, see `publishing`."""
        with publishing(self.folder, day=day) as made:
            yield made


def _key(user: str) -> bytes:
    """A user's key: the id, or its hash where LMDB has no keys so long; no id begins with a zero byte."""
    key = user.encode()
    return key if len(key) <= _LONGEST_KEY else b"\0" + hashlib.sha256(key).digest()
