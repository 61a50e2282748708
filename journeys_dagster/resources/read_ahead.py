"""Stages that work side by side: the next item is made while the present one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_END = object()


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
