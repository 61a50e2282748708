"""Published lists where users are split: a store by shard, and each user's list in the store of the user's shard."""

import random
from collections.abc import Iterable

from journeys_dagster.resources.shard_layout import ShardLayout
from journeys_dagster.serving.lists import UserList
from journeys_dagster.serving.publication import Publication
from journeys_dagster.serving.store import FOLDER, PublishedLists
from journeys_dagster.sources.routing import shard_of


class ListsOfShards:
    """As `PublishedLists`, of all shards. Each store is published by itself, after the day is seen in the warehouse."""

    is_remote = False

    def __init__(self, layout: ShardLayout) -> None:
        self._stores: list[PublishedLists] = []
        try:
            for path in layout.paths:
                self._stores.append(PublishedLists(path.parent / FOLDER))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folders."""
        for store in self._stores:
            store.close()

    def publication(self) -> Publication:
        """What is visible now of all shards: the oldest day that one of them is of."""
        return _together([store.publication() for store in self._stores])

    def get(self, users: Iterable[str]) -> tuple[Publication, dict[str, UserList]]:
        """The lists of those users who have one, those of a shard all of one publication."""
        by_shard: dict[int, list[str]] = {}
        for user in users:
            by_shard.setdefault(shard_of(user, len(self._stores)), []).append(user)
        found: dict[str, UserList] = {}
        publications: list[Publication] = []
        for shard, store in enumerate(self._stores):
            publication, lists = store.get(by_shard.get(shard, []))
            publications.append(publication)
            found |= lists
        return _together(publications), found

    def anybody(self) -> str | None:
        """A user with a list, of a shard drawn by chance, else of another one; none where nobody has one."""
        drawn = random.sample(self._stores, len(self._stores))
        return next((user for store in drawn if (user := store.anybody()) is not None), None)


def _together(each: list[Publication]) -> Publication:
    return Publication(
        version=sum(one.version for one in each),
        day=min(one.day for one in each),
        users=sum(one.users for one in each),
        changed=sum(one.changed for one in each),
        removed=sum(one.removed for one in each),
        published_at=max(one.published_at for one in each),
    )
