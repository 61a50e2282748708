"""Landing files of good and hostile rows, made from a seed that knows of each row what must become of it."""

import csv
import io
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from journeys_dagster.sources.columns import shown_names
from journeys_dagster.sources.contracts import Field, Source
from journeys_dagster.sources.writer import SUCCESS, day_folder

MARK = "zq7x"
"""In every text that a user could have written; it must not be met in a reason or a log message."""
MAX_TEXT = 500
TARGET_ROWS_PER_FILE = 2_500
MALFORMED_CSV = "the line does not split into the columns of the header: a stray quote, or too many or too few fields"
MALFORMED_JSON = "the line is not a JSON object"
HOSTILE_TEXTS = (
    *("'; drop table searches; --", "'); create table hacked(x int); --", "\"; attach 'hacked' as x; --"),
    *("$1 $as_of ? {users} %s \\n \\", "select * from read_csv('/etc/passwd')", "<script>alert(1)</script>", "{{7*7}}"),
    *(
        "טיול לים",
        "مطبخ صغير",
        "\u202egnirts desrever\u202c",
        "👩‍👩‍👧 🏡",
        "e\u0301 ﬁ ℌ 漢字",
        "a\u0300\u0301\u0302\u0303\u0304",
    ),
    *("nul\0byte", "tab\tand\nline\r\nends", "quotes \"in\" 'it'", "commas, and; pipes", "\ufeffmark", "\x1b[31mred"),
    *("NaN", "null", "None", "true", "1e309", "0x10", "-0", "[1", "{}", "#REF!", "=1+1", "\U0010ffff", "\ue000"),
)
BLANKS = (" ", "\t \t", "\u00a0\u3000", "\u200b\u200d", "\0\0", "\u202e")
EXTRA_COLUMNS = ('x"); drop table checked; --', "it's", "path", "reason", "Queries ", "🏡", "arrival_day", "c0")


class Rejected(NamedTuple):
    """A bad row: where it is and why."""

    day: date
    file: str
    row_number: int
    reason: str


