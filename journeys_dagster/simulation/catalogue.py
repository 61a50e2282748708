"""What simulated people may do: the hand-written journey types of `catalogue.toml`, ready for drawing from.

Which of it a person does, and when, belongs to `people` and `activity`.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# The plain title is met more often than its variants.
_VARIANT_SHARES = (1.0, 0.6, 0.4)
# How much more an item that shares all of a query's words is met than one that shares none.
_WORD_PULL = 12.0


@dataclass(frozen=True, kw_only=True)
class JourneyType:
    """One kind of journey, as written in the catalogue.

    Attributes
    ----------
    days : float
        Typical length of a situational journey; 0 for an evergreen one.
    shopping : bool
        Whether people often buy.
    queries : tuple of str
        As typed, from first broad looks to late details.
    titles : tuple of (title, annotations)
        What the items are made of.
    """

    name: str
    domain: str
    lifecycle: Literal["situational", "evergreen"]
    days: float
    shopping: bool
    interests: tuple[str, ...]
    boards: tuple[str, ...]
    queries: tuple[str, ...]
    variants: tuple[str, ...]
    titles: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item. `plain` is the number of the item that bears the same title without a variant."""

    title: str
    annotations: tuple[str, ...]
    interests: tuple[str, ...]
    journey: int
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
    item_ladder : float array, shape (sum over queries of the items of their type,)
        For query q, q + cumulated probability of its type's items: ascending over all, so that one
        `searchsorted` draws an item for any number of queries.
    item_of_rung : int array, same shape
        The item of each rung.
    ladder_start : int array, shape (journey queries + 1,)
    fingerprint : str
        Hash of the catalogue file.
    """

    journeys: tuple[JourneyType, ...]
    queries: tuple[str, ...]
    query_start: NDArray[np.int64]
    items: tuple[Item, ...]
    mixed_boards: tuple[str, ...]
    item_ladder: NDArray[np.float64]
    item_of_rung: NDArray[np.int64]
    ladder_start: NDArray[np.int64]
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


@cache
def load_catalogue() -> Catalogue:
    """The catalogue shipped with the package, read once."""
    content = files("journeys_dagster.simulation").joinpath("catalogue.toml").read_bytes()
    document = tomllib.loads(content.decode("utf-8"))
    journeys = tuple(_journey(entry) for entry in document["journey"])
    items: list[Item] = []
    shares: list[float] = []
    for number, journey in enumerate(journeys):
        for place, (title, annotations) in enumerate(journey.titles):
            plain = len(items)
            turned = journey.variants[2 * place % len(journey.variants) :] + journey.variants
            # No "French bob with bangs, with bangs".
            fitting = dict.fromkeys(ending for ending in turned if not _words(ending) & _words(title))
            endings = list(fitting)[: len(_VARIANT_SHARES) - 1]
            for share, ending in zip(_VARIANT_SHARES, ["", *endings], strict=True):
                items.append(
                    Item(
                        title=f"{title}, {ending}" if ending else title,
                        annotations=annotations,
                        interests=journey.interests,
                        journey=number,
                        plain=plain,
                    )
                )
                shares.append(share / (1 + 0.1 * place))
    ladder, rungs, ladder_start = _item_ladder(journeys, items, np.array(shares))
    return Catalogue(
        journeys=journeys,
        queries=(*(query for journey in journeys for query in journey.queries), *document["noise_queries"]),
        query_start=np.cumsum([0, *(len(journey.queries) for journey in journeys)]),
        items=tuple(items),
        mixed_boards=tuple(document["mixed_boards"]),
        item_ladder=ladder,
        item_of_rung=rungs,
        ladder_start=ladder_start,
        fingerprint=hashlib.sha256(content).hexdigest()[:12],
    )


def _journey(entry: dict[str, Any]) -> JourneyType:
    return JourneyType(
        name=entry["name"],
        domain=entry["domain"],
        lifecycle=entry["lifecycle"],
        days=entry.get("days", 0.0),
        shopping=entry.get("shopping", False),
        interests=tuple(entry["interests"]),
        boards=tuple(entry["boards"]),
        queries=tuple(entry["queries"]),
        variants=tuple(entry["variants"]),
        titles=tuple((title, tuple(annotations)) for title, *annotations in entry["items"]),
    )


def _item_ladder(
    journeys: tuple[JourneyType, ...], items: list[Item], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Ladder, rungs and starts of `Catalogue`.

    An item is met the more often, the more of the query's words it has.
    """
    owner = np.array([item.journey for item in items])
    ladders: list[NDArray[np.float64]] = []
    rungs: list[NDArray[np.int64]] = []
    for number, journey in enumerate(journeys):
        own = np.flatnonzero(owner == number)
        texts = [_words(f"{items[item].title} {' '.join(items[item].annotations)}") for item in own]
        for query in journey.queries:
            wanted = _words(query)
            # A word that all of the type's items share says nothing about which of them is meant.
            rarity = {word: 1 - np.mean([word in text for text in texts]) for word in wanted}
            total = sum(rarity.values()) or 1.0
            pull = np.array([sum(rarity[word] for word in wanted & text) / total for text in texts])
            steps = np.cumsum(shares[own] * (1 + _WORD_PULL * pull))
            ladders.append(len(ladders) + steps / steps[-1])
            rungs.append(own)
    starts = np.cumsum([0, *(len(ladder) for ladder in ladders)])
    return np.concatenate(ladders), np.concatenate(rungs), starts


def _words(text: str) -> set[str]:
    return {word.strip(",.").removesuffix("s") for word in text.lower().split() if len(word) > 2}
