"""What each journey may be called, and what speaks for each of these texts.

Candidates are the journey's keywords, phrases that they share, and titles of the library that say no more than they do.
Which one it is called belongs to `name_chooser`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from journeys_dagster.inference.naming import readability
from journeys_dagster.inference.segments import centroids, segment_starts
from lab.naming.phrases import shared_phrases
from lab.naming.title_library import GRID, TitleLibrary, may_add
from lab.naming.word_forms import tokens
from lab.naming.word_stems import stems

KEYWORD, PHRASE, LIBRARY = "keyword", "phrase", "library"
MIN_KEYWORDS = 3
"""Of a journey with fewer the best keyword is the name."""
_NEAREST, _EXPECTING, _LIMIT = 200, 20, 12
_SHARPNESS = 20.0
_JOURNEYS_AT_ONCE = 4096
FEATURES = (
    *("source", "closeness", "closeness_gap", "closeness_place", "expected", "expected_gap", "expected_place"),
    *("both", "both_gap", "both_place", "evenly", "evenly_gap", "rule", "rule_gap"),
    *("centrality", "frequency", "weight", "search", "readability"),
    *("shared_weight", "shared_weight_gap", "shared", "whole", "grounded"),
    *("words", "characters", "titles_with_words", "titles_with_rarest", "is_title"),
    *("keywords", "cohesion", "titles", "agreement", "nearest"),
)
"""Columns that the chooser looks at. A gap is to the journey's best, a place counts from 1."""


@dataclass(frozen=True)
class Members:
    """The keywords of journeys that are to be named, and what today is known of them.

    Attributes
    ----------
    rows : DataFrame
        Each journey's rows together, in order: columns ``journey`` (int64, from 0 without gaps), ``word`` (int64, row
        of `words` and `vectors`), ``weight``, ``closeness``, ``centrality``, ``frequency``, ``share`` (of the journey's
        largest weight), ``search`` and ``rule`` (float64).
    words : Series of str
        Distinct keywords, sorted.
    vectors : array of shape (words, dimensions), float32
    """

    rows: pl.DataFrame
    words: pl.Series
    vectors: NDArray[np.float32]


def name_candidates(members: Members, library: TitleLibrary) -> pl.DataFrame:
    """Candidates of each journey.

    Parameters
    ----------
    members : Members
    library : TitleLibrary
        Of the embedding model that the vectors are of.

    Returns
    -------
    DataFrame
        Columns ``journey``, ``name`` (in lower case) and `FEATURES` (float32, null where there is none), by journey.
    """
    from lab.naming import name_candidates_kernel as kernel

    rows, vectors = members.rows, members.vectors
    starts = segment_starts(rows.select("journey"))
    journeys = len(starts) - 1
    word, weight, even = rows["word"].to_numpy(), rows["weight"].to_numpy(), np.ones(len(rows))
    centres, middles = centroids(vectors, word, weight, starts), centroids(vectors, word, even, starts)
    nearest, expected, closest = _expected_titles(centres, library)

    phrases = shared_phrases(
        *(members.words, word, rows["journey"].to_numpy(), rows["search"].to_numpy() > 0.0), plurals=library.words
    )
    phrase_starts = segment_starts(phrases.select("journey", "phrase"))
    phrase = phrases[phrase_starts[:-1]]
    member = phrases["row"].to_numpy()
    texts = _Texts(members.words, library, phrase["phrase"])
    taken = np.searchsorted(phrase["journey"].to_numpy(), np.arange(journeys + 1))
    title_journey, title = kernel.grounded_titles(
        *(starts, word, texts.stem_starts, texts.stems, texts.of_title, texts.may_add),
        *(nearest, library.title_of_key, taken, texts.of_phrase, _LIMIT, len(texts.known)),
    )
    own_columns = ("closeness", "centrality", "frequency", "search", "rule")
    blocks = [
        rows.select("journey", *own_columns, weight="share", text="word", source=pl.lit(0.0)),
        _of_phrases(rows, phrases, phrase_starts, starts).with_columns(text=pl.Series(texts.of_phrase)),
        pl.DataFrame({"journey": title_journey, "text": texts.of_title[title]}).with_columns(source=pl.lit(2.0)),
    ]
    found = pl.concat(blocks, how="diagonal_relaxed")
    likeness = np.zeros((len(found), 3))
    first = 0
    sources = (
        (vectors, word, 1.0),
        (centroids(vectors, word[member], np.ones(len(member)), phrase_starts), np.arange(len(phrase)), 1.0),
        (library.vectors, title, 1.0 / GRID),
    )
    for candidates, codes, unit in sources:
        part = slice(first, first := first + len(codes))
        of = found["journey"].to_numpy()[part]
        kernel.fill_likeness(candidates, codes, unit, of, centres, expected, middles, likeness[part])
    names = ("expected", "evenly")
    found = found.with_columns(
        pl.coalesce("closeness", pl.Series(likeness[:, 0])).alias("closeness"),
        *(pl.Series(name, likeness[:, place]) for place, name in enumerate(names, start=1)),
    ).sort("journey", maintain_order=True)
    shares = np.zeros((len(found), 4))
    journey, text = found["journey"].to_numpy(), found["text"].to_numpy()
    kernel.fill_shared_words(
        *(starts, word, weight, texts.stem_starts, texts.stems),
        *(np.searchsorted(journey, np.arange(journeys + 1)), text, shares, len(texts.may_add)),
    )
    of_journey = pl.DataFrame(
        {
            "keywords": np.diff(starts).astype(np.float64),
            "cohesion": _weighted_means(rows["closeness"].to_numpy(), weight, starts),
            "titles": np.bincount(title_journey, minlength=journeys).astype(np.float64),
            "agreement": np.sqrt((expected**2).sum(axis=1)),
            "nearest": closest,
        }
    )
    names = ("shared_weight", "shared", "whole", "grounded")
    found = found.with_columns(
        *(pl.Series(name, shares[:, place]) for place, name in enumerate(names)),
        *texts.known[text],
        *of_journey[journey],
    )
    return _with_gaps(found)


