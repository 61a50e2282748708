"""Plots, markdown tables and the journeys table: readable, repeatable, and deaf to what user text says."""

import base64
import io
import json
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from journeys_dagster.reporting.dendrogram import dendrogram
from journeys_dagster.reporting.journeys_table import journeys_table
from journeys_dagster.reporting.plots import bars, before_after, daily_counts, histogram, png_markdown
from journeys_dagster.reporting.tables import markdown_table
from journeys_dagster.reporting.text import escape_markdown, format_number, json_value, printable, shorten


class Labels(TypedDict):
    title: str
    x_label: str
    y_label: str


AXES: Labels = {"title": "Journeys per user", "x_label": "journeys of a user", "y_label": "users"}
DAILY = {"title": "Rows landed", "y_label": "rows"}
LONG_TAIL = pl.Series([1, 2, 3] * 400 + [10**9])
DAYS = pl.Series([date(2024, 5, 3), date(2024, 5, 1), date(2024, 5, 2)])
HOSTILE = "$x^{ <b>&\n\x1b[31m \U0001f600 日本 _x_ [a](http://e.com) " * 5

PLOTS: dict[str, Callable[[], bytes]] = {
    "histogram empty": lambda: histogram(pl.Series([], dtype=pl.Int64), **AXES),
    "histogram nothing finite": lambda: histogram(pl.Series([None, float("nan"), float("inf")]), **AXES),
    "histogram single": lambda: histogram(pl.Series([3]), **AXES),
    "histogram constant floats": lambda: histogram(pl.Series([0.1] * 9), integer=False, **AXES),
    "histogram heavy tail": lambda: histogram(LONG_TAIL, **AXES),
    "histogram heavy tail log": lambda: histogram(LONG_TAIL, log_y=True, **AXES),
    "histogram floats": lambda: histogram(pl.Series(np.linspace(0, 1, 99)), integer=False, **AXES),
    "histogram negative": lambda: histogram(pl.Series([-5, -4, 0, 2]), **AXES),
    "histogram u32": lambda: histogram(pl.Series([0, 4, 4], dtype=pl.UInt32), log_y=True, **AXES),
    "bars empty": lambda: bars([], [], **AXES),
    "bars single": lambda: bars(["searches"], [3], **AXES),
    "bars zero": lambda: bars(["searches", "items"], [0, 0], **AXES),
    "bars missing": lambda: bars(["a", "b"], [float("nan"), 2.5], **AXES),
    "bars many": lambda: bars([f"category {i}" for i in range(99)], range(99), **AXES),
    "bars long": lambda: bars(["a long reason for rejection " * 9] * 4, [1, 2, 3, 10**9], **AXES),
    "bars hostile": lambda: bars([HOSTILE, HOSTILE], [1, 2], title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE),
    "before_after empty": lambda: before_after(pl.Series([None]), pl.Series([1.0]), **AXES),
    "before_after single": lambda: before_after(pl.Series([1.0]), pl.Series([0.5]), **AXES),
    "before_after many": lambda: before_after(
        pl.Series(np.random.default_rng(1).gamma(2, 1, 50_000)),
        pl.Series(np.random.default_rng(2).pareto(1, 50_000)),
        **AXES,
    ),
    "daily empty": lambda: daily_counts(DAYS.clear(), {"rows": pl.Series([], dtype=pl.Int64)}, **DAILY),
    "daily no series": lambda: daily_counts(DAYS, {}, **DAILY),
    "daily all null": lambda: daily_counts(DAYS, {"rows": pl.Series([None] * 3)}, **DAILY),
    "daily single": lambda: daily_counts(DAYS.head(1), {"rows": pl.Series([3])}, **DAILY),
    "daily bars": lambda: daily_counts(DAYS, {"rows": pl.Series([3, None, 1])}, **DAILY),
    "daily lines": lambda: daily_counts(DAYS, {HOSTILE: pl.Series([3, 2, 1]), "_b": pl.Series([0.5, -1, 1])}, **DAILY),
    "daily years": lambda: daily_counts(
        pl.Series([date(2020, 1, 1), date(2024, 1, 1)]), {"rows": pl.Series([1, 2])}, **DAILY
    ),
}


@pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS.keys())
def test_plots_are_small_pngs_of_one_size_and_the_same_every_time(draw: Callable[[], bytes]):
    from matplotlib.image import imread

    png = draw()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (700, 350)
    pixels = imread(io.BytesIO(png), format="png")
    assert pixels.shape[:2] == (350, 700)
    assert (pixels[2, 2, :3] == 1).all(), "the background is white"
    assert len(png) <= 40_000
    assert draw() == png


def test_plots_leave_no_figure_behind_and_no_setting_changed():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    histogram(pl.Series([1, 2]), **AXES)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_plots_show_what_they_are_given():
    same = pl.Series([1, 1, 2, 3])
    assert histogram(same, **AXES) == histogram(same.append(pl.Series([None], dtype=pl.Int64)), **AXES)
    assert histogram(pl.Series([1, 2, 2]), **AXES) != histogram(pl.Series([1, 1, 2]), **AXES)
    assert histogram(LONG_TAIL, **AXES) != histogram(LONG_TAIL.head(1200), **AXES), "the cut tail is told"
    assert bars(["a", "b"], [1, 2], **AXES) != bars(["a", "b"], [2, 1], **AXES)
    rows = {"rows": pl.Series([3, 1, 2])}
    in_order = daily_counts(DAYS.sort(), {"rows": pl.Series([1, 2, 3])}, **DAILY)
    assert daily_counts(DAYS, rows, **DAILY) == in_order, "days may come in any order"


def test_histogram_cuts_the_tail_at_the_99th_percentile_and_says_so(subtitles: list[str]):
    histogram(LONG_TAIL, **AXES)
    assert subtitles[-1] == "n = 1,201 · mean 832,641 · median 2 · 1 more above 3, up to 1,000,000,000"
    histogram(pl.Series([1, 2, 3]), **AXES)
    assert subtitles[-1] == "n = 3 · mean 2 · median 2"


def test_before_after_tells_the_shares_of_all_rows_and_draws_a_sample(subtitles: list[str]):
    before = pl.Series([1.0] * 30_000)
    before_after(before, pl.Series([1.0, 0.5, 2.0] * 10_000), **AXES)
    assert subtitles[-1] == "n = 30,000 · 33.3% lower · 33.3% higher · dashed: unchanged · 5,000 drawn"
    before_after(pl.Series([1.0, None, 3.0]), pl.Series([1.0, 2.0, float("nan")]), **AXES)
    assert subtitles[-1] == "n = 1 · none changed · dashed: unchanged"


def test_bars_tell_the_total_and_how_many_are_left_out(subtitles: list[str]):
    bars([f"reason {i}" for i in range(20)], [1] * 20, **AXES)
    assert subtitles[-1] == "20 in all · the largest 15 of 20 are shown"


@pytest.fixture
def subtitles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from journeys_dagster.reporting import plots

    seen: list[str] = []
    original = plots.new_axes

    def listening(*, subtitle: str, **others: Any):
        seen.append(subtitle)
        return original(subtitle=subtitle, **others)

    monkeypatch.setattr(plots, "new_axes", listening)
    return seen


def test_a_dendrogram_is_as_high_as_it_has_leaves():
    merges = np.array([[0, 1, 0.3, 2], [2, 3, 0.9, 3]], dtype=float)
    words = {"distance_threshold": 0.6, "title": "t", "subtitle": "s"}
    three = dendrogram(merges, ["a", "b", "$x^2$ <b>"], **words)
    assert three == dendrogram(merges, ["a", "b", "$x^2$ <b>"], **words)
    merges_of_four = np.vstack([merges, [4, 3, 0.95, 4]])
    merges_of_four[1:, :2] = [[4, 2], [5, 3]]
    four = dendrogram(merges_of_four, ["a", "b", "c", "d"], **words)
    heights = [struct.unpack(">II", png[16:24])[1] for png in (three, four)]
    assert heights[1] - heights[0] == 15
    alike = dendrogram(np.array([[0, 1, 0.0, 2]]), ["a", "b"], **words)
    assert struct.unpack(">II", alike[16:24])[1] == heights[0] - 15
    one = dendrogram(np.zeros((0, 4)), ["a"], **words)
    assert struct.unpack(">II", one[16:24]) == (700, 350)


def test_png_markdown_carries_the_bytes_and_only_them():
    png = bars(["a"], [1], **AXES)
    markdown = png_markdown(png, alt="rows](http://evil.example) | ![x")
    (paragraph,) = [token for token in MarkdownIt("commonmark").parse(markdown) if token.type == "inline"]
    (image,) = paragraph.children or []
    assert image.type == "image"
    header, _, payload = str(image.attrs["src"]).partition(",")
    assert header == "data:image/png;base64"
    assert base64.b64decode(payload) == png


