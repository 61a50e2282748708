"""Lists by user in a Redis or Valkey server, for readers on other machines.

All lists are fields of one hash. What a publication changes is put into a hash of its own first, and one script, which
the server runs as a whole, moves it over and says the new version. So a reader, who asks for version and lists in one
transaction, sees all of a publication or nothing of it; what a killed publisher has left vanishes by itself.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec

from journeys_dagster.environment import what_is_missing
from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.publication import (
    Publication,
    Publishing,
    StoreError,
    UnreachableStoreError,
    stored_publication,
)

if TYPE_CHECKING:
    from redis import Redis

EXTRA = "redis"
_READ_SECONDS, _WRITE_SECONDS = 2.0, 60.0
_USERS_AT_ONCE = 1_000
_LEFT_SECONDS = 3_600
"""After which the server forgets what was written and never published."""
_REMOVED = b""
# Another publication since this one began would be undone in part by it; what was written might have been forgotten.
_SWITCH = """
local publication, marks, lists, written = unpack(KEYS)
local before, after, new_marks, count, is_whole = unpack(ARGV)
if (redis.call('get', publication) or '') ~= before then return 'another publication' end
if redis.call('hlen', written) ~= tonumber(count) then return 'forgotten' end
if is_whole == '1' then
    redis.call('unlink', lists)
    if count ~= '0' then
        redis.call('persist', written)
        redis.call('rename', written, lists)
    end
else
    local cursor = '0'
    repeat
        local found = redis.call('hscan', written, cursor, 'count', 1000)
        cursor = found[1]
        for place = 1, #found[2], 2 do
            if found[2][place + 1] == '' then
                redis.call('hdel', lists, found[2][place])
            else
                redis.call('hset', lists, found[2][place], found[2][place + 1])
            end
        end
    until cursor == '0'
    redis.call('unlink', written)
end
redis.call('set', marks, new_marks)
redis.call('set', publication, after)
return 'published'
"""


@dataclass(frozen=True)
class RedisStore:
    """Lists in a server.

    Attributes
    ----------
    variable : str
        Environment variable that holds its URL, a secret.
    prefix : str
        Of all keys; another one for each home that shares the server.

    Raises
    ------
    StoreError
        The extra is not installed, or the variable holds no URL of such a server.
    """

    variable: str
    prefix: str

    def __post_init__(self) -> None:
        if said := what_is_missing(EXTRA, ["redis"]):
            raise StoreError(f"to keep published lists in a server takes {said}")
        self._client(_READ_SECONDS).close()

    def lists(self) -> "RedisLists":
        """The lists, to be read."""
        return RedisLists(self._client(_READ_SECONDS), self)

    @contextmanager
    def publishing(self, *, day: date) -> Iterator[Publishing]:
        """Publish: what the block writes is visible at once when it ends, and not at all after an exception.

        Raises
        ------
        StoreError
            The server does not answer, or somebody else has published meanwhile.
        """
        with self.answering(), self._client(_WRITE_SECONDS) as client:
            stored, marks, count = _together(
                client, ("get", self.key("publication")), ("get", self.key("marks")), ("hlen", self.key("lists"))
            )
            made = _Writing(client, self, stored, marks or b"", count)
            try:
                yield made
                made.write()
                made.conclude(day)
                if made.publication is not made.before or made.marks != (marks or b""):
                    made.switch()
            finally:
                client.unlink(made.written)

    def key(self, name: str) -> str:
        """A key; in braces, so that a cluster keeps all of them together."""
        return f"{{{self.prefix}}}:{name}"

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Errors of the server name the variable and never what it holds."""
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise UnreachableStoreError(
                f"the server that {self.variable} names, for published lists, fails ({type(error).__name__}): see that "
                "it runs, that its URL is right and that it has memory left. What was published is there as it was"
            ) from None

    def _client(self, seconds: float) -> "Redis":
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        try:
            return redis.Redis.from_url(
                os.environ.get(self.variable, "").strip(),
                socket_timeout=seconds,
                socket_connect_timeout=_READ_SECONDS,
                # Once, as a connection may have been closed while nobody asked.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            raise StoreError(
                f"set {self.variable} to the URL of a Redis or Valkey server, such as redis://host:6379/0 "
                "(serving.store is redis)"
            ) from None


