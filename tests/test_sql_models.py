"""Reading the SQL models: faults in a file, code versions, lineage, and the conventions that all files keep."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from journeys_dagster.definitions import declared_assets, declared_tables
from journeys_dagster.settings import Settings
from journeys_dagster.sources.parameters import query_parameters
from journeys_dagster.sql.connection import start_duckdb, used_params
from journeys_dagster.sql.macros import load_macros
from journeys_dagster.sql.models import SQL_ROOT, ModelError, SqlModel, load_audits, load_model, load_models
from journeys_dagster.tables import Column, Table

HEADER = {
    "name": "rugs",
    "grain": "one row per rug",
    "materialized": "view",
    "per": "population",
    "description": "Rugs that were seen.",
}
SELECT = "select cast(rug as varchar) as rug -- the rug\nfrom sightings"
MODELS = load_models()
AUDITS = [audit for audits in load_audits().values() for audit in audits]
TABLES = declared_tables(Settings())
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
AS_OF = date(2025, 6, 10)
WriteModel = Callable[..., Path]


def header_of(**changes: str | None) -> str:
    """A header with some keys changed, and left out where the change is None."""
    merged = {key: value for key, value in (HEADER | changes).items() if value is not None}
    return "/*\n" + "\n".join(f"{key}: {value}" for key, value in merged.items()) + "\n*/\n"


@pytest.fixture
def write(tmp_path: Path) -> WriteModel:
    """Write a model file below a fresh root."""

    def write_model(sql: str = SELECT, *, header: str | None = None, **changes: str | None) -> Path:
        path = tmp_path / "models" / "staging" / "rugs.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((header_of(**changes) if header is None else header) + sql, encoding="utf-8")
        return path

    return write_model


@pytest.fixture
def write_audit(write: WriteModel, tmp_path: Path) -> Callable[[str], Path]:
    """Write an audit file beside a model."""

    def write_audit_file(text: str) -> Path:
        write()
        path = tmp_path / "audits" / "rugs_are_clean.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_audit_file


def test_a_model_is_what_its_header_and_sql_say(write: WriteModel):
    path = write(
        "select cast(rug as varchar) as rug, -- the rug\n"
        "    cast(seen_on as date) as seen_on -- day, UTC (nullable)\n"
        "from sightings;\n",
        description=">\n  Rugs\n  that were seen.",
        key="[rug]",
        partition_column="seen_on",
        owner="team:rugs",
    )

    model = load_model(path)

    assert (model.name, model.layer, model.table.kind, model.owner) == ("rugs", "staging", "view", "team:rugs")
    assert model.table == Table(
        kind="view",
        name="rugs",
        description="Rugs that were seen.",
        grain="one row per rug",
        columns={
            "rug": Column(type="TEXT", description="the rug"),
            "seen_on": Column(type="DATE", description="day, UTC", nullable=True),
        },
        key=("rug",),
        partition_column="seen_on",
        per="population",
    )
    assert model.depends_on == {"sightings"}
    assert model.sql.endswith("from sightings")


@pytest.mark.parametrize("key", ["name", "grain", "materialized", "per", "description"])
def test_a_header_without_a_required_key_is_refused(write: WriteModel, key: str):
    path = write(**{key: None})
    with pytest.raises(ModelError, match=rf"rugs\.sql: the header lacks {key}"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "carpets"}, "name 'carpets' is not the file's name"),
        ({"name": "[rugs]"}, r"name in the header must be a str, not \['rugs'\]"),
        ({"grain": "5"}, "grain in the header must be a str, not 5"),
        ({"colour": "red", "size": "4"}, "unknown in the header: colour, size"),
        ({"materialized": "heap"}, "materialized must be one of view, table, snapshot"),
        ({"per": "item"}, "per must be one of user, population"),
        ({"materialized": "snapshot"}, "a snapshot must have partition_column: as_of"),
        ({"key": "rug"}, "key in the header must be a list, not 'rug'"),
        ({"key": "[rug, size]"}, "the header names 'size', which is no column"),
        ({"order": "[size]"}, "the header names 'size', which is no column"),
        ({"partition_column": "seen_on"}, "the header names 'seen_on', which is no column"),
    ],
)
def test_a_fault_in_the_header_is_named(write: WriteModel, changes: dict[str, str], message: str):
    path = write(**changes)
    with pytest.raises(ModelError, match=rf"rugs\.sql: .*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", r"must start with a /\* header \*/"),
        ("-- name: rugs\n", r"must start with a /\* header \*/"),
        ("/* name: [rugs */", "the header is not YAML"),
        ("/* just words */", "the header is not a mapping"),
        ("/* */", "the header is not a mapping"),
    ],
)
def test_a_file_without_a_readable_header_is_refused(write: WriteModel, header: str, message: str):
    path = write(header=header)
    with pytest.raises(ModelError, match=rf"rugs\.sql: .*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select rug -- the rug\nfrom sightings", "column 'rug' is not cast"),
        ("select rug as rug -- the rug\nfrom sightings", "column 'rug' is not cast"),
        ("select cast(rug as varchar) -- the rug\nfrom sightings", "is not cast"),
        ("select * from sightings", "column '.*' is not cast"),
        ("select cast(rug as varchar) as rug from sightings", "column 'rug' has no comment"),
        ("select cast(a as varchar) as rug, -- a\ncast(b as varchar) as rug -- b\nfrom sightings", "two columns 'rug'"),
    ],
)
def test_a_column_without_cast_comment_or_name_of_its_own_is_refused(write: WriteModel, sql: str, message: str):
    path = write(sql)
    with pytest.raises(ModelError, match=rf"rugs\.sql: .*{message}"):
        load_model(path)


@pytest.mark.parametrize(
    "sql",
    [
        "delete from sightings",
        "create table rugs as select 1",
        "insert into rugs select 1",
        f"{SELECT};\nselect 2",
        "",
        "select from where",
        "select 'open",
    ],
)
def test_what_is_not_one_select_is_refused(write: WriteModel, sql: str):
    path = write(sql)
    with pytest.raises(ModelError, match=r"rugs\.sql: "):
        load_model(path)


@pytest.mark.parametrize(
    ("union", "message"),
    [
        ("union all select rug from shop", "by name only"),
        ("union all by name select rug from shop union select rug from fair", "by name only"),
        ("union all select rug from shop union all by name select rug from fair", "by name only"),
        ("union all by name select rug, size from shop", "a later SELECT of the union adds size"),
        ("union all by name select rug as carpet from shop", "a later SELECT of the union lacks rug"),
    ],
)
def test_a_union_that_would_mix_up_or_lose_columns_is_refused(write: WriteModel, union: str, message: str):
    path = write(f"{SELECT}\n{union}")
    with pytest.raises(ModelError, match=rf"rugs\.sql: .*{message}"):
        load_model(path)


def test_a_later_select_of_a_union_may_leave_out_a_nullable_column(write: WriteModel):
    sized = SELECT.replace("rug -- the rug", "rug, -- the rug\n    cast(size as int) as size -- its size (nullable)")
    model = load_model(write(f"{sized}\nunion all by name select rug from shop"))
    assert model.table.columns["size"].nullable


def test_two_models_of_one_name_are_refused(write: WriteModel, tmp_path: Path):
    path = write()
    twin = tmp_path / "models" / "marts" / path.name
    twin.parent.mkdir()
    twin.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"staging/rugs\.sql: there is another model called rugs: .*marts/rugs\.sql"):
        load_models(tmp_path)


def test_an_audit_is_what_its_header_and_sql_say(write_audit: Callable[[str], Path], tmp_path: Path):
    write_audit("/*\nmodel: rugs\nblocking: false\ndescription: Rugs are clean.\n*/\nselect rug from rugs;\n")
    (audit,) = load_audits(tmp_path)["rugs"]
    assert (audit.name, audit.model, audit.blocking, audit.sql) == (
        "rugs_are_clean",
        "rugs",
        False,
        "select rug from rugs",
    )
    assert audit.depends_on == {"rugs"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/*\nmodel: rugs\nblocking: true\n*/\nselect 1", "the header lacks description"),
        ("/*\nmodel: rugs\nblocking: 'false'\ndescription: x\n*/\nselect 1", "blocking in the header must be a bool"),
        ("/*\nmodel: rugs\nblocking: true\ndescription: x\n*/\ndelete from rugs", "must hold one SELECT"),
    ],
)
def test_a_fault_in_an_audit_is_named(write_audit: Callable[[str], Path], tmp_path: Path, text: str, message: str):
    write_audit(text)
    with pytest.raises(ModelError, match=rf"rugs_are_clean\.sql: .*{message}"):
        load_audits(tmp_path)


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select cast(a as int) as a -- a\nfrom x join y using (a)", {"x", "y"}),
        ("with x as (select a from y) select cast(a as int) as a -- a\nfrom x", {"y"}),
        ("with x as (select a from x) select cast(a as int) as a -- a\nfrom x", {"x"}),
        ("select cast(a as int) as a -- a\nfrom x where a in (select a from y) and exists (from z)", {"x", "y", "z"}),
        ("select cast(a as int) as a -- a\nfrom x union all by name select a from y", {"x", "y"}),
        ("select cast(a as int) as a -- a\nfrom x, unnest([1]) as t(b) semi join y using (a)", {"x", "y"}),
    ],
)
def test_a_model_depends_on_the_tables_it_reads_wherever_it_reads_them(write: WriteModel, sql: str, tables: set[str]):
    assert load_model(write(sql)).depends_on == tables


THRESHOLD = "select cast(rug as varchar) as rug -- the rug\nfrom sightings where size > 5"


@pytest.mark.parametrize(
    "sql",
    [
        THRESHOLD.replace("the rug", "the carpet"),
        THRESHOLD.replace("from", "-- where they are\n    FROM"),
        THRESHOLD.replace(" where", "\n\nWHERE /* big ones */"),
        THRESHOLD + ";\n",
    ],
)
def test_comments_and_layout_do_not_change_the_code_version(write: WriteModel, sql: str):
    before = load_model(write(THRESHOLD)).code_version
    assert load_model(write(sql)).code_version == before


@pytest.mark.parametrize(
    "sql",
    [
        THRESHOLD.replace("5", "6"),
        THRESHOLD.replace(">", ">="),
        THRESHOLD.replace("size", "width"),
        THRESHOLD.replace("varchar", "int"),
        THRESHOLD.replace("size > 5", "name > 'Size'"),
    ],
)
def test_a_change_of_meaning_changes_the_code_version(write: WriteModel, sql: str):
    before = load_model(write(THRESHOLD)).code_version
    assert load_model(write(sql)).code_version != before


def test_a_text_that_differs_in_case_is_a_change_of_meaning(write: WriteModel):
    versions = {load_model(write(THRESHOLD.replace("5", text))).code_version for text in ("'a'", "'A'")}
    assert len(versions) == 2


CALLS_MACRO = "select cast(clean(rug) as varchar) as rug -- the rug\nfrom sightings"


@pytest.mark.parametrize(("sql", "changes"), [(CALLS_MACRO, True), (SELECT, False)], ids=["calls it", "does not"])
def test_a_changed_macro_changes_the_code_version_of_the_models_that_call_it(
    write: WriteModel, sql: str, changes: bool
):
    path = write(sql)
    lower = load_model(path, ["create or replace macro clean(t) as lower(t)"])
    upper = load_model(path, ["create or replace macro clean(t) as upper(t)"])
    assert (lower.code_version != upper.code_version) is changes


def test_comments_and_layout_of_a_macro_do_not_change_the_code_version(write: WriteModel):
    path = write(CALLS_MACRO)
    plain = load_model(path, ["create or replace macro clean(t) as lower(t)"])
    commented = load_model(path, ["-- as one writes\ncreate or replace macro clean(t) as\n    LOWER(t);\n"])
    assert plain.code_version == commented.code_version


def test_the_models_that_clean_keywords_follow_the_real_macro():
    alone = {name: model for name, model in MODELS.items() if not model.union_of}
    with_macros = {name for name, model in alone.items() if model.code_version != load_model(model.path).code_version}
    assert with_macros == {
        "controls_in_force",
        "current_user_journeys",
        "item_tags",
        "keyword_events",
        "keyword_trends",
        "spellings",
        "title_keywords",
        "unwanted_journeys",
        "user_events",
    }


def lineage_of(model: SqlModel) -> dict[str, set[str]]:
    return {
        column: {f"{table}.{name}" for table, name in upstream}
        for column, upstream in model.column_lineage(TABLES).items()
    }


@pytest.mark.parametrize(
    ("column", "upstream"),
    [
        ("as_of", set()),
        ("user_id", {"stg_events.user_id"}),
        ("query", {"stg_events.query"}),
        ("scope", {"users_in_scope.scope"}),
    ],
)
def test_columns_of_user_events_are_traced_through_its_ctes(column: str, upstream: set[str]):
    assert lineage_of(MODELS["user_events"])[column] == upstream


@pytest.mark.parametrize(
    ("column", "upstream"),
    [
        ("user_id", {"stg_searches.user_id", "stg_engagements.user_id", "stg_board_items.user_id"}),
        ("query", {"stg_searches.query"}),
        ("item_id", {"stg_engagements.item_id", "stg_board_items.item_id"}),
        ("board_id", {"stg_board_items.board_id"}),
    ],
)
def test_columns_of_the_one_stream_of_events_are_traced_to_each_source(column: str, upstream: set[str]):
    assert lineage_of(MODELS["stg_events"])[column] == upstream


@pytest.mark.parametrize(
    ("column", "upstream"),
    [
        ("user_id", {"stg_events.user_id"}),
        ("keyword", {"stg_events.query", "item_keywords.keyword"}),
        ("board_id", {"stg_events.board_id"}),
        ("share", {"item_keywords.share"}),
        ("known_from", {"stg_events.arrival_day", "item_keywords.valid_from"}),
    ],
)
def test_columns_of_a_union_are_traced_by_name(column: str, upstream: set[str]):
    assert lineage_of(MODELS["keyword_events"])[column] == upstream


def test_columns_are_traced_through_ctes_that_the_selects_of_a_union_share(write: WriteModel):
    path = write(
        "with seen as (select rug, size from sightings)\n"
        "select cast(rug as varchar) as rug, -- the rug\ncast(size as int) as size -- its size\nfrom seen\n"
        "union all by name select size + 1 as size, rug from seen"
    )
    columns = {name: Column(type="VARCHAR", description=name) for name in ("rug", "size")}
    sightings = Table(kind="kept", name="sightings", description="", grain="", columns=columns)
    assert load_model(path).column_lineage({"sightings": sightings}) == {
        "rug": {("sightings", "rug")},
        "size": {("sightings", "size")},
    }


@each_model
def test_every_column_is_traced_to_columns_that_exist(model: SqlModel):
    for upstream in model.column_lineage(TABLES).values():
        for table, column in upstream:
            assert table in model.depends_on
            assert column in TABLES[table].columns


@each_model
def test_every_model_reads_known_tables_only(model: SqlModel):
    assert model.depends_on <= TABLES.keys()


@each_model
def test_declared_columns_are_those_that_duckdb_returns(model: SqlModel):
    with start_duckdb({"threads": 1}) as connection:
        for macro in load_macros():
            connection.execute(macro)
        for name in model.depends_on:
            connection.execute(TABLES[name].create_sql())
        sql = f"create table returned as {model.sql}"
        connection.execute(sql, used_params(sql, query_parameters(Settings(), AS_OF)))
        connection.execute(model.table.create_sql())
        returned = connection.execute("select column_name, column_type from (describe returned)").fetchall()
        declared = connection.execute(f"select column_name, column_type from (describe {model.name})").fetchall()
    assert returned == declared


@each_model
def test_a_view_names_no_parameters(model: SqlModel):
    if model.table.kind == "view":
        assert not duckdb.extract_statements(model.sql)[0].named_parameters


@each_model
def test_a_model_lies_in_one_of_the_three_layers(model: SqlModel):
    assert model.layer in {"staging", "intermediate", "marts"}


@each_model
def test_a_snapshot_is_keyed_by_day_and_says_what_made_it(model: SqlModel):
    if model.table.kind in {"snapshot", "population"}:
        assert model.table.key[0] == "as_of"
        if "user_id" in model.table.columns:
            assert {"scope", "algorithm_version"} <= model.table.columns.keys()


def test_every_sql_file_below_models_is_a_model():
    assert {path for path in (SQL_ROOT / "models").rglob("*") if path.is_file()} == {m.path for m in MODELS.values()}


@pytest.mark.parametrize("audit", AUDITS, ids=[audit.name for audit in AUDITS])
def test_an_audit_reads_its_model_or_what_that_is_made_of(audit):
    needs = {asset.name: asset.deps for asset in declared_assets(Settings())}
    known, frontier = set(), {audit.model}
    while frontier:
        known |= frontier
        frontier = {name for each in frontier & needs.keys() for name in needs[each]} - known
    assert audit.depends_on <= known


def test_whatever_reads_events_reads_the_one_stream_of_them():
    parts = {name for name, model in MODELS.items() if model.stream == "events"}
    assert parts == {"stg_searches", "stg_engagements", "stg_board_items"}
    assert MODELS["stg_events"].depends_on == parts
    readers = {name: model.depends_on for name, model in MODELS.items()} | {a.name: a.depends_on for a in AUDITS}
    assert not {name for name, read in readers.items() if read & parts} - {"stg_events"}