# Markdown tables

SPECIAL = st.sampled_from(
    [
        *["|", "\\", "`", "<", ">", "&", "*", "_", "[", "]", "(", ")", "!", "~", "x"],
        *["://", "http", "www.", "@", "a.b", "&#124;", "<!--", "—", "日"],
        *["\n", "\r", "\t", " ", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202e"],
    ]
)
USER_TEXT = st.one_of(st.text(max_size=30), st.lists(SPECIAL, max_size=15).map("".join))
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@given(cells=st.lists(st.tuples(USER_TEXT, USER_TEXT), min_size=1, max_size=4), name=USER_TEXT)
def test_user_text_is_shown_in_its_cell_and_does_nothing(cells: list[tuple[str, str]], name: str):
    frame = pl.DataFrame(cells, schema={f"a{name}": pl.String, "b": pl.String}, orient="row")
    table = markdown_table(frame, max_rows=4)

    lines = table.split("\n")
    assert len(lines) == len(cells) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert not re.search(r"[<\r\t\x00-\x09\x0b-\x1f\x85\u2028\u202e]", table)
    assert not re.search(r"://|www\.|\w@", table, re.IGNORECASE), "no address is left to link"

    tokens = MARKDOWN.parse(table)
    shown = [token for token in tokens if token.type == "inline"]
    assert len(shown) == 2 * (len(cells) + 1)
    kinds = {child.type for token in shown for child in token.children or []}
    assert kinds <= {"text", "text_special"}
    values = ["".join(child.content for child in token.children or []) for token in shown]
    expected = [f"a{name}", "b", *(text for row in cells for text in row)]
    assert [value.replace("\u2060", "").strip() for value in values] == [
        shorten(printable(text), width=60).strip() for text in expected
    ]


def shown(frame: pl.DataFrame) -> str:
    """The text of the only cell of a table."""
    *_, cell = (token for token in MARKDOWN.parse(markdown_table(frame)) if token.type == "inline")
    return "".join(child.content for child in cell.children or [])


def test_markdown_table_writes_each_kind_of_value_for_people():
    keywords = [{"keyword": "shaker cabinets", "weight": 2.0}, {"keyword": "sink", "weight": 1.0}]
    frame = pl.DataFrame(
        {
            "score": [0.123456],
            "rows": [1234567],
            "big": [12345.678],
            "day": [date(2024, 5, 1)],
            "seen": [datetime(2024, 5, 1, 9, 30, 59)],
            "seen_utc": [datetime(2024, 5, 1, 9, 30, tzinfo=UTC)],
            "ok": [True],
            "nothing": [None],
            "tags": [["a", None, "b"]],
            "few": [[1.5, 2.25]],
            "keywords": [keywords],
            "one": [keywords[0]],
            "embedding": pl.Series([[0.5] * 384], dtype=pl.Array(pl.Float32, 384)),
            "listed": [[1] * 9],
            "nested": [[["a", "b"], ["c"]]],
            "raw": [b"abc"],
            "took": [timedelta(seconds=90)],
        }
    )
    assert {name: shown(frame.select(name)) for name in frame.columns} == {
        "score": "0.1235",
        "rows": "1234567",
        "big": "12,346",
        "day": "2024-05-01",
        "seen": "2024-05-01 09:30",
        "seen_utc": "2024-05-01 09:30",
        "ok": "true",
        "nothing": "",
        "tags": "a, b",
        "few": "1.5, 2.25",
        "keywords": "shaker cabinets, sink",
        "one": "keyword: shaker cabinets, weight: 2",
        "embedding": "[384 floats]",
        "listed": "[9 integers]",
        "nested": "[a, b], [c]",
        "raw": "[3 bytes]",
        "took": "0:01:30",
    }
    assert markdown_table(frame.select("score", "tags")) == ("| score | tags |\n| ---: | --- |\n| 0.1235 | a, b |")


def test_markdown_table_is_limited_in_rows_and_width():
    frame = pl.DataFrame({"text": ["x" * 100, "y", "z"]})
    assert markdown_table(frame, max_rows=2).split("\n")[2:] == [f"| {'x' * 59}… |", "| y |"]
    assert markdown_table(frame.clear()) == "(no rows)"
    assert markdown_table(pl.DataFrame()) == "(no rows)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain query", "plain query"),
        (" two\r\n\tlines\u2028here ", "two lines here"),
        ("\x1b[31mred\x1b]8;;http://e.com\x07", "\ufffd[31mred\ufffd]8;;http://e.com\ufffd"),
        ("evil\u202etxt.exe\x9b1m", "evil\ufffdtxt.exe\ufffd1m"),
        ("soft\u00adhyphen\ufeff\u200b", "softhyphen"),
        ("family 👩\u200d👧 日本語 naïve", "family 👩\u200d👧 日本語 naïve"),
    ],
)
def test_printable_keeps_writing_and_drops_control(text: str, expected: str):
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (0.87123, "0.8712"),
        (1.25e-5, "1.25e-05"),
        (999.96, "1,000"),
        (-1234.5, "-1,234"),
        (1e6, "1,000,000"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_format_number(number: float, expected: str):
    assert format_number(number) == expected


def test_escape_markdown_leaves_ordinary_text_readable():
    text = "women's shoes - size 7.5, 20% off #sale"
    assert escape_markdown(text) == text


# The journeys table


def keyword(text: str, *sources: str, weight: float = 1.0, shown: str | None = None) -> dict[str, object]:
    seen = datetime(2024, 5, 1, 9)
    return {"keyword": text, "shown": shown or text, "weight": weight, "sources": list(sources), "last_seen": seen}


def journeys(*rows: dict[str, object]) -> pl.DataFrame:
    usual = {
        "as_of": date(2024, 5, 4),
        "read_on": date(2024, 5, 4),
        "user_id": "u17",
        "journey_id": "j1",
        "rank": 1,
        "name": "kitchen renovation",
        "keywords": [keyword("shaker cabinets", "search", "board")],
        "lifecycle": "situational",
        "stage": "ongoing",
        "confidence": 0.8712,
        "return_probability": 0.2345,
        "score": 2.5,
        "search_count": 12,
        "action_count": 1240,
        "first_seen": datetime(2024, 3, 1),
        "last_seen": datetime(2024, 5, 1, 9, 30),
        "algorithm_version": "ab12",
        "scope": "active_users",
    }
    schema = {"as_of": pl.Date, "rank": pl.Int64, "confidence": pl.Float64, "last_seen": pl.Datetime("us")}
    return pl.DataFrame([usual | row for row in rows or ({},)], schema_overrides=schema)


def render(frame: pl.DataFrame, *, width: int = 100, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    console.print(journeys_table(frame.to_dicts(), user_id="u17"))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_nothing_is_lost_at_any_width(width: int):
    frame = journeys(
        {},
        {"rank": 2, "name": "q" * 90, "stage": "evergreen", "search_count": 123456, "action_count": 1234567},
        {"rank": 30, "name": "summer dresses", "stage": "ended", "last_seen": datetime(2022, 5, 4)},
    )
    text = render(frame, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for part in ["kitchen renovation", "shaker cabinets", "ongoing", "evergreen", "ended"]:
        assert part in text
    for part in ["0.87", "12 / 1,240", "123,456 / 1,234,567", "2024-05-01", "3 d ago", "731 d ago"]:
        assert part in text
    assert text.count("q") == 90, "a long name is folded, not cut"
    assert text.splitlines()[0].strip() == "User u17 · 3 journeys as of 2024-05-04"


def test_journeys_are_counted():
    assert "2 journeys" in render(journeys({}, {"rank": 2}))
    assert "1 journey as of" in render(journeys())


def test_no_journeys():
    assert render(journeys().clear()).split("\n")[:2] == ["User u17", "No journeys."]


def test_heaviest_keywords_come_first_and_the_rest_are_counted():
    words = [keyword(f"word{i}", "search", weight=float(i)) for i in range(8)]
    text = " ".join(render(journeys({"keywords": words}), width=160).split())
    assert "word7 (search), word6 (search), word5 (search), word4 (search), word3 (search), +3 more" in text


def test_keywords_are_read_as_they_are_shown_and_a_mistake_is_no_keyword_of_its_own():
    words = [
        keyword("sourdogh loaf", "search", weight=3.0, shown="sourdough loaf"),
        keyword("oven", "board", weight=2.0),
        keyword("sourdough loaf", "search", "engagement", weight=1.0),
    ]
    text = " ".join(render(journeys({"keywords": words}), width=160).split())
    assert "sourdough loaf (search, engagement), oven (board)" in text
    assert "sourdogh" not in text
    assert "more" not in text
    assert "sourdough loaf, oven, sourdough loaf" in markdown_table(journeys({"keywords": words}).select("keywords"))
    assert "word2" not in text


def test_rich_markup_and_escape_sequences_are_shown_not_obeyed():
    frame = journeys(
        {
            "name": "[red]dinners[/red] :smile: [/]",
            "keywords": [
                keyword("[bold]pan[/bold] \x1b[2J\x07", "search"),
                keyword("two\nlines", "[link=x]y"),
            ],
        }
    )
    for colour in (False, True):
        text = render(frame, width=140, colour=colour)
        assert "[red]dinners[/red] :smile: [/]" in text
        assert "[bold]pan[/bold] \ufffd[2J\ufffd" in text
        assert "two lines" in text
        assert "\x1b[2J" not in text
        assert "\x07" not in text
    assert "\x1b" not in render(frame)


def test_text_from_right_to_left_stays_in_its_place():
    frame = journeys({"name": "Oak شاي", "keywords": [keyword("עוגה"), keyword("tea", "search"), keyword("उल्टा")]})
    text = render(frame, width=100)
    assert "\u2068Oak شاي\u2069" in text
    assert "\u2068עוגה\u2069, tea (search), उल्टा " in text
    # What is invisible takes no place: the next column begins where it begins without it.
    visible = text.replace("\u2068", "").replace("\u2069", "").splitlines()
    heading = next(line for line in visible if "stage" in line)
    row = next(line for line in visible if "Oak" in line)
    assert row.index("ongoing") == heading.index("stage")


def test_stages_are_coloured_on_a_terminal_only():
    frame = journeys({"stage": "evergreen"}, {"rank": 2}, {"rank": 3, "stage": "ended"})
    coloured = render(frame, colour=True)
    assert "\x1b[32mevergreen" in coloured
    assert "\x1b[36mongoing" in coloured
    assert "\x1b[2mended" in coloured
    assert "\x1b" not in render(frame)


def test_last_seen_is_told_relative_to_the_day_of_the_snapshot():
    assert "today" in render(journeys({"last_seen": datetime(2024, 5, 4, 23, 59)}))
    assert "ago" not in render(journeys({"last_seen": datetime(2024, 5, 5)})), "not for what lies ahead"


def test_missing_values_leave_their_place_empty():
    row = dict.fromkeys(("name", "stage", "confidence", "return_probability", "keywords", "last_seen", "search_count"))
    frame = pl.concat([journeys(), journeys().with_columns(rank=pl.lit(2, pl.Int64), **row)], how="vertical_relaxed")
    assert "– / 1,240" in render(frame)


def test_records_are_json():
    frame = journeys({"rank": 2}, {"confidence": float("nan"), "name": "\x1b[31m"})
    frame = frame.with_columns(seen=pl.lit(datetime(2024, 5, 1, tzinfo=UTC)))
    second, first = json.loads(json.dumps(json_value(frame.to_dicts()), allow_nan=False))
    assert first["confidence"] is None
    assert first["name"] == "\x1b[31m"
    assert second["as_of"] == "2024-05-04"
    assert second["last_seen"] == "2024-05-01T09:30:00"
    assert second["seen"] == "2024-05-01T00:00:00+00:00"
    assert second["keywords"] == [
        {
            "keyword": "shaker cabinets",
            "shown": "shaker cabinets",
            "weight": 1.0,
            "sources": ["search", "board"],
            "last_seen": "2024-05-01T09:00:00",
        }
    ]
    assert list(second) == frame.columns


def test_importing_reporting_is_light():
    import subprocess
    import sys

    names = "plots, tables, journeys_table"
    code = f"import sys; from journeys_dagster.reporting import {names}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_before_after_on_logarithmic_axes_leaves_out_what_has_no_logarithm():
    before, after = pl.Series([0.0, 0.001, 10.0, 5000.0]), pl.Series([0.0, 0.001, 9.5, 4000.0])
    assert before_after(before, after, **AXES) == before_after(before[1:], after[1:], **AXES)
    nothing = before_after(before[:1], after[:1], **AXES)
    assert nothing.startswith(b"\x89PNG")