class RedisLists:
    """The lists, to be read; threads may share it."""

    is_remote = True

    def __init__(self, client: "Redis", store: RedisStore) -> None:
        self._client, self._store = client, store
        self._publication, self._lists = store.key("publication"), store.key("lists")
        self._place = f"the server that {store.variable} names, under {store.prefix!r},"
        self._decode = msgspec.json.Decoder(UserList).decode

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def publication(self) -> Publication:
        """What is visible now."""
        return self.get([])[0]

    def get(self, users: Iterable[str]) -> tuple[Publication, dict[str, UserList]]:
        """The lists of those users who have one, all of one publication."""
        asked = [user for user in dict.fromkeys(users) if user]
        commands: list[tuple[Any, ...]] = [("get", self._publication), ("hlen", self._lists)]
        if asked:
            commands.append(("hmget", self._lists, asked))
        with self._store.answering():
            stored, count, *found = _together(self._client, *commands)
        publication = stored_publication(stored, self._place)
        if count != publication.users:
            raise StoreError(
                f"{self._place} has lost lists: see that it evicts nothing (maxmemory-policy noeviction); the next run "
                "publishes them anew"
            )
        pairs = zip(asked, found[0] if found else [], strict=True)
        return publication, {user: self._decode(value) for user, value in pairs if value is not None}

    def anybody(self) -> str | None:
        """A user with a list, drawn by chance; none where nobody has one."""
        with self._store.answering():
            stored, found = _together(self._client, ("get", self._publication), ("hrandfield", self._lists))
        stored_publication(stored, self._place)
        return found.decode() if found else None


class _Writing(Publishing):
    """A publication whose changes are written beside the lists, until `switch` moves them over."""

    def __init__(self, client: "Redis", store: RedisStore, stored: bytes | None, marks: bytes, count: int) -> None:
        before = None if stored is None else msgspec.json.decode(stored, type=Publication)
        if before is not None and before.users != count:
            # Lists that the server has lost are like those of another shape: all are published anew.
            before = msgspec.structs.replace(before, shape="lost")
        super().__init__(before, marks)
        self._client, self._store, self._stored = client, store, stored or b""
        self.written = store.key(f"written:{uuid.uuid4()}")
        self._pending: dict[str, bytes] = {}
        self._count, self._is_whole = 0, self.before is None
        self._users = 0 if self.before is None else self.before.users

    def clear(self) -> None:
        self._is_whole, self._users = True, 0

    def put(self, user: str, text: str, *, in_order: bool = False) -> None:
        self._pending[user] = text.encode()
        if len(self._pending) >= _USERS_AT_ONCE:
            self.write()

    def remove(self, user: str) -> None:
        self._pending[user] = _REMOVED
        if len(self._pending) >= _USERS_AT_ONCE:
            self.write()

    def users(self) -> int:
        return self._users

    def write(self) -> None:
        """Write what differs beside the lists."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        there: Any = [None] * len(pending)
        if not self._is_whole:
            there = self._client.hmget(self._store.key("lists"), list(pending))
        changed = {
            user: value
            for (user, value), known in zip(pending.items(), there, strict=True)
            if value != (known or _REMOVED)
        }
        new = sum(known is None and user in changed for user, known in zip(pending, there, strict=True))
        removed = sum(value == _REMOVED for value in changed.values())
        self.changed += len(changed) - removed
        self.removed += removed
        self._users += new - removed
        self._count += len(changed)
        if changed:
            mapping: dict[Any, Any] = changed
            _together(
                self._client, ("hset", self.written, None, None, mapping), ("expire", self.written, _LEFT_SECONDS)
            )

    def switch(self) -> None:
        """Make all of it visible."""
        after = msgspec.json.encode(self.publication)
        keys = [*(self._store.key(name) for name in ("publication", "marks", "lists")), self.written]
        said: Any = self._client.eval(
            _SWITCH, len(keys), *keys, self._stored, after, self.marks, self._count, int(self._is_whole)
        )
        if said != b"published":
            raise StoreError(
                f"lists were not published under {self._store.prefix!r} ({said.decode()}): see that no other home has "
                "this serving.redis_prefix; the next run publishes what is missing"
            )


def _together(client: "Redis", *commands: tuple[Any, ...]) -> list[Any]:
    """Answers to commands that the server carries out with nothing in between."""
    with client.pipeline(transaction=True) as pipeline:
        for name, *arguments in commands:
            getattr(pipeline, name)(*arguments)
        return pipeline.execute()