@dataclass
class Expected:
    """What must be found of one source: by day, rows as tuples of the contract's fields; and the bad ones."""

    good: dict[date, list[tuple[Any, ...]]] = field(default_factory=dict)
    bad: list[Rejected] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows written."""
        return sum(map(len, self.good.values())) + len(self.bad)


class Cell(NamedTuple):
    """What is written, and the value it has or the reason it has none."""

    written: Any
    value: Any = None
    reason: str | None = None


def write_hostile_source(
    landing: Path, source: Source, days: Sequence[date], *, rows: int, bad_share: float, megabytes: int, seed: int
) -> Expected:
    """Write days of a source in all formats and several schemas.

    Parameters
    ----------
    rows : int
        About how many, over all days.
    megabytes : int
        Rows that hold a text of a million characters, over all days.
    """
    rng = random.Random(f"{seed} {source.name}")  # noqa: S311 - not for secrets
    expected = Expected()
    files = max(len(days) * 3, rows // TARGET_ROWS_PER_FILE)
    megabyte_files = rng.choices(range(files), k=megabytes)
    for number in range(files):
        day = days[number % len(days)]
        suffix = ("parquet", "csv", "ndjson")[number // len(days) % 3]
        folder = day_folder(landing, source=source.name, day=day)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part {number}'; drop table checked; --.{suffix}"
        file = _File(rng, source, day, suffix, name, expected, bad_share, megabyte_files.count(number))
        file.write(folder / name, max(rows // files, 8))
    for day in days:
        (day_folder(landing, source=source.name, day=day) / SUCCESS).touch()
    return expected


@dataclass
class _File:
    rng: random.Random
    source: Source
    day: date
    suffix: str
    name: str
    expected: Expected
    bad_share: float
    megabytes: int

    def __post_init__(self) -> None:
        fields = self.source.fields
        self.columns = self.rng.sample(list(fields), len(fields))
        # Now and then a column is renamed, or has another type in the whole file.
        self.renamed = self.rng.choice(self.columns) if self.rng.random() < self.bad_share else None
        self.mistyped = self.rng.choice(self.columns) if self.rng.random() < self.bad_share else None
        self.styles = {
            name: "text" if kind.one_of else self.rng.choice(_STYLES[self.suffix][kind.kind])
            for name, kind in fields.items()
        }
        if self.suffix == "csv" or self.renamed == self.mistyped:
            self.mistyped = None
        self.extras = self.rng.sample(EXTRA_COLUMNS, self.rng.randrange(3))

    def write(self, path: Path, rows: int) -> None:
        """Write the file and note what must become of its rows."""
        records = [self._record() for _ in range(rows)]
        for _ in range(self.megabytes):
            records.append(self._record(megabyte=True))
        records += self.rng.choices(records[:rows], k=rows // 20)  # duplicates
        self.rng.shuffle(records)
        {"parquet": self._write_parquet, "csv": self._write_csv, "ndjson": self._write_ndjson}[self.suffix](
            path, records
        )

    def _record(self, *, megabyte: bool = False) -> dict[str, Cell]:
        """Cells of one row; at most one of them is bad, besides the file's renamed and mistyped columns."""
        fields = self.source.fields
        cells = {name: _good(self.rng, kind, self.styles[name], self.day) for name, kind in fields.items()}
        texts = [name for name in cells if self.styles[name] == "text"]
        if megabyte and texts:
            name = self.rng.choice(texts)
            too_long = f"is longer than {MAX_TEXT} characters"
            reason = too_long if fields[name].kind in {"text", "id"} else _WRONG_TYPE[fields[name].kind]
            text = f"{MARK} " + self.rng.choice(["x", "é", "🏡", '",']) * 1_000_000
            cells[name] = Cell(text, None, f"{name} {reason}")
            if fields[name].is_cut:
                cells[name] = Cell(text, text[:MAX_TEXT])
        elif self.rng.random() < self.bad_share:
            name = self.rng.choice(list(cells))
            cells[name] = _bad(self.rng, name, self.source.fields[name], self.styles[name], self)
        if self.renamed:
            reason = f"{self.renamed} is missing"
            if self.suffix != "ndjson":
                extras = (name.strip() if self.suffix == "csv" else name for name in self.extras)
                has = shown_names([*self._names().values(), *extras])
                reason = f"column {reason} from the file, which has {has}"
            is_list = self.source.fields[self.renamed].kind == "text_list"
            cells[self.renamed] = cells[self.renamed]._replace(value=[], reason=None if is_list else reason)
        for name, cell in cells.items():
            if fields[name].is_optional and re.search("is blank$|is missing", cell.reason or ""):
                cells[name] = cell._replace(value=None, reason=None)
        if self.mistyped:
            value = self.rng.choice([1.5, float("nan")])
            reason = _wrong_type(self.source, self.mistyped, value)
            cells[self.mistyped] = Cell(value, None, f"{self.mistyped} {reason}")
        return cells

    def _note(self, cells: Mapping[str, Cell], row_number: int) -> None:
        """The first bad field in the contract's order gives the reason."""
        reasons = [cells[name].reason for name in self.source.fields if cells[name].reason]
        if reasons:
            self.expected.bad.append(Rejected(self.day, self.name, row_number, str(reasons[0])))
        else:
            row = tuple(cells[name].value for name in self.source.fields)
            self.expected.good.setdefault(self.day, []).append(row)

    def _names(self) -> dict[str, str]:
        return {name: f"{name}_of_old" if name == self.renamed else name for name in self.columns}

    def _write_parquet(self, path: Path, records: Sequence[Mapping[str, Cell]]) -> None:
        columns: dict[str, pa.Array] = {}
        for name, written_name in self._names().items():
            kind = pa.float64() if name == self.mistyped else _ARROW_TYPES[self.styles[name]]
            columns[written_name] = pa.array([cells[name].written for cells in records], kind)
        for name in self.extras:
            columns[name] = pa.array([f"{MARK} extra"] * len(records))
        pq.write_table(pa.table(columns), path, row_group_size=self.rng.choice([100, 10_000]))
        for number, cells in enumerate(records, start=1):
            self._note(cells, number)

    def _write_csv(self, path: Path, records: Sequence[Mapping[str, Cell]]) -> None:
        ending = self.rng.choice(["\n", "\r\n"])
        # With the shorter ending, Python's writer would leave a carriage return without quotes.
        quoting = csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL

        def line_of(values: Sequence[Any]) -> str:
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator=ending, quoting=quoting).writerow(values)
            return text.getvalue()

        parts = [self.rng.choice(["", "\ufeff"]), line_of([*self._names().values(), *self.extras])]
        number = 1
        for cells in records:
            if self.rng.random() < self.bad_share / 4:
                parts.append(self._malformed_csv(len(self.columns) + len(self.extras)) + ending)
                self.expected.bad.append(Rejected(self.day, self.name, number, MALFORMED_CSV))
            else:
                parts.append(line_of([*(cells[name].written for name in self.columns), *self._extra_values()]))
                self._note(cells, number)
            number += len(re.findall(r"\r\n|\r|\n", parts[-1]))
        path.write_bytes("".join(parts).encode())

    def _extra_values(self) -> list[str]:
        return [f"{MARK} extra"] * len(self.extras)

    def _malformed_csv(self, width: int) -> str:
        fields = [f"{MARK}{number}" for number in range(width)]
        return self.rng.choice(
            [
                ",".join(fields[:-1]) + f',"{MARK} stray',
                ",".join([*fields, "more"]),
                ",".join(fields[:-1]),
                f'"{MARK}" text after a quote,' + ",".join(fields[1:]),
            ]
        )

    def _write_ndjson(self, path: Path, records: Sequence[Mapping[str, Cell]]) -> None:
        lines = []
        names = self._names()
        for cells in records:
            if self.rng.random() < self.bad_share / 4:
                lines.append(self.rng.choice(_NO_OBJECTS))
                self.expected.bad.append(Rejected(self.day, self.name, len(lines), MALFORMED_JSON))
                continue
            written = {names[name]: cells[name].written for name in self.columns}
            written = {name: value for name, value in written.items() if value is not None or self.rng.random() < 0.5}
            written |= dict.fromkeys(self.extras, f"{MARK} extra")
            # Python writes NaN as such, which is no JSON; it is read as a number all the same.
            lines.append(json.dumps(written, ensure_ascii=self.rng.random() < 0.3))
            self._note(cells, len(lines))
        path.write_bytes("\n".join(lines).encode() + self.rng.choice([b"", b"\n", b"\r\n\n"]))


