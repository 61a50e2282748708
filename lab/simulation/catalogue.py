"""What simulated people may do: the journey types of the catalogue, numbered through and ready for drawing from.

Reading them belongs to `journey_types`; which of it a person does, and when, to `people` and `activity`.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lab.simulation.journey_types import CatalogueFiles, Half, JourneyType, read_catalogue

# The plain title is met more often than its variants.
_VARIANT_SHARES = (1.0, 0.6, 0.4)
# How much more an item that shares all of a query's words is met than one that shares none, and one of its topic.
_WORD_PULL, _TOPIC_PULL = 12.0, 4.0
# How much likelier, in logarithms, are journeys that a person's first one leads to, or is easily taken for.
_RELATED_PULL, _CONFUSABLE_PULL = 1.8, 1.5
# Share of each kind of noise, and how much the first queries of a kind make up of it.
_NOISE_SHARES = {"navigational": 0.3, "curiosity": 0.55, "gifts": 0.15}
_NOISE_STEEPNESS = 0.7


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item. `plain` is the number of the item that bears the same title without a variant."""

    title: str
    annotations: tuple[str, ...]
    interests: tuple[str, ...]
    journey: int
    topic: int
    plain: int


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Journey types with their queries and items numbered through.

    Attributes
    ----------
    queries : tuple of str
        The journey types' queries in order, then the noise queries.
    query_start : int array, shape (journeys + 1,)
        Queries of type j are ``query_start[j]:query_start[j + 1]``; noise starts at the last entry.
    query_topic : int array, shape (journey queries,)
        Number of each query's topic within its type.
    noise_ladder : float array, shape (noise queries,)
        Cumulated probability of the noise queries.
    pull : float array, shape (journeys, journeys)
        How much likelier, in logarithms, the type of each column is for a person on that of the row.
    item_ladder : float array, shape (sum over queries of the items of their type,)
        For query q, q + cumulated probability of its type's items: ascending over all, so that one
        `searchsorted` draws an item for any number of queries.
    item_of_rung : int array, same shape
        The item of each rung.
    ladder_start : int array, shape (journey queries + 1,)
    plain : int array, shape (items,)
    shopping : bool array, shape (journeys,)
        As `Item` and `JourneyType` have it.
    fingerprint : str
        Hash of the catalogue's files.
    """

    journeys: tuple[JourneyType, ...]
    queries: tuple[str, ...]
    query_start: NDArray[np.int64]
    query_topic: NDArray[np.int64]
    noise_ladder: NDArray[np.float64]
    pull: NDArray[np.float64]
    items: tuple[Item, ...]
    mixed_boards: tuple[str, ...]
    item_ladder: NDArray[np.float64]
    item_of_rung: NDArray[np.int64]
    ladder_start: NDArray[np.int64]
    plain: NDArray[np.int64]
    shopping: NDArray[np.bool_]
    fingerprint: str

    def items_for(self, queries: NDArray[np.int64], chances: NDArray[np.float64]) -> NDArray[np.int64]:
        """Items that people meet after journey queries.

        Parameters
        ----------
        queries : int array, shape (n,)
            Query numbers, none of them noise.
        chances : float array, shape (n,)
            Uniform draws in [0, 1).
        """
        rungs = np.searchsorted(self.item_ladder, queries + chances, side="right")
        return self.item_of_rung[np.minimum(rungs, self.ladder_start[queries + 1] - 1)]

    def noise_for(self, chances: NDArray[np.float64]) -> NDArray[np.int64]:
        """Noise queries for uniform draws in [0, 1)."""
        return self.query_start[-1] + np.searchsorted(self.noise_ladder, chances, side="right")


def load_catalogue(half: Half | None = None) -> Catalogue:
    """The catalogue shipped with the package, or a half of it, read once."""
    return _numbered(half)


@cache
def _numbered(half: Half | None) -> Catalogue:
    found = read_catalogue()
    journeys = tuple(journey for journey in found.journeys if half in (None, journey.half))
    items: list[Item] = []
    shares: list[float] = []
    for number, journey in enumerate(journeys):
        topics = [topic for topic, part in enumerate(journey.topics.values()) for _ in part.items]
        for place, (title, *annotations) in enumerate(journey.titles):
            plain = len(items)
            turned = journey.variants[2 * place % len(journey.variants) :] + journey.variants
            # No "French bob with bangs, with bangs".
            fitting = dict.fromkeys(ending for ending in turned if not _words(ending) & _words(title))
            endings = list(fitting)[: len(_VARIANT_SHARES) - 1]
            for share, ending in zip(_VARIANT_SHARES, ["", *endings], strict=False):
                items.append(
                    Item(
                        title=f"{title}, {ending}" if ending else title,
                        annotations=tuple(annotations),
                        interests=journey.interests,
                        journey=number,
                        topic=topics[place],
                        plain=plain,
                    )
                )
                shares.append(share / (1 + 0.1 * place))
    ladder, rungs, ladder_start = _item_ladder(journeys, items, np.array(shares))
    noise = [query for queries in found.noise.values() for query in queries]
    return Catalogue(
        journeys=journeys,
        queries=(*(query for journey in journeys for query in journey.queries), *noise),
        query_start=np.cumsum([0, *(len(journey.queries) for journey in journeys)]),
        query_topic=np.concatenate([_query_topics(journey) for journey in journeys]),
        noise_ladder=_noise_ladder(found.noise),
        pull=_pull(journeys, found),
        items=tuple(items),
        mixed_boards=found.mixed_boards,
        item_ladder=ladder,
        item_of_rung=rungs,
        ladder_start=ladder_start,
        plain=np.array([item.plain for item in items]),
        shopping=np.array([journey.shopping for journey in journeys]),
        fingerprint=found.fingerprint,
    )


def _query_topics(journey: JourneyType) -> NDArray[np.int64]:
    sizes = [len(topic.queries) for topic in journey.topics.values()]
    return np.repeat(np.arange(len(sizes)), sizes)


def _noise_ladder(noise: dict[str, tuple[str, ...]]) -> NDArray[np.float64]:
    parts = []
    for kind, queries in noise.items():
        shares = 1 / np.arange(1, len(queries) + 1) ** _NOISE_STEEPNESS
        parts.append(_NOISE_SHARES[kind] * shares / shares.sum())
    ladder = np.cumsum(np.concatenate(parts))
    ladder[-1] = 1.0
    return ladder


def _pull(journeys: tuple[JourneyType, ...], found: CatalogueFiles) -> NDArray[np.float64]:
    number = {journey.name: place for place, journey in enumerate(journeys)}
    pull = np.zeros((len(journeys), len(journeys)))
    for first, second in found.confusable:
        if first in number and second in number:
            pull[number[first], number[second]] = pull[number[second], number[first]] = _CONFUSABLE_PULL
    for journey in journeys:
        for name in journey.related:
            if name in number:
                pull[number[journey.name], number[name]] = _RELATED_PULL
    return pull


def _item_ladder(
    journeys: tuple[JourneyType, ...], items: list[Item], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Ladder, rungs and starts of `Catalogue`.

    An item is met the more often, the more of the query's words it has, and more often for a query of its topic.
    """
    owner = np.array([item.journey for item in items])
    topic = np.array([item.topic for item in items])
    ladders: list[NDArray[np.float64]] = []
    rungs: list[NDArray[np.int64]] = []
    for number, journey in enumerate(journeys):
        own = np.flatnonzero(owner == number)
        texts = [_words(f"{items[item].title} {' '.join(items[item].annotations)}") for item in own]
        for query, asked in zip(journey.queries, _query_topics(journey), strict=True):
            wanted = _words(query)
            # A word that all of the type's items share says nothing about which of them is meant.
            rarity = {word: 1 - np.mean([word in text for text in texts]) for word in wanted}
            total = sum(rarity.values()) or 1.0
            pull = np.array([sum(rarity[word] for word in wanted & text) / total for text in texts])
            weights = shares[own] * (1 + _WORD_PULL * pull + _TOPIC_PULL * (topic[own] == asked))
            steps = np.cumsum(weights)
            ladders.append(len(ladders) + steps / steps[-1])
            rungs.append(own)
    starts = np.cumsum([0, *(len(ladder) for ladder in ladders)])
    return np.concatenate(ladders), np.concatenate(rungs), starts


def _words(text: str) -> set[str]:
    return {word.strip(",.").removesuffix("s") for word in text.lower().split() if len(word) > 2}
