"""Titles of journeys by a language model: what it is asked about, what counts as a title, who gets which."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from journeys_dagster.inference.naming import READABLE, readability
from journeys_dagster.llm.masking import mask

KEYWORD_NAMER = "keyword"
TITLE_PROMPT = "name_journey"
STRONGEST = 8
"""Keywords of a journey that its title is made from; they are its signature."""
LONGEST_KEYWORD = 60
"""Longer searches are sentences, and seldom what a journey is called; nor are they sent."""
KEEP_SHARE = 0.5
"""A title stays while at least so much of the keywords that it was made from is still among the strongest."""
_JOURNEY = ["user_id", "journey_id"]
_GROUNDED_SHARE = 1 / 3
_MOST_WORDS = 10
_TITLE = re.compile(r"[^\W_](?:[\w\s'’&,+/:.!?()–-])*", re.UNICODE)
_ADDRESS = re.compile(r"//|www\.|\w\.[a-z]{2,}\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{3,}")
_DENSE = re.compile(r"[぀-ヿ㐀-鿿가-힯]")


class NameAnswer(BaseModel):
    """What a model is to answer: a title that says what the keywords say."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=2, max_length=60)]

    @field_validator("name")
    @classmethod
    def _is_title(cls, name: str, info: ValidationInfo) -> str:
        name = plain_title(name)
        if info.context is not None and not is_grounded(name, info.context["keywords"]):
            raise ValueError("a title says what the keywords say: use their words")
        return name[0].upper() + name[1:]


def plain_title(text: str) -> str:
    """A text as a title, without superfluous spaces and full stop.

    Raises
    ------
    ValueError
        It is longer than ten words, or holds markup, an address or a long number; the message says so to the model.
    """
    text = " ".join(text.split()).strip(" .")
    if not _TITLE.fullmatch(text) or len(text.split()) > _MOST_WORDS:
        raise ValueError("a title has up to ten words, and no quotation marks, brackets, symbols or emoji")
    if holds_address(text):
        raise ValueError("a title holds no address and no long number")
    return text


def well_formed(title: str | None) -> str | None:
    """A title as it may be shown, with a capital; none where it is malformed."""
    try:
        plain = plain_title(title or "")
    except ValueError:
        return None
    return plain[0].upper() + plain[1:]


def holds_address(text: str) -> bool:
    """Whether a text has an address or a long number in it."""
    return bool(_ADDRESS.search(text)) or mask(text) != text


def is_grounded(title: str, keywords: Sequence[str]) -> bool:
    """Whether at least a third of a title's words are words of the keywords, whatever their endings."""
    text = " ".join(keywords)
    if dense := set(_DENSE.findall(title)):
        return bool(dense & set(text))
    known, words = _words(text), _words(title)
    return sum(any(_alike(word, other) for other in known) for word in words) >= max(1, _GROUNDED_SHARE * len(words))


def _words(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return set(_WORD.findall("".join(char for char in plain if not unicodedata.combining(char))))


def _alike(one: str, other: str) -> bool:
    """Whether the beginnings agree: "garden" and "gardening", "bake" and "baking"."""
    shared = max(3, round(0.6 * min(len(one), len(other))))
    return one[:shared] == other[:shared]


def title_keywords(keywords: pl.DataFrame) -> pl.DataFrame:
    """The strongest readable keywords of each journey, in alphabetical order so that equal journeys are equal.

    Parameters
    ----------
    keywords : DataFrame
        As `journeys_dagster.inference.naming.name_journeys` takes it.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``title_keywords`` (list of str, masked), ``signature`` (their hash);
        journeys without a readable keyword are left out.
    """
    keyword = pl.col("keyword")
    strongest = (
        keywords.filter(readability(keyword) >= READABLE, keyword.str.len_chars() <= LONGEST_KEYWORD)
        .sort(*_JOURNEY, "weight", "keyword", descending=[False, False, True, False])
        .group_by(_JOURNEY, maintain_order=True)
        .agg(title_keywords=keyword.head(STRONGEST))
    )
    lists = [sorted({mask(each) for each in row}) for row in strongest["title_keywords"].to_list()]
    return strongest.with_columns(
        title_keywords=pl.Series(lists, dtype=pl.List(pl.String)),
        signature=pl.Series([signature_of(row) for row in lists], dtype=pl.String),
    )


def signature_of(keywords: Sequence[str]) -> str:
    """Sixteen hexadecimal digits of a journey's strongest keywords."""
    return hashlib.sha256("\n".join(keywords).encode()).hexdigest()[:16]


def kept_titles(signatures: pl.DataFrame, former: pl.DataFrame) -> pl.DataFrame:
    """Titles that stay: the journey's in the user's snapshot before, while `KEEP_SHARE` of what it was made from stays.

    Parameters
    ----------
    signatures : DataFrame
        From `title_keywords`.
    former : DataFrame
        Columns ``user_id``, ``journey_id``, ``title``, ``title_keywords``: titles by the same algorithm.

    Returns
    -------
    DataFrame
        Columns ``user_id``, ``journey_id``, ``title``, ``title_keywords``: those of before.
    """
    old = pl.col("title_keywords_before")
    staying = old.list.set_intersection("title_keywords").list.len() / old.list.len()
    return (
        signatures.join(former, on=_JOURNEY, suffix="_before")
        .filter(staying >= KEEP_SHARE)
        .select(*_JOURNEY, "title", title_keywords=old)
    )


def apply_titles(
    names: pl.DataFrame, titles: pl.DataFrame, journey_weights: pl.DataFrame, *, namer: str
) -> pl.DataFrame:
    """Call journeys by their titles where these are distinct within the user, else by their best keyword.

    A title is given up that is the keyword name of another journey of the user, whatever the capitals, or the title of
    a heavier one.

    Parameters
    ----------
    names : DataFrame
        From `journeys_dagster.inference.naming.name_journeys`.
    titles : DataFrame
        Columns ``user_id``, ``journey_id``, ``title``, ``title_keywords``; at most one row per journey.
    journey_weights : DataFrame
        Columns ``user_id``, ``journey_id``, ``weight_units``: the weight of the journey's keywords.
    namer : str
        The value of ``namer`` for titles.

    Returns
    -------
    DataFrame
        `names` with ``name``, ``namer``, ``keyword_name`` (what the best keyword calls it) and ``title_keywords`` (null
        without a title).
    """
    same = pl.col("title").str.to_lowercase()
    taken = names.select("user_id", key=pl.col("name").str.to_lowercase(), owner="journey_id")
    winners = (
        titles.with_columns(key=same)
        .join(journey_weights, on=_JOURNEY)
        .sort("user_id", "weight_units", "journey_id", descending=[False, True, False])
        .unique(["user_id", "key"], keep="first", maintain_order=True)
        .join(taken, on=["user_id", "key"], how="left")
        .filter(pl.col("owner").is_null() | (pl.col("owner") == pl.col("journey_id")))
        .select(*_JOURNEY, "title", "title_keywords")
    )
    has_title = pl.col("title").is_not_null()
    return (
        names.join(winners, on=_JOURNEY, how="left", maintain_order="left")
        .with_columns(
            keyword_name=pl.col("name"),
            name=pl.coalesce("title", "name"),
            namer=pl.when(has_title).then(pl.lit(namer)).otherwise(pl.lit(KEYWORD_NAMER)),
        )
        .drop("title")
        .sort(_JOURNEY)
    )
