"""What a name in a landing zone may have been meant as: a day by another convention, a source in another spelling.

Nothing is read under such a name. It is told, with the name it should have; functions of names alone.
"""

import re
from calendar import monthrange
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from urllib.parse import unquote

DAY_FOLDER = "date=YYYY-MM-DD"
_KEYED = re.compile(r"(?P<key>[A-Za-z]\w*)\s*=\s*(?P<value>.*)", re.DOTALL)
_YEARS, _MONTHS, _DAYS = {"year", "yr", "yyyy", "y"}, {"month", "mon", "mm", "m"}, {"day", "dd", "d", "dom"}
_DATE = re.compile(r"(?<!\d)(?P<year>\d{4})(?P<sep>[-_./ ])(?P<month>\d{1,2})(?P=sep)(?P<day>\d{1,3})(?!\d)", re.ASCII)
_COMPACT_DATE = re.compile(r"(?<!\d)(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:\d{2,6})?(?!\d)", re.ASCII)
_ONLY_A_DATE = re.compile(r"(?:\d[-_./ ]?){6,8}", re.ASCII)
_DAY_FIRST = re.compile(
    r"(?<!\d)(?P<one>\d{1,2})(?P<sep>[-_./])(?P<two>\d{1,2})(?P=sep)(?P<year>\d{4})(?!\d)", re.ASCII
)
_DAY_OF_YEAR = re.compile(r"(?P<year>\d{4})-?(?P<number>\d{3})", re.ASCII)
_WEEK = re.compile(r"(?P<year>\d{4})[-_ ]?(?:W|week[-_ =]?)(?P<week>\d{1,2})", re.IGNORECASE | re.ASCII)
_MONTH = re.compile(r"(?P<year>(?:19|20)\d\d)[-_./]?(?P<month>1[0-2]|0?[1-9])", re.ASCII)
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_NUMBER = re.compile(r"\d{1,2}", re.ASCII)
_YEAR = re.compile(r"(?:19|20)\d\d", re.ASCII)
_DAY_NAME = f"{DAY_FOLDER.partition('=')[0]}="


@dataclass(frozen=True)
class Meant:
    """What the names of folders, from a source's folder down, say of time.

    Attributes
    ----------
    why : str
        What is wrong with the name.
    day : date, optional
        The day that they plainly mean.
    is_whole : bool
        Whether they say nothing else: an hour, or a word beside the day, would.
    cure : str
        What to do, where they do not plainly mean a day.
    """

    why: str
    day: date | None = None
    is_whole: bool = True
    cure: str = ""


def named_day(day: date) -> str:
    """Name of a day's folder."""
    return f"{_DAY_NAME}{day.isoformat()}"


def meant_by(names: Sequence[str]) -> Meant | None:
    """The day, or the wrong measure of time, that nested folders name; none where they say nothing whole yet.

    Parameters
    ----------
    names : sequence of str
        One folder below the other, such as ``["year=2025", "month=06", "day=25"]``.
    """
    year = month = None
    for name in names:
        key, value = _key_and_value(name)
        if (week := _WEEK.fullmatch(value)) or (key in {"week", "wk", "w"} and year is not None):
            what = f"{value} is a week" if week else "it is a week"
            return Meant(f"{what}, not a day", cure=f"split its files by day into {DAY_FOLDER}")
        if (found := _day_in(value)) is not None:
            return found
        if year is None and (key in _YEARS or not key) and _YEAR.fullmatch(value):
            year = int(value)
        elif year is None and (several := _MONTH.fullmatch(value)) and _YEAR.fullmatch(several["year"]):
            year, month = int(several["year"]), int(several["month"])
        elif year is not None and month is None and (key in _MONTHS or not key) and _NUMBER.fullmatch(value):
            month = int(value)
        elif year is not None and month is not None and (key in _DAYS or not key) and _NUMBER.fullmatch(value):
            return _day(year, month, int(value), f"{year:04}-{month:02}-{int(value):02}")
    return None


def names_time(name: str) -> bool:
    """Whether a name is about time, whole or not: ``year=2025`` as well as ``2025-06-25``."""
    key, value = _key_and_value(name)
    is_part = key in _YEARS | _MONTHS | _DAYS or _YEAR.fullmatch(value) or _MONTH.fullmatch(value)
    return bool(is_part) or meant_by([name]) is not None


