"""What a publication of lists is, and what a store of them can do; how each store does it is in a module of its own."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Protocol

import msgspec

from journeys_dagster.errors import ExpectedError
from journeys_dagster.serving.lists import KEYWORD_FIELDS, PUBLISHED_COLUMNS, UserList

_SHAPE = hashlib.sha256(repr((PUBLISHED_COLUMNS, KEYWORD_FIELDS)).encode()).hexdigest()[:12]
"""What a list is made of: another shape is published anew."""


class StoreError(ExpectedError, RuntimeError, carries_user_text=False):
    """The published lists cannot be read; the message names the place and the way out."""


class UnreachableStoreError(StoreError, carries_user_text=False):
    """The server that holds the published lists does not answer, or refuses."""


class Publication(msgspec.Struct, frozen=True):
    """What is visible.

    Attributes
    ----------
    version : int
        One more with each publication.
    day : date
        The newest inferred day.
    users : int
        Users with a list.
    changed, removed : int
        Lists that this publication wrote, and took away.
    """

    version: int
    day: date
    users: int
    changed: int
    removed: int
    published_at: datetime
    shape: str = _SHAPE

    @property
    def is_of_this_shape(self) -> bool:
        """Whether its lists are made as this code makes them."""
        return self.shape == _SHAPE


class Lists(Protocol):
    """The lists, to be read.

    Attributes
    ----------
    is_remote : bool
        Whether a look-up waits for another process.
    """

    is_remote: bool

    def publication(self) -> Publication:
        """What is visible now."""
        ...

    def get(self, users: Iterable[str]) -> tuple[Publication, dict[str, UserList]]:
        """The lists of those users who have one, all of one publication."""
        ...

    def anybody(self) -> str | None:
        """A user with a list, drawn by chance, though not each with the same; none where nobody has one."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class Publishing(ABC):
    """A publication under way; what it writes is seen when it is over. It names a user once at most.

    Attributes
    ----------
    before : Publication or None
        What is visible until then.
    marks : bytes
        By what the next publication knows these lists; at first as the one before has left it.
    changed, removed : int
        Lists written, and taken away.
    publication : Publication or None
        What is visible after it.
    """

    def __init__(self, before: Publication | None, marks: bytes) -> None:
        self.before, self.marks, self.publication = before, marks, before
        self.changed = self.removed = 0

    @abstractmethod
    def clear(self) -> None:
        """Take all lists away."""

    @abstractmethod
    def put(self, user: str, text: str, *, in_order: bool = False) -> None:
        """Write a list, as JSON has a `UserList`, where it differs; `in_order` if keys come in order and are new."""

    @abstractmethod
    def remove(self, user: str) -> None:
        """Take a list away."""

    @abstractmethod
    def users(self) -> int:
        """Users with a list."""

    def conclude(self, day: date) -> None:
        """Say what is visible from now on: a new version, unless nothing has changed, not even the day."""
        before = self.before
        if (
            before is not None
            and (before.is_of_this_shape, before.day) == (True, day)
            and not (self.changed or self.removed)
        ):
            return
        self.publication = Publication(
            version=1 if before is None else before.version + 1,
            day=day,
            users=self.users(),
            changed=self.changed,
            removed=self.removed,
            published_at=datetime.now(UTC),
        )


class Store(Protocol):
    """Where lists are published to, and read from."""

    def lists(self) -> Lists:
        """The lists, to be read.

        Raises
        ------
        StoreError
            Nothing is published yet, as far as that is known without asking a server.
        """
        ...

    def publishing(self, *, day: date) -> AbstractContextManager[Publishing]:
        """Publish: what the block writes is visible at once when it ends, and not at all after an exception.

        Raises
        ------
        StoreError
            The store cannot be written to.
        """
        ...


def stored_publication(stored: bytes | None, place: str) -> Publication:
    """A publication as a store holds it.

    Raises
    ------
    StoreError
        There is none, or its lists are of another shape.
    """
    if stored is None:
        raise StoreError(f"nothing is published in {place} yet: use `journeys run` first")
    publication = msgspec.json.decode(stored, type=Publication)
    if not publication.is_of_this_shape:
        raise StoreError(
            f"the lists in {place} were published by another version of this code; the next run publishes them anew"
        )
    return publication