def _weighted_means(
    values: NDArray[np.float64], weight: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.add.reduceat(values * weight, starts[:-1]) / np.add.reduceat(weight, starts[:-1])


def _of_phrases(
    rows: pl.DataFrame, phrases: pl.DataFrame, of_phrase: NDArray[np.int64], starts: NDArray[np.int64]
) -> pl.DataFrame:
    """What the keywords of each phrase have together, as shares of their journey's."""
    if phrases.is_empty():
        return pl.DataFrame(schema={"journey": pl.Int64, "source": pl.Float64})
    member, journey = phrases["row"].to_numpy(), phrases["journey"].gather(of_phrase[:-1]).to_numpy()

    def share(column: str) -> NDArray[np.float64]:
        values = rows[column].to_numpy()
        return np.add.reduceat(values[member], of_phrase[:-1]) / np.add.reduceat(values, starts[:-1])[journey]

    sizes = np.diff(of_phrase)
    columns = {
        "journey": journey,
        "source": np.ones(len(journey)),
        "centrality": np.add.reduceat(rows["centrality"].to_numpy()[member], of_phrase[:-1]) / sizes,
        "frequency": share("frequency"),
        "weight": share("share"),
        "search": np.maximum.reduceat(rows["search"].to_numpy()[member], of_phrase[:-1]),
    }
    return pl.DataFrame(columns)


def _expected_titles(
    centres: NDArray[np.float32], library: TitleLibrary
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each journey the nearest keys, the mean vector of their titles, and the cosine to the nearest."""
    from lab.naming import name_candidates_kernel as kernel

    count = len(centres)
    nearest = np.zeros((count, min(_NEAREST, len(library.keys))), dtype=np.int64)
    cosine = np.zeros((count, min(_EXPECTING, len(library.keys))))
    directions = library.directions(centres)
    for first in range(0, count, _JOURNEYS_AT_ONCE):
        part = slice(first, first + _JOURNEYS_AT_ONCE)
        # Whole numbers: a product has the same bits however many rows are multiplied at once.
        similarity = directions[part] @ library.keys.T
        kernel.fill_nearest(similarity, nearest[part])
        cosine[part] = np.take_along_axis(similarity, nearest[part, : cosine.shape[1]], axis=1) / GRID**2
    expected = np.zeros((count, library.vectors.shape[1]))
    kernel.fill_expected(nearest, cosine, library.vectors, library.title_of_key, _SHARPNESS, expected)
    return nearest, expected / GRID, cosine[:, 0]


class _Texts:
    """All texts that keywords, phrases and titles have, each once, and the stems of their words by number."""

    def __init__(self, words: pl.Series, library: TitleLibrary, phrases: pl.Series) -> None:
        seen = {text: place for place, text in enumerate(words)}
        for text in (*library.texts, *phrases):
            seen.setdefault(text, len(seen))
        self.of_title = np.array([seen[text] for text in library.texts], dtype=np.int64)
        self.of_phrase = np.array([seen[text] for text in phrases], dtype=np.int64)
        numbers: dict[str, int] = {}
        parts = [[numbers.setdefault(stem, len(numbers)) for stem in sorted(stems(text))] for text in seen]
        self.stem_starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        self.stems = np.array([number for part in parts for number in part], dtype=np.int64)
        self.may_add = np.array([may_add(stem) for stem in numbers], dtype=np.bool_)
        with_stem = np.zeros(len(numbers))
        for text in self.of_title:
            with_stem[parts[text]] += 1
        titles = set(self.of_title.tolist())
        self.known = pl.DataFrame(
            {
                "name": list(seen),
                "words": [float(len(tokens(text))) for text in seen],
                "characters": [float(len(text)) for text in seen],
                "titles_with_words": [float(with_stem[part].mean()) if part else 0.0 for part in parts],
                "titles_with_rarest": [float(with_stem[part].min()) if part else 0.0 for part in parts],
                "is_title": [float(place in titles) for place in range(len(seen))],
            }
        ).with_columns(readability=readability(pl.col("name")))


def _with_gaps(found: pl.DataFrame) -> pl.DataFrame:
    """Candidates with the gap of each figure to the journey's best, and the place that it gives."""
    found = found.with_columns(both=pl.col("closeness") + pl.col("expected"))
    gaps = ("closeness", "expected", "both", "evenly", "rule", "shared_weight")
    places = ("closeness", "expected", "both")
    return found.with_columns(
        *((pl.col(name) - pl.col(name).max().over("journey")).alias(f"{name}_gap") for name in gaps),
        *(pl.col(name).rank("min", descending=True).over("journey").alias(f"{name}_place") for name in places),
    ).select("journey", "name", pl.col(FEATURES).cast(pl.Float32))


_SCHEMA = {"journey": pl.Int64, "name": pl.String, "text": pl.Int64, "word": pl.Int64} | dict.fromkeys(
    FEATURES, pl.Float32
)