def _since(text: io.StringIO, begin: int) -> str:
    text.seek(begin)
    return text.read()


_NO_OBJECTS = (
    *("{", "[]", "null", "NaN", "7", f'"{MARK}"', f'{{"user_id": "{MARK}\0"}}', f'{{"user_id": "{MARK}'),
    *(
        f"{{'user_id': '{MARK}'}}",
        f'{{"user_id": "{MARK}", "user_id": "\\ud8"}}',
        f"{MARK} '; drop table checked; --",
    ),
)
_STYLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "csv": {
        "id": ("text",),
        "text": ("text",),
        "timestamp": ("text",),
        "integer": ("text",),
        "text_list": ("json text", "piped"),
    },
    "ndjson": {
        "id": ("text",),
        "text": ("text",),
        "timestamp": ("text",),
        "integer": ("integer", "text"),
        "text_list": ("list", "json text"),
    },
    "parquet": {
        "id": ("text", "text", "text", "whole number"),
        "text": ("text", "text", "text", "whole number"),
        "timestamp": ("text", "zoned", "naive"),
        "integer": ("integer", "text", "double"),
        "text_list": ("list", "json text", "piped"),
    },
}
_ARROW_TYPES = {
    "text": pa.string(),
    "whole number": pa.int64(),
    "zoned": pa.timestamp("us", "UTC"),
    "naive": pa.timestamp("ms"),
    "integer": pa.int64(),
    "double": pa.float64(),
    "list": pa.list_(pa.string()),
    "json text": pa.string(),
    "piped": pa.string(),
}
_NO_EXACT_NUMBER = "is a number with a fraction, or too large to be exact: write it as text"
_WRONG_TYPE = {
    "id": "is not text",
    "text": "is not text",
    "timestamp": "is not a time (ISO 8601 expected)",
    "integer": "is not a whole number",
    "text_list": "is not a list of texts",
}


