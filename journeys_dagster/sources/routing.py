"""Which shard a user is of."""

import hashlib

USER_PLACE = "md5_number_lower(user_id)"
"""A user's place, as SQL: the same number as `user_place`. Defined by MD5, so that no version of DuckDB changes it."""


def user_place(user_id: str) -> int:
    """The last eight bytes of the MD5 of a user's id in UTF-8, as a number, the least byte first."""
    return int.from_bytes(hashlib.md5(user_id.encode(), usedforsecurity=False).digest()[8:], "little")


def shard_of(user_id: str, shards: int) -> int:
    """The shard of a user: the remainder of the place, so that it depends on the id and the number of shards alone.

    Parameters
    ----------
    user_id : str
        As it is in the warehouse, after the contract of the source.
    shards : int
        How many there are.

    Returns
    -------
    int
        From 0 to `shards` - 1.
    """
    return user_place(user_id) % shards


def shard_sql(shards: int) -> str:
    """The shard of the user in ``user_id``, as SQL."""
    return f"cast({USER_PLACE} % {shards} as integer)"