def not_a_day(names: Sequence[str]) -> Meant:
    """The same for folders with files directly in them, of which something must be said."""
    if (meant := meant_by(names)) is not None:
        return meant
    _, value = _key_and_value(names[-1])
    if value.casefold() in {"", "null", "none", "__hive_default_partition__", "default"} and "=" in names[-1]:
        return Meant("its writer had no day for these rows", cure=f"give each row its day, then write {DAY_FOLDER}")
    if _YEAR.fullmatch(value) or _MONTH.fullmatch(value) or _key_and_value(names[-1])[0] in _MONTHS:
        return Meant("it names a year or a month, not a day", cure=f"split its files by day into {DAY_FOLDER}")
    return Meant("its name is no day", cure=f"if it holds a day's rows, name it {DAY_FOLDER}; else take it away")


def meant_source(name: str, sources: Collection[str]) -> str | None:
    """The source that a name is another spelling of: capitals, hyphens, blanks, singular or plural, an ending."""
    plain = {_plain(source): source for source in sources}
    for candidate in _spellings(_plain(name)):
        if candidate in plain:
            return plain[candidate]
    close = get_close_matches(_plain(name), plain, n=1, cutoff=0.85)
    return plain[close[0]] if close else None


def _key_and_value(name: str) -> tuple[str, str]:
    plain = unquote(name).translate(_DASHES).strip()
    keyed = _KEYED.fullmatch(plain)
    return (keyed["key"].casefold(), keyed["value"].strip()) if keyed else ("", plain)


def _day_in(value: str) -> Meant | None:
    """A whole day in one name."""
    for pattern in (_COMPACT_DATE, _DATE):
        if len({several[0] for several in pattern.finditer(value)}) > 1:
            return Meant("it names more than one day", cure=f"split its files by day into {DAY_FOLDER}")
        if (found := pattern.search(value)) is not None and _YEAR.fullmatch(found["year"]):
            year, month, day = (int(found[part]) for part in ("year", "month", "day"))
            is_whole = _ONLY_A_DATE.fullmatch(value) is not None
            return _day(year, month, day, found[0], is_whole=is_whole)
    if (found := _DAY_FIRST.search(value)) is not None and _YEAR.fullmatch(found["year"]):
        one, two, year = int(found["one"]), int(found["two"]), int(found["year"])
        if 1 <= one <= 12 and 1 <= two <= 12 and one != two:
            return Meant(f"{found[0]} may be day and month or month and day", cure=f"rename it to {DAY_FOLDER}")
        return _day(year, *((two, one) if one > 12 or one == two else (one, two)), found[0])
    if (found := _DAY_OF_YEAR.fullmatch(value)) is not None and _YEAR.fullmatch(found["year"]):
        day = _by_number(int(found["year"]), int(found["number"]))
        if day is not None:
            return Meant(f"{value} counts the days of the year", day)
    return None


def _day(year: int, month: int, day: int, written: str, *, is_whole: bool = True) -> Meant:
    try:
        return Meant(f"its name is not of the form {DAY_FOLDER}", date(year, month, day), is_whole)
    except ValueError:
        pass
    # A pattern of letters that means the day of the year where the day of the month was wanted.
    by_number = _by_number(year, day)
    if by_number is not None and by_number.month == month and day > monthrange(year, month)[1]:
        cure = f"if {day} counts the days of the year, rename it to {named_day(by_number)}"
        return Meant(f"there is no day {written}", cure=cure)
    return Meant(f"there is no day {written}", cure="find out which day its rows arrived on, and rename it to that")


def _by_number(year: int, number: int) -> date | None:
    day = date(year, 1, 1) + timedelta(days=number - 1)
    return day if number > 0 and day.year == year else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _spellings(name: str) -> Iterator[str]:
    yield name
    yield f"{name}s"
    yield f"{name}es"
    yield name.removesuffix("s")
    for word in ("table", "data", "events", "logs", "log", "csv", "parquet", "ndjson", "jsonl", "json"):
        if name.endswith(word) and name != word:
            yield from _spellings(name.removesuffix(word))