def _wrong_type(source: Source, name: str, value: Any) -> str:
    """What is said of a value of another type; of numbers more than of others."""
    kind = source.fields[name].kind
    if value in {1.5, 1748772000, "1748772000"} and kind == "timestamp":
        return f"is a number: say in sources.{source.name}.time_unit whether it counts s, ms, us or ns"
    return _NO_EXACT_NUMBER if kind == "id" and value == 1.5 else _WRONG_TYPE[kind]


def _as_id(text: str) -> str:
    """An id without the blanks and invisible signs around it."""
    # Signs that Unicode has not assigned are no blanks.
    kinds = [unicodedata.category(sign) for sign in text]
    shown = [place for place, kind in enumerate(kinds) if kind[0] not in {"C", "Z"} or kind == "Cn"]
    return text[shown[0] : shown[-1] + 1]


def _good(rng: random.Random, kind: Field, style: str, day: date) -> Cell:
    if kind.kind == "timestamp":
        return _good_time(rng, style, day)
    if kind.kind == "integer":
        low, high = kind.between or (0, 0)
        value = rng.randint(low, high)
        written = rng.choice([str(value), f" {value} ", f"+{value}", f"{value}.0"]) if style == "text" else value
        return Cell(float(value) if style == "double" else written, value)
    if kind.kind == "text_list":
        return _good_list(rng, style)
    if style == "whole number":
        value = rng.choice([7, -7, 2**63 - 1, rng.randrange(1, 1_000)])
        return Cell(value, str(value))
    if kind.one_of:
        value = rng.choice(kind.one_of)
        return Cell(value, value)
    value = _text(rng)
    return Cell(value, _as_id(value) if kind.kind == "id" else _without_tags(value))


def _without_tags(text: str) -> str:
    return text.replace("<script>", " ").replace("</script>", " ")


