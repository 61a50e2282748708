"""Pairs of a journey's keywords and the title that a person would give it, written by hand in independent passes."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from journeys_dagster.errors import ExpectedError

PASSES = Path(__file__).parent / "passes"
JOURNEY, NO_JOURNEY = "journey", "none"
FEWEST_KEYWORDS = 6
LONGEST_TITLE = 5
_KEYWORDS = range(FEWEST_KEYWORDS, 13)
_BETWEEN = " | "


class PairError(ExpectedError, ValueError, carries_user_text=False):
    """A file of pairs cannot be read; the message names the file and the line."""


def load_pairs(*paths: Path) -> pl.DataFrame:
    """Pairs of all files, in their order.

    A line is a pair: ``kind``, ``title`` and keywords between bars, with a tab between the three. What is no journey
    (errands, navigation, leftovers) is ``none``, and its title ``-``.

    Parameters
    ----------
    paths : Path
        Files, or folders of files that end in ``.tsv``; by default the passes that lie beside this module.

    Returns
    -------
    DataFrame
        ``written`` (name of the file), ``title`` (null where it is no journey), ``keywords`` (list of str).

    Raises
    ------
    PairError
        A line has another form.
    """
    files = [file for path in paths or [PASSES] for file in (sorted(path.glob("*.tsv")) if path.is_dir() else [path])]
    rows = [
        (file.stem, *_pair(line, f"{file.name}, line {number}"))
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    ]
    schema = {"written": pl.String, "title": pl.String, "keywords": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def pair_line(title: str, keywords: Sequence[str]) -> str:
    """The line of a pair, as `load_pairs` reads it; a bar or a tab in a keyword becomes a space."""
    plain = (" ".join(keyword.replace("|", " ").split()) for keyword in keywords)
    return f"{JOURNEY}\t{title}\t{_BETWEEN.join(plain)}\n"


def _pair(line: str, where: str) -> tuple[str | None, list[str]]:
    fields = line.split("\t")
    if len(fields) != len(("kind", "title", "keywords")):
        raise PairError(f"{where}: {len(fields)} fields in place of kind, title and keywords with a tab between")
    kind, title, listed = fields
    keywords = listed.split(_BETWEEN)
    if kind not in {JOURNEY, NO_JOURNEY}:
        raise PairError(f"{where}: the kind is neither {JOURNEY} nor {NO_JOURNEY}")
    if len(keywords) not in _KEYWORDS or len({*keywords}) < len(keywords) or not all(map(str.strip, keywords)):
        raise PairError(f"{where}: {_KEYWORDS[0]} to {_KEYWORDS[-1]} different keywords are needed")
    if kind == NO_JOURNEY:
        return None, keywords
    if not 0 < len(title.split()) <= LONGEST_TITLE:
        raise PairError(f"{where}: a title has one to {LONGEST_TITLE} words")
    return title, keywords
