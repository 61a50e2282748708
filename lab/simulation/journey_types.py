"""Reading the folder `catalogue/`: what one kind of journey is, and what is wrong with an entry that is not one.

Numbering and drawing from them belongs to `catalogue`.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from journeys_dagster.errors import JourneysError

Half = Literal["tune", "report"]
Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]

NEIGHBOURS, NOISE = "neighbours.toml", "noise.toml"
_NOISE_KINDS = ("navigational", "curiosity", "gifts")


class CatalogueError(JourneysError, ValueError, carries_user_text=False):
    """A file of the catalogue that cannot be used; the message names the file, the entry and what is wrong."""


class Topic(BaseModel):
    """A part of a journey: what people type for it, and what they then look at.

    Attributes
    ----------
    queries : tuple of str
        As typed, from broad looks to details; misspellings and brand names are meant.
    items : tuple of (title, annotation, …)
        What the items are made of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    queries: tuple[Text, ...] = Field(min_length=2)
    items: tuple[Annotated[tuple[Text, ...], Field(min_length=2, max_length=5)], ...] = Field(min_length=1)


class JourneyType(BaseModel):
    """One kind of journey, as written in the catalogue.

    Attributes
    ----------
    name : str
        As a person would call it.
    domain : str
        Name of the file; used for a user's leanings.
    half : {"tune", "report"}
        Settings are chosen on one half of the types, and figures reported on the other.
    lifecycle : {"situational", "evergreen", "seasonal"}
        A seasonal journey is a situational one that starts in and around its months.
    days : float
        Typical length; 0 for an evergreen journey.
    months : tuple of int
        Of a seasonal journey, 1 to 12.
    shopping : bool
        Whether people often buy.
    interests : tuple of str
        Broader topics that every item carries.
    boards : tuple of str
        Names people give their boards.
    variants : tuple of str
        Endings that turn one title into several items.
    related : tuple of str
        Journeys that people go on to.
    topics : dict of str to Topic
        The first one is where people begin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Text
    domain: Text
    half: Half
    lifecycle: Literal["situational", "evergreen", "seasonal"]
    days: float = Field(default=0, ge=0, le=200)
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    shopping: bool = False
    interests: tuple[Text, ...] = Field(min_length=1, max_length=3)
    boards: tuple[Text, ...] = Field(min_length=1)
    variants: tuple[Text, ...] = Field(min_length=3)
    related: tuple[Text, ...] = Field(min_length=1)
    topics: dict[Text, Topic] = Field(min_length=3, max_length=6)

    @model_validator(mode="after")
    def _is_whole(self) -> "JourneyType":
        if (self.days > 0) != (self.lifecycle != "evergreen"):
            raise ValueError("days is the length of a situational or seasonal journey, and of no other")
        if bool(self.months) != (self.lifecycle == "seasonal"):
            raise ValueError("months are those of a seasonal journey, and of no other")
        for what, texts in (("query", self.queries), ("title", [title for title, *_ in self.titles])):
            twice = sorted({text for text in texts if list(texts).count(text) > 1})
            if twice:
                raise ValueError(f"the {what} {twice[0]!r} is there twice")
        return self

    @property
    def evergreen(self) -> bool:
        """Whether the journey has no end."""
        return self.lifecycle == "evergreen"

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries of all topics."""
        return tuple(query for topic in self.topics.values() for query in topic.queries)

    @property
    def titles(self) -> tuple[tuple[str, ...], ...]:
        """Titles with their annotations, of all topics."""
        return tuple(item for topic in self.topics.values() for item in topic.items)


@dataclass(frozen=True, kw_only=True)
class CatalogueFiles:
    """What the files say.

    Attributes
    ----------
    noise : dict of str to tuple of str
        Queries that belong to no journey, by kind, the commonest first.
    mixed_boards : tuple of str
        Names of boards that hold a bit of everything.
    confusable : tuple of (str, str)
        Names of types that are easily taken for one another.
    ambiguous : dict of str to tuple of str
        Words with more than one meaning, and the types whose queries use them.
    fingerprint : str
        Hash of all files.
    """

    journeys: tuple[JourneyType, ...]
    noise: dict[str, tuple[str, ...]]
    mixed_boards: tuple[str, ...]
    confusable: tuple[tuple[str, str], ...]
    ambiguous: dict[str, tuple[str, ...]]
    fingerprint: str


def read_catalogue(folder: Traversable | None = None) -> CatalogueFiles:
    """Read and check the catalogue.

    Parameters
    ----------
    folder : Traversable, optional
        Holds one TOML file per domain, `NEIGHBOURS` and `NOISE`; by default the folder shipped with the package.

    Raises
    ------
    CatalogueError
        A file breaks the rules.
    """
    folder = folder or files("lab.simulation").joinpath("catalogue")
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(".toml")}
    documents = {name: _parsed(name, contents[name]) for name in sorted(contents)}
    noise, neighbours = documents.pop(NOISE, {}), documents.pop(NEIGHBOURS, {})
    journeys: list[JourneyType] = []
    came_from: dict[str, str] = {}
    for file, document in documents.items():
        for place, entry in enumerate(document.get("journey", []), start=1):
            journey = _journey(file, place, entry)
            if journey.name in came_from:
                raise CatalogueError(f"{file}: journey {journey.name!r} is in {came_from[journey.name]} too")
            came_from[journey.name] = file
            journeys.append(journey)
    for journey in journeys:
        _known(came_from[journey.name], f"related of {journey.name!r}", journey.related, came_from)
    pairs = tuple((str(first), str(second)) for first, second in neighbours.get("confusable", []))
    for pair in pairs:
        _known(NEIGHBOURS, "confusable", pair, came_from)
    ambiguous = {word: tuple(names) for word, names in neighbours.get("ambiguous", {}).items()}
    by_name = {journey.name: journey for journey in journeys}
    for word, names in ambiguous.items():
        _known(NEIGHBOURS, f"ambiguous {word!r}", names, came_from)
        for name in names:
            if not any(word in query.split() for query in by_name[name].queries):
                raise CatalogueError(f"{NEIGHBOURS}: ambiguous {word!r}: no query of {name!r} has the word")
    missing = [key for key in (*_NOISE_KINDS, "mixed_boards") if not noise.get(key)]
    if missing:
        raise CatalogueError(f"{NOISE}: {missing[0]} is missing")
    return CatalogueFiles(
        journeys=tuple(journeys),
        noise={kind: tuple(noise[kind]) for kind in _NOISE_KINDS},
        mixed_boards=tuple(noise["mixed_boards"]),
        confusable=pairs,
        ambiguous=ambiguous,
        fingerprint=hashlib.sha256(b"".join(contents[name] for name in sorted(contents))).hexdigest()[:12],
    )


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise CatalogueError(f"{name} is not TOML: {error}") from None


def _journey(file: str, place: int, entry: dict[str, Any]) -> JourneyType:
    try:
        return JourneyType(domain=file.removesuffix(".toml"), **entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        named = f"journey {place} ({entry.get('name', 'without a name')})"
        raise CatalogueError(f"{file}: {named}: {where + ': ' if where else ''}{first['msg']}") from None


def _known(file: str, where: str, names: tuple[str, ...], known: dict[str, str]) -> None:
    for name in names:
        if name not in known:
            raise CatalogueError(f"{file}: {where}: there is no journey {name!r}")