def _text(rng: random.Random) -> str:
    """A text that a contract accepts: few users and words, so that there are duplicates, or an odd one."""
    pick = rng.random()
    word = rng.choice(("oak", "kitchen", "summer", "טיול"))
    if pick < 0.6:
        return f"{MARK} {word} {rng.randrange(12)}"
    if pick < 0.65:
        return f"{MARK} {word} {rng.randrange(20_000)}"
    if pick < 0.97:
        return f"{MARK} {rng.choice(HOSTILE_TEXTS)}{rng.choice(('', ' ', '🏡'))}"
    return MARK + rng.choice("é🏡x\u0301") * rng.choice([MAX_TEXT - len(MARK), MAX_TEXT // 2])


def _good_time(rng: random.Random, style: str, day: date) -> Cell:
    # Up to a day after the end of the arrival day, or long before it.
    begin = datetime.combine(day, time()) - timedelta(days=rng.choice([0, 0, 1, 30, 400]))
    value = begin + timedelta(seconds=rng.randrange(86_400 * 2 - 1))
    if rng.random() < 0.02:
        value = datetime(1970, 1, 1)
    if style == "zoned":
        return Cell(value.replace(tzinfo=UTC), value)
    if style == "naive":
        return Cell(value, value)
    offset = timedelta(minutes=rng.choice([0, 60, -330, 840]))
    local = value + offset
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    sign = "-" if offset < timedelta() else "+"
    return Cell(
        rng.choice(
            [
                f"{value.isoformat()}Z",
                value.isoformat(sep=" "),
                f" {value.isoformat()}.000 ",
                f"{local.isoformat()}{sign}{hours:02}:{minutes:02}",
                f"{local.isoformat(sep=' ')}{sign}{hours:02}{minutes:02}",
            ]
        ),
        value,
    )


def _good_list(rng: random.Random, style: str) -> Cell:
    if style == "piped":
        texts = [f"{MARK} {rng.randrange(40)}" for _ in range(rng.randrange(4))]
        return Cell("|".join(f" {text} " for text in texts), texts)
    texts = [rng.choice([_text(rng), f"{MARK} {rng.randrange(40)}"]) for _ in range(rng.randrange(4))]
    written = [*texts, *rng.sample(BLANKS, rng.randrange(2))]
    return Cell(written if style == "list" else json.dumps(written), [_without_tags(text.strip(" ")) for text in texts])


def _bad(rng: random.Random, name: str, kind: Field, style: str, file: _File) -> Cell:
    choices: list[Callable[[], tuple[Any, str]]] = []
    blank_is_missing = file.suffix == "csv"
    if kind.kind == "text_list":
        if style == "list":
            choices.append(
                lambda: ([f"{MARK}", "x" * (MAX_TEXT + 1)], f"holds a text longer than {MAX_TEXT} characters")
            )
            if file.suffix == "ndjson":
                choices.append(
                    lambda: (rng.choice([[["a"]], [{"a": MARK}], [1.5], {"a": 1}, 7]), "is not a list of texts")
                )
        else:
            choices.append(lambda: (rng.choice(['["oak', f"[{MARK}", "[1.5]", "[[]]"]), "is not a list of texts"))
            choices.append(lambda: ("x" * (MAX_TEXT + 1), f"holds a text longer than {MAX_TEXT} characters"))
    else:
        choices.append(lambda: ("" if blank_is_missing else None, "is missing"))
    if kind.kind in {"text", "id"} and style == "text":
        choices.append(lambda: (rng.choice(BLANKS), "is blank"))
        too_long = MARK + "é" * MAX_TEXT, f"is longer than {MAX_TEXT} characters"
        choices += [] if kind.is_cut else [lambda: too_long]
        if file.suffix == "ndjson":
            choices.append(lambda: (rng.choice([True, [MARK], {"a": MARK}]), "is not text"))
            choices.append(lambda: (1.5, _wrong_type(file.source, name, 1.5)))
    if kind.kind == "timestamp":
        choices += _bad_times(rng, name, style, file)
    if kind.kind == "integer":
        choices.append(lambda: (_as_style(rng.choice([0, 6, -1, 2_000_000_000]), style), "is not in 1 to 5"))
        if style == "text":
            choices.append(lambda: (rng.choice(["4.6", "five", "NaN", "4e0", "٣", f"{MARK}"]), "is not a whole number"))
        if style == "double" or file.suffix == "ndjson":
            choices.append(lambda: (rng.choice([4.5, float("nan"), float("inf"), 1e300]), "is not a whole number"))
    if kind.one_of and style == "text" and rng.random() < 0.5:
        word = rng.choice(["teleport", f"{MARK} save", "<i> ", "<b>", "x" * 40])
        return Cell(word, None, f"unknown {name}" + (" teleport" if word == "teleport" else ""))
    written, reason = rng.choice(choices)()
    return Cell(written, None, f"{name} {reason}")


def _bad_times(rng: random.Random, name: str, style: str, file: _File) -> Iterator[Callable[[], tuple[Any, str]]]:
    early = [datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59)]
    late = [datetime(9999, 12, 31, 23, 59, 59), datetime.combine(file.day, time()) + timedelta(days=2)]

    def written(value: datetime) -> Any:
        if style == "text":
            return rng.choice([value.isoformat(), f"{value.isoformat(sep=' ')}Z"])
        return value.replace(tzinfo=UTC) if style == "zoned" else value

    yield lambda: (written(rng.choice(early)), "is before 1970")
    yield lambda: (written(rng.choice(late)), "is in the future of the arrival day")
    if style == "text":
        words = ["yesterday", "NaN", "2025-02-30", "2025-06-01T25:00:00", "0000-00-00", "now()", MARK]
        yield lambda: (rng.choice(words), "is not a time (ISO 8601 expected)")
        if file.suffix == "ndjson":
            yield lambda: (rng.choice([True, [], {}]), "is not a time (ISO 8601 expected)")
        number = rng.choice(["1748772000", *((1748772000, 1.5) if file.suffix == "ndjson" else ())])
        yield lambda: (number, _wrong_type(file.source, name, number))


def _as_style(value: int, style: str) -> Any:
    return {"text": str, "double": float, "integer": int}[style](value)
