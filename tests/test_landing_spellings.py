"""Files as other systems write them: what is plainly meant is read, what is not plain is told, nothing is guessed."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_landing_reader import DAY, HEADER, LANDING, TIME, counts, read, reasons, search, users, write_rows

from journeys_dagster.settings import Settings, SettingsError
from journeys_dagster.sources import text_blocks
from journeys_dagster.sources.contracts import declared_sources
from journeys_dagster.sources.cures import cure
from journeys_dagster.sources.reader import LandedRows, read_days
from journeys_dagster.sources.work_database import prepare_values
from journeys_dagster.sql.connection import start_duckdb

LINE = f"u1,oak,{TIME}\n"
BOARD_HEADER = "user_id;board_id;board_name;item_id;occurred_at\n"


def read_bytes(folder: Path, content: bytes, name: str = "part.csv", source: str = "searches") -> LandedRows:
    (folder / name).write_bytes(content)
    return read(folder, source)


def read_with(folder: Path, content: str, sources: dict[str, Any], name: str = "part.csv") -> LandedRows:
    (folder / name).write_text(content)
    source = declared_sources(Settings.model_validate({"sources": sources}))["searches"]
    return read_days(source, {DAY: folder}, LANDING)


def evaluated(expression: str, written: str) -> Any:
    with start_duckdb() as connection:
        prepare_values(connection)
        connection.execute("create table given (x varchar)")
        connection.execute("insert into given values ($written)", {"written": written})
        return connection.sql(f"select {expression} from given").fetchall()[0][0]


# ---- files by what they hold ----


def as_csv(path: Path) -> None:
    path.write_text(HEADER + LINE)


def as_json(path: Path) -> None:
    path.write_text(json.dumps(search()) + "\n")


def as_parquet(path: Path) -> None:
    pl.DataFrame([search()]).write_parquet(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((name, as_parquet) for name in ("000000_0", "part.parq", "export", "data.hive", "part.snappy")),
        *((name, as_csv) for name in ("part-00001", "searches.txt", "export.dat", "searches")),
        *((name, as_json) for name in ("part.json", "part.jsonl", "events.log", "firehose-1-2025")),
    ],
)
def test_a_file_is_read_by_what_it_holds(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    assert users(read(tmp_path)) == ["u1"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: pa.compress(data, "zstd")])
@pytest.mark.parametrize("name", ["part.csv.packed", "part-0"])
def test_a_packed_file_is_read(tmp_path: Path, name: str, pack: Callable[[bytes], Any]) -> None:
    (tmp_path / name).write_bytes(bytes(memoryview(pack((HEADER + LINE).encode()))))
    assert users(read(tmp_path)) == ["u1"]


@pytest.mark.parametrize("name", ["part-0.csv", "part-0.parquet", "part-0.ndjson", "000000_0", "part.csv.gz"])
def test_an_empty_part_file_is_no_error(tmp_path: Path, name: str) -> None:
    landed = read_bytes(tmp_path, gzip.compress(b"") if name.endswith("gz") else b"", name)
    assert (reasons(landed), landed.days["files"].to_list(), counts(landed)) == ([], [1], (0, 0, 0, 0))


def test_utf_16_with_its_mark_is_read(tmp_path: Path) -> None:
    assert users(read_bytes(tmp_path, (HEADER + LINE.replace("oak", "küche")).encode("utf-16"))) == ["u1"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        *((b"Obj\x01" + bytes(90), "Avro"), (b"ORC" + bytes(90), "ORC"), (b"PK\x03\x04" + bytes(90), "Excel")),
        (b"INSERT INTO searches (user_id, query, occurred_at) VALUES ('u1', 'oak', '2025-06-01');\n", "SQL"),
        (b"-- a dump\n\nCOPY public.searches (user_id, query, occurred_at) FROM stdin;\nu1\toak\t2025-06-01\n", "SQL"),
    ],
)
def test_another_format_is_named(tmp_path: Path, content: bytes, name: str) -> None:
    (reason,) = reasons(read_bytes(tmp_path, content, "part-7"))
    assert name in reason
    assert "write Parquet, CSV or NDJSON" in reason


def test_a_line_that_is_not_utf8_costs_itself(tmp_path: Path) -> None:
    lines = [f"u{number},Küche,{TIME}\n".encode("latin-1" if number == 2 else "utf-8") for number in range(4)]
    landed = read_bytes(tmp_path, HEADER.encode() + b"".join(lines))
    assert users(landed) == ["u0", "u1", "u3"]
    assert landed.rejected.select("row_number", "reason").rows() == [(3, "the line is not UTF-8 text")]
    (tmp_path / "part.csv").unlink()
    objects = [json.dumps(search(user_id=f"u{n}", query="Küche"), ensure_ascii=False) for n in range(3)]
    content = "\n".join(objects).encode().replace(b"u1", b"u\xff", 1)
    landed = read_bytes(tmp_path, content, "part.ndjson")
    assert users(landed) == ["u0", "u2"]
    assert landed.rejected.select("row_number", "reason").rows() == [(2, "the line is not UTF-8 text")]


def test_a_bad_byte_within_a_quoted_field_of_lines_costs_these_lines(tmp_path: Path) -> None:
    content = f'{HEADER}u1,"oak\nK\xffche\ntable",{TIME}\nu2,oak,{TIME}\n'.encode("latin-1")
    landed = read_bytes(tmp_path, content)
    assert users(landed) == ["u2"]
    assert landed.days["rows_rejected"].item() == 3


# ---- JSON ----


def test_glued_objects_are_rows_of_their_own(tmp_path: Path) -> None:
    glued = "".join(json.dumps(search(user_id=f"u{n}", query="a } { b }{ c")) for n in range(3))
    spaced = " \t ".join(json.dumps(search(user_id=f"v{n}")) for n in range(2))
    landed = read_bytes(tmp_path, f"{glued}\n{spaced}\n".encode(), "part.ndjson")
    assert users(landed) == ["u0", "u1", "u2", "v0", "v1"]
    assert reasons(landed) == []


def test_what_is_broken_among_glued_objects_costs_itself(tmp_path: Path) -> None:
    good = [json.dumps(search(user_id=f"u{n}")) for n in range(3)]
    landed = read_bytes(
        tmp_path, (good[0] + '{"user_id": oops}' + good[1] + '{"user_id": "cut' + "\n" + good[2]).encode(), "a"
    )
    assert users(landed) == ["u0", "u1", "u2"]
    assert landed.rejected["row"].to_list() == ['{"user_id": "cut', '{"user_id": oops}']


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [
        ("[", ", ", "]\n"),
        (" [ ", ",", " ] "),
        ("", ",\n", ",\n"),
        ("[", "]\n[", "]"),
        ("\x1e", "\n\x1e", "\n"),
        ("\x1e", "\x1e", ""),
        ("", "\r\n", "\r\n"),
    ],
)
def test_objects_are_told_apart_as_queues_and_sockets_write_them(
    tmp_path: Path, before: str, between: str, after: str
) -> None:
    rows = [json.dumps(search(user_id=f"u{n}", query="a }, { b")) for n in range(3)]
    landed = read_bytes(tmp_path, (before + between.join(rows) + after).encode(), "part.ndjson")
    assert users(landed) == ["u0", "u1", "u2"]
    assert reasons(landed) == []


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_an_array_of_objects_is_read(tmp_path: Path, indent: int | None, ending: str) -> None:
    rows = [search(user_id=f"u{n}") for n in range(3)]
    content = json.dumps(rows, indent=indent).replace("}, {", "},\n{") + ending
    assert users(read_bytes(tmp_path, content.encode(), "part.json")) == ["u0", "u1", "u2"]


def test_objects_over_several_lines_are_read(tmp_path: Path) -> None:
    content = "\n".join(json.dumps(search(user_id=f"u{n}"), indent=2) for n in range(3))
    assert users(read_bytes(tmp_path, content.encode(), "part.ndjson")) == ["u0", "u1", "u2"]


@pytest.mark.parametrize(
    "around",
    [
        {"data": ...},
        {"total": 3, "next": None, "ids": [1, 2], "note": "a [{ b", "results": ...},
        {"errors": [], "links": [{"rel": "self"}], "hits": {"total": {"value": 3}, "hits": ...}},
        {"d": {"results": ..., "__count": "3"}},
    ],
)
@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", ["part.json", "part.ndjson"])
def test_an_object_around_rows_is_none(tmp_path: Path, around: dict[str, Any], indent: int | None, name: str) -> None:
    rows = [search(user_id=f"u{n}", query='a }, { [b] " c') for n in range(3)]

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return rows if value is ... else value

    landed = read_bytes(tmp_path, json.dumps(filled(around), indent=indent).encode(), name)
    assert landed.accepted.select("user_id", "query").rows() == [(f"u{n}", 'a }, { [b] " c') for n in range(3)]
    assert reasons(landed) == []


def test_each_line_may_be_an_object_around_rows(tmp_path: Path) -> None:
    pages = [{"page": n, "data": [search(user_id=f"u{n}{m}") for m in range(2)]} for n in range(2)]
    lines = [*pages, search(user_id="v"), {"page": 3, "data": []}]
    landed = read_bytes(tmp_path, "".join(f"{json.dumps(line)}\n" for line in lines).encode(), "part.ndjson")
    assert users(landed) == ["u00", "u01", "u10", "u11", "v"]
    assert landed.rejected["row"].to_list() == ['{"page": 3, "data": []}']


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_around_rows_that_is_cut_costs_the_row_it_is_cut_in(tmp_path: Path, indent: int | None) -> None:
    content = json.dumps({"total": 3, "data": [search(user_id=f"u{n}") for n in range(3)]}, indent=indent)
    landed = read_bytes(tmp_path, content[: content.index("u2")].encode(), "part.json")
    assert users(landed) == ["u0", "u1"]
    assert landed.days["rows_rejected"].item() == 1


def test_a_list_of_objects_in_a_row_is_a_value(tmp_path: Path) -> None:
    tags = [{"title": "oak"}, {"title": "table"}]
    row = {"item_id": "i1", "title": "Oak table", "annotations": tags}
    landed = read_bytes(tmp_path, json.dumps(row).encode(), "part.json", "items")
    assert landed.days["rows_read"].item() == 1
    assert landed.rejected["reason"].to_list() == ["annotations is not a list of texts"]


def test_what_an_object_holds_is_counted_where_it_has_no_column_at_all(tmp_path: Path) -> None:
    hits = [{"_id": str(n), "_source": search()} for n in range(4)]
    landed = read_bytes(tmp_path, json.dumps({"took": 3, "hits": {"hits": hits}}).encode(), "part.json")
    assert landed.days["rows_rejected"].item() == 4


@pytest.mark.parametrize("orient", ["columns", "index", "split", "list"])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_by_column_is_told_for_the_whole_file(tmp_path: Path, orient: str, indent: int | None) -> None:
    rows = [search(user_id=f"u{n}") for n in range(3)]
    content = {
        "columns": {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]},
        "index": {str(n): row for n, row in enumerate(rows)},
        "split": {"columns": list(rows[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in rows]},
        "list": {name: [row[name] for row in rows] for name in rows[0]},
    }[orient]
    landed = read_bytes(tmp_path, json.dumps(content, indent=indent).encode(), "part.json")
    assert landed.days["unreadable_files"].to_list() == [1]
    assert reasons(landed)[0].startswith("unreadable file: it holds JSON by column")
    assert cure(reasons(landed)[0])


@pytest.mark.parametrize(
    ("written", "query"),
    [
        (r"oak \ud83c", "oak "),
        (r"\udf32 oak", " oak"),
        (r"oak \ud83c\udf32", "oak 🌲"),
        (r"oak \\ud83c", r"oak \ud83c"),
        (r"\uD83C\uDF32\uD83C", "🌲"),
    ],
)
def test_half_a_character_costs_itself(tmp_path: Path, written: str, query: str) -> None:
    line = json.dumps(search(query="oak")).replace('"oak"', f'"{written}"')
    landed = read_bytes(tmp_path, f"{line}\n{json.dumps(search(user_id='u2'))}\n".encode(), "part.ndjson")
    assert landed.accepted["query"].to_list() == [query, "oak"]


def test_half_a_character_makes_no_two_users_one(tmp_path: Path) -> None:
    lines = [json.dumps(search(user_id="u")).replace('"u"', f'"u{half}"') for half in ("", r"\ud83c")]
    assert users(read_bytes(tmp_path, "\n".join(lines).encode(), "part.ndjson")) == ["u", "u\ufffd"]


# ---- columns ----


@pytest.mark.parametrize(
    "header",
    [
        *("user_id, query, occurred_at", "User_ID,Query,Occurred_At", "USER_ID,QUERY,OCCURRED_AT"),
        *("userId,query,occurredAt", '" user_id ","query","Occurred At"', "\ufeffuser-id,query,occurred at"),
    ],
)
def test_names_of_columns_are_known_without_blanks_and_capitals(tmp_path: Path, header: str) -> None:
    assert users(read_bytes(tmp_path, f"{header}\n{LINE}".encode())) == ["u1"]


def test_names_of_columns_are_known_in_parquet_and_json_too(tmp_path: Path) -> None:
    pl.DataFrame([{"USER_ID": "p", "QUERY": "oak", "OCCURRED_AT": TIME}]).write_parquet(tmp_path / "a.parquet")
    write_rows(tmp_path / "b.ndjson", [{"userId": "j", "query": "oak", "occurredAt": TIME}, search(user_id="k")])
    assert users(read(tmp_path)) == ["j", "k", "p"]


def test_the_table_before_each_name_is_no_part_of_it(tmp_path: Path) -> None:
    content = f"logs.user_id\tlogs.query\tlogs.occurred_at\nu1\toak\t{TIME}\n"
    assert users(read_bytes(tmp_path, content.encode(), "000000_0")) == ["u1"]
    # Of two tables it may tell which of two columns is meant.
    (reason,) = reasons(read_bytes(tmp_path, content.replace("logs.q", "l.q").encode(), "000000_0"))
    assert "names no column" in reason


def test_two_columns_that_could_be_meant_are_named(tmp_path: Path) -> None:
    (reason,) = reasons(read_bytes(tmp_path, f"User_ID,userid,query,occurred_at\nx,{LINE}".encode()))
    assert "columns User_ID, userid could each be user_id" in reason
    assert users(read_bytes(tmp_path, f"User_ID,user_id,query,occurred_at\nx,{LINE}".encode())) == ["u1"]


def test_blanks_after_separators_are_no_part_of_a_field(tmp_path: Path) -> None:
    landed = read_bytes(tmp_path, f'user_id, query, occurred_at\nu1, "oak, round", {TIME}\nu2, oak, {TIME}\n'.encode())
    assert landed.accepted.select("user_id", "query").rows() == [("u1", "oak, round"), ("u2", "oak")]


def test_columns_may_be_named_in_the_settings(tmp_path: Path) -> None:
    columns = {"user_id": "customer", "query": "search term"}
    content = f"customer,search term,occurred_at,user_id\n{LINE.strip()},x\n"
    assert users(read_with(tmp_path, content, {"searches": {"columns": columns}})) == ["u1"]
    assert users(read(tmp_path)) == []


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"serches": {}}, "there is no such source"),
        ({"searches": {"columns": {"user": "u"}}}, "user is no column of it"),
    ],
)
def test_a_setting_of_what_there_is_not_is_named(sources: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        declared_sources(Settings.model_validate({"sources": sources}))


# ---- CSV of other makers ----


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_is_seen_from_the_header(tmp_path: Path, separator: str) -> None:
    content = (HEADER + LINE).replace(",", separator).replace("oak", "oak, round")
    assert read_bytes(tmp_path, content.encode()).accepted["query"].to_list() == ["oak, round"]


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\n', "sep=;\r\n"])
def test_a_line_that_names_the_separator_is_no_header(tmp_path: Path, line: str) -> None:
    content = line + (HEADER + LINE).replace(",", ";")
    assert users(read_bytes(tmp_path, b"\xef\xbb\xbf" + content.encode())) == ["u1"]


def test_a_file_without_a_header_is_told_once(tmp_path: Path) -> None:
    landed = read_bytes(tmp_path, (LINE * 3).encode())
    assert landed.days["unreadable_files"].to_list() == [1]
    assert len(reasons(landed)) == 1


def test_a_backslash_before_a_quote_costs_its_line_and_is_named(tmp_path: Path) -> None:
    content = f'{HEADER}u1,"the \\"best\\" oak",{TIME}\n{LINE}u3,back\\slash,{TIME}\n'
    landed = read_bytes(tmp_path, content.encode())
    assert users(landed) == ["u1", "u3"]
    assert reasons(landed) == ["the line has a backslash before a quote: write a quote inside a quoted field twice"]


FIELDS = st.lists(st.text(alphabet='a",;\n\r \\', max_size=6), min_size=1, max_size=12)


@given(queries=FIELDS, size=st.integers(20, 60))
def test_blocks_of_any_size_give_the_same_rows(
    queries: list[str], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("day")
    write_rows(folder / "part.csv", [search(user_id=f"u{n}", query=f"q{query}") for n, query in enumerate(queries)])
    with (folder / "part.csv").open("a") as file:
        file.write(f'bad,"oak,{TIME}\n' + LINE)
    whole = read(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", size)
        in_blocks = read(folder)
    assert in_blocks.accepted.equals(whole.accepted)
    assert in_blocks.rejected.equals(whole.rejected)


def test_a_carriage_return_is_no_part_of_a_time(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["u1"], "query": ["oak"], "occurred_at": [f"{TIME}\r"]})
    pq.write_table(table, tmp_path / "part.parquet")
    assert users(read(tmp_path)) == ["u1"]


def test_a_rejected_line_is_kept_without_its_end(tmp_path: Path) -> None:
    content = f'{HEADER}u1,o"ak\r\nu2\r\nK\xffche\r\n{LINE}'
    landed = read_bytes(tmp_path, content.encode("latin-1"))
    assert sorted(landed.rejected["row"]) == ["K\ufffdche", 'u1,o"ak', "u2"]
    (tmp_path / "part.csv").write_text(f"{HEADER}u1,oak\r\n{LINE}")
    assert read(tmp_path).rejected["row"].to_list() == ["u1,oak"]


# ---- ids ----


def test_a_whole_number_is_one_id_in_every_type(tmp_path: Path) -> None:
    columns = [
        pa.array([7]),
        pa.array([7.0]),
        pa.array([Decimal("7.00")], pa.decimal128(9, 2)),
        pa.array(["7"]),
        pa.array(["7.0"]),
        pa.array([b"7"]),
        pa.array([" 7 "]),
        pa.array(["\ufeff7\u00a0"]),
        pa.array(['="7"']),
    ]
    for number, column in enumerate(columns):
        table = pa.table({"user_id": column, "query": ["oak"], "occurred_at": [TIME]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    write_rows(tmp_path / "part.ndjson", [{**search(), "user_id": value} for value in (7, 7.0, "7", "7.0")])
    assert (users(read(tmp_path)), reasons(read(tmp_path))) == (["7"], [])


@pytest.mark.parametrize("user_id", ["007", "1.5", "a.0", "1.0.0", "7e3", "u 1"])
def test_other_ids_are_as_they_are_written(tmp_path: Path, user_id: str) -> None:
    assert users(read_bytes(tmp_path, f"{HEADER}{user_id},oak,{TIME}\n".encode())) == [user_id]


@pytest.mark.parametrize("value", [7.5, 2.0**60, float("inf")])
def test_a_number_that_is_no_exact_whole_one_is_no_id(tmp_path: Path, value: float) -> None:
    table = pa.table({"user_id": [value], "query": ["oak"], "occurred_at": [TIME]})
    pq.write_table(table, tmp_path / "part.parquet")
    (reason,) = reasons(read(tmp_path))
    assert reason.startswith("user_id is")
    assert "text" in reason


@pytest.mark.parametrize(
    "user_id",
    [
        *(r"\N", "NULL", "null", "None", "nan", "NaN", "undefined", "[object Object]", "0", "-1", "(not set)", "N/A"),
        *("00000000-0000-0000-0000-000000000000", "<NA>", "anonymous", " NULL ", "0.0"),
        *("NA", "n.a.", "-", "?", "#REF!", "(none)", "Not set", "__HIVE_DEFAULT_PARTITION__", "0000000000", "0" * 32),
        *("{00000000-0000-0000-0000-000000000000}", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "[object Undefined]"),
    ],
)
def test_a_word_for_nobody_is_no_user(tmp_path: Path, user_id: str) -> None:
    landed = read_bytes(tmp_path, f"{HEADER}{user_id},null,{TIME}\n{LINE}".encode())
    assert users(landed) == ["u1"]
    assert reasons(landed) == ["user_id is a word for nobody or nothing (landing.no_user)"]


def test_a_header_that_is_written_again_is_no_row(tmp_path: Path) -> None:
    content = "item_id,title\ni1,Oak\nitem_id,title\ni2,Fir\n"
    landed = read_bytes(tmp_path, content.encode(), source="items")
    assert landed.accepted["item_id"].to_list() == ["i1", "i2"]
    assert landed.days["rows_rejected"].item() == 1


def test_what_stands_for_nobody_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "part.csv").write_text(f"{HEADER}0,oak,{TIME}\n00,oak,{TIME}\nNobody,oak,{TIME}\n")
    landing = LANDING.model_copy(update={"no_user": ["nobody"]})
    landed = read_days(declared_sources(Settings())["searches"], {DAY: tmp_path}, landing)
    assert users(landed) == ["0", "00"]


def test_an_item_may_have_the_number_0_but_not_the_word_null(tmp_path: Path) -> None:
    lines = "".join(f"u1,{item},save,{TIME}\n" for item in ("0", "NULL"))
    landed = read_bytes(tmp_path, f"user_id,item_id,action,occurred_at\n{lines}".encode(), source="engagements")
    assert landed.accepted["item_id"].to_list() == ["0"]
    assert reasons(landed) == ["item_id is a word for nobody or nothing (landing.no_user)"]


def test_capitals_and_blanks_of_an_action_mean_nothing(tmp_path: Path) -> None:
    content = f"user_id,item_id,action,occurred_at\nu1,i1, Save ,{TIME}\n"
    assert read_bytes(tmp_path, content.encode(), source="engagements").accepted["action"].to_list() == ["save"]


# ---- times ----


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2025-06-01 12:00:01 UTC", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 12:00:01.5 GMT", datetime(2025, 6, 1, 12, 0, 1, 500_000)),
        ("2025-06-01 05:00:01.000 -0700", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 12:00:01 +0000 UTC", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 14:00:01 Europe/Berlin", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-01-01 14:00:01 America/Argentina/Buenos_Aires", datetime(2025, 1, 1, 17, 0, 1)),
        ("20250601T120001Z", datetime(2025, 6, 1, 12, 0, 1)),
        ("20250601T1200", datetime(2025, 6, 1, 12)),
        ("20250601", datetime(2025, 6, 1)),
        ("2025-06-01T12:00:01,25Z", datetime(2025, 6, 1, 12, 0, 1, 250_000)),
        ("2025-06-01t12:00:01z", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-W22-7T12:00", datetime(2025, 6, 1, 12)),
        ("2025-152T12:00:00+02", datetime(2025, 6, 1, 10)),
        ("2025/06/01 12:00:01", datetime(2025, 6, 1, 12, 0, 1)),
        ("Sun, 01 Jun 2025 12:00:01 GMT", datetime(2025, 6, 1, 12, 0, 1)),
        ("01/Jun/2025:12:00:01 +0200", datetime(2025, 6, 1, 10, 0, 1)),
        ("Sun Jun  1 12:00:01 2025", datetime(2025, 6, 1, 12, 0, 1)),
        ("Sun Jun 1 12:00:01 UTC 2025", datetime(2025, 6, 1, 12, 0, 1)),
        ("Sun Jun 01 2025 12:00:01 GMT+0200 (Central European Summer Time)", datetime(2025, 6, 1, 10, 0, 1)),
        ("Jun 1, 2025 12:00:01", datetime(2025, 6, 1, 12, 0, 1)),
        ("01-JUN-2025 12:00:01", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01T14:00:01+02:00[Europe/Berlin]", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01T12:00:01Z[UTC]", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 12:00:01 Etc/GMT+2", datetime(2025, 6, 1, 14, 0, 1)),
        ("2025-06-01 12:00:01 Etc/GMT-10", datetime(2025, 6, 1, 2, 0, 1)),
        ("2025-6-1 12:00:01", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025/6/1 9:05", datetime(2025, 6, 1, 9, 5)),
        ("2025.06.01 12:00:01", datetime(2025, 6, 1, 12, 0, 1)),
        ("20250601120001", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 12:00:01 PM", datetime(2025, 6, 1, 12, 0, 1)),
        ("2025-06-01 12:05 am", datetime(2025, 6, 1, 0, 5)),
        ("2025/6/1 9:05:00.5 p.m. UTC", datetime(2025, 6, 1, 21, 5, 0, 500_000)),
        ("Jun 1, 2025, 3:07:01\u202fPM", datetime(2025, 6, 1, 15, 7, 1)),
        ("Sun Jun 1 09:00:01 AM UTC 2025", datetime(2025, 6, 1, 9, 0, 1)),
    ],
)
def test_a_time_is_read_as_warehouses_and_languages_write_it(written: str, utc: datetime) -> None:
    assert evaluated("written_time(x)", written) == utc


@pytest.mark.parametrize(
    "written",
    [
        *("01/06/2025 12:00", "1.6.2025", "06-01-2025", "01.06.25 12:00", "2025-06-01 12:00 PST", "12:00"),
        *("2025-06-01 12:00 Middle/Earth", "2025-06-01 12:00:00 +25:00", "Foo 1, 2025 12:00", "20251301", "2025-366"),
        *(
            *("2025-06-01 13:00 PM", "2025-06-01 0:30 AM", "06/01/2025 10:00 AM", "2025-06-01 PM"),
            "2025-06-01T12:00:00 UTC+junk",
            "01-JUN-25 12:00:01",
            "20251301120001",
            "2025-6-31 12:00",
        ),
        *("2025-06-01 12:00 Etc/GMT+99", "2025-06-01 12:00 Foo/+1", "19700101000", "17487792010000"),
    ],
)
def test_a_time_that_is_not_plain_is_not_guessed(written: str) -> None:
    assert evaluated("written_time(x)", written) is None


@given(moment=st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), minutes=st.integers(-14 * 60, 14 * 60))
def test_an_offset_is_never_ignored(moment: datetime, minutes: int) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    offset = f"{sign}{size // 60:02}{size % 60:02}"
    moment = moment.replace(microsecond=0)
    with start_duckdb() as connection:
        prepare_values(connection)
        for written in (
            f"{moment} {offset}",
            moment.strftime("%d %b %Y %H:%M:%S ") + offset,
            f"{moment:%Y%m%dT%H%M%S}{offset}",
        ):
            found = connection.sql(f"select written_time('{written}') + to_minutes({minutes})").fetchall()
            assert found == [(moment,)]


@pytest.mark.parametrize(
    ("unit", "number"),
    [
        ("s", "1748779201"),
        ("s", "1748779201.0"),
        ("ms", "1748779201000"),
        ("us", "1748779201000000"),
        ("ns", "1748779201000000000"),
    ],
)
def test_a_time_may_be_a_number_where_its_unit_is_told(tmp_path: Path, unit: str, number: str) -> None:
    as_text = read_with(tmp_path, f"{HEADER}u1,oak,{number}\n", {"searches": {"time_unit": unit}})
    assert as_text.accepted["occurred_at"].to_list() == [datetime(2025, 6, 1, 12, 0, 1)]
    as_number = json.dumps({**search(), "occurred_at": float(number) if "." in number else int(number)})
    (tmp_path / "part.csv").unlink()
    landed = read_with(tmp_path, as_number, {"searches": {"time_unit": unit}}, "part.ndjson")
    assert landed.accepted["occurred_at"].to_list() == [datetime(2025, 6, 1, 12, 0, 1)]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1748772000", "sources.searches.time_unit"),
        ("30.06.2025 10:30", "the day from the month"),
        ("6/30/25", "the month"),
    ],
)
def test_a_time_that_is_not_read_says_why(tmp_path: Path, written: str, said: str) -> None:
    (reason,) = reasons(read_bytes(tmp_path, f"{HEADER}u1,oak,{written}\n".encode()))
    assert said in reason


# ---- lists ----


@pytest.mark.parametrize(
    ("written", "texts"),
    [
        ('{"trail shoes","wide fit"}', ["trail shoes", "wide fit"]),
        ('{oak,"a ""b",NULL}', None),
        ("{oak,pine,NULL}", ["oak", "pine"]),
        (r'{"a \"b\"",c}', ['a "b"', "c"]),
        ("['oak', \"joiner's\"]", ["oak", "joiner's"]),
        ("['oak' 'red pine'\n 'ash']", ["oak", "red pine", "ash"]),
        ("[oak, red pine]", ["oak", "red pine"]),
        ("[it's oak, ash]", ["it's oak", "ash"]),
        ('["tents, two rooms"]', ["tents, two rooms"]),
        ("{css} grid", ["{css} grid"]),
        ("<oak><red-pine>", ["oak", "red-pine"]),
        ("<oak>", ["oak"]),
        ("<b>oak</b>", ["<b>oak</b>"]),
        ("<br>", ["<br>"]),
        (r'"[\"oak\", \"red pine\"]"', ["oak", "red pine"]),
        ("set(['oak', 'ash'])", ["oak", "ash"]),
        ("frozenset({'oak'})", ["oak"]),
        ("array(['oak', 'red pine'], dtype=object)", ["oak", "red pine"]),
        ("('oak', 'red pine')", ["oak", "red pine"]),
        ("('oak',)", ["oak"]),
        ("(oak)", ["(oak)"]),
        *(("{}", []), ("[]", []), ("N/A", []), ("(no genres listed)", []), ("None|oak", ["oak"])),
        *(("WrappedArray(oak, red pine)", ["oak", "red pine"]), ("List(oak)", ["oak"]), ("ArrayBuffer()", [])),
        *(('"[""oak"",""red pine""]"', ["oak", "red pine"]), ("Set (queen)", ["Set (queen)"])),
        *(('{"a": 1}', None), ("[{'name': 'oak'}]", None), ("[[oak]]", None)),
    ],
)
def test_a_list_is_read_as_databases_and_languages_write_it(written: str, texts: list[str] | None) -> None:
    found = evaluated("clean_list(written_list(x))", written)
    if texts is not None or found is None:
        assert found == texts


@given(st.lists(st.text(alphabet="ab c'\"\\,;{}|", min_size=1).filter(lambda text: text.strip() == text), max_size=4))
def test_lists_of_postgres_come_back_as_they_were(texts: list[str]) -> None:
    quoted = ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    if not any(sign in text for text in texts for sign in "{}:"):
        kept = [text for text in texts if text not in {"-", "na"}]
        assert evaluated("clean_list(written_list(x))", "{" + quoted + "}") == kept


def items(*annotations: str) -> bytes:
    lines = "".join(f'i{number};Oak;"{written}"\n' for number, written in enumerate(annotations))
    return f"item_id;title;annotations\n{lines}".encode()


@pytest.mark.parametrize("apart", [", ", ",", ";", "; ", "\t", "~", " • ", "::", "^"])
def test_a_column_of_lists_with_commas_is_told_and_makes_no_keywords(tmp_path: Path, apart: str) -> None:
    written = [f"oak{number}{apart}table" for number in range(4)] + ["plain", '{""a"",b}']
    landed = read_bytes(tmp_path, items(*written), source="items")
    assert [list(texts) for texts in landed.accepted["annotations"]] == [["plain"], ["a", "b"]]
    assert set(reasons(landed)) == {"annotations look like a list with another separator than |: write a|b|c, or JSON"}


def test_a_few_commas_among_phrases_are_phrases(tmp_path: Path) -> None:
    landed = read_bytes(tmp_path, items("tents, two rooms", *["plain"] * 9), source="items")
    assert landed.days["rows_rejected"].item() == 0
    landed = read_bytes(tmp_path, items("tents, two rooms", "a|b"), source="items")
    assert landed.days["rows_rejected"].item() == 0


def test_a_title_that_is_too_long_is_cut_and_costs_no_tags(tmp_path: Path) -> None:
    content = f"item_id,title,annotations\ni1,{'x' * 400},oak\n"
    (row,) = read_bytes(tmp_path, content.encode(), source="items").accepted.to_dicts()
    assert (row["title"], row["annotations"]) == ("x" * LANDING.max_text_length, ["oak"])


# ---- texts ----


def test_texts_are_kept_without_the_wrapping_of_exports_and_other_values_as_they_are(tmp_path: Path) -> None:
    item = {
        "item_id": "a&amp;b",
        "title": "CrÃ¨me &amp; sugar",
        "annotations": ["<b>Home &gt; Kitchen</b>", "plain"],
        "interests": ["R&amp;B"],
    }
    write_rows(tmp_path / "part.ndjson", [item, {**item, "item_id": ""}])
    landed = read(tmp_path, "items")
    assert landed.accepted.drop("arrival_day").to_dicts() == [
        {
            "item_id": "a&amp;b",
            "title": "Crème & sugar",
            "annotations": ["Home > Kitchen", "plain"],
            "interests": ["R&B"],
        }
    ]
    (rejected,) = landed.rejected["row"]
    assert "CrÃ¨me &amp; sugar" in rejected


def test_a_text_of_which_its_wrapping_leaves_nothing_is_kept(tmp_path: Path) -> None:
    write_rows(tmp_path / "part.ndjson", [search(query="<br/>"), search(query="oak")])
    assert read(tmp_path).accepted["query"].sort().str.strip_chars().to_list() == ["", "oak"]
