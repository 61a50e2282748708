"""The importer of UCI Online Retail, on rows made up here; the real file only where it is present."""

import os
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.importers import DataSetError, ImportSummary, import_online_retail

SCHEMA = {
    "InvoiceNo": pl.String,
    "StockCode": pl.String,
    "Description": pl.String,
    "Quantity": pl.Int64,
    "InvoiceDate": pl.Datetime("us"),
    "UnitPrice": pl.Float64,
    "CustomerID": pl.String,
    "Country": pl.String,
}
NOON = datetime(2011, 3, 1, 12, 0)


def line(**changes: object) -> dict[str, object]:
    """One made-up invoice line that is kept, with changes."""
    kept: dict[str, object] = {
        "InvoiceNo": "600001",
        "StockCode": "99001",
        "Description": "TIN ROBOT  BANK ",
        "Quantity": 2,
        "InvoiceDate": NOON,
        "UnitPrice": 3.5,
        "CustomerID": "70001",
        "Country": "Norway",
    }
    return kept | changes


def imported(folder: Path, *lines: dict[str, object]) -> ImportSummary:
    path = folder / "retail.parquet"
    pl.DataFrame(list(lines), schema=SCHEMA).write_parquet(path)
    return import_online_retail(path, folder / "landing")


def landed(folder: Path, source: str, day: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "landing" / source / f"date={day}" / "part-0.parquet", hive_partitioning=False)


def test_a_purchase_and_its_item(tmp_path: Path) -> None:
    summary = imported(tmp_path, line(StockCode=" 99001b"))
    purchases = landed(tmp_path, "engagements", "2011-03-01")
    assert purchases.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "action": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    }
    assert purchases["occurred_at"].dt.replace_time_zone(None).to_list() == [NOON]
    assert purchases.drop("occurred_at").rows() == [("70001", "99001B", "purchase")]
    items = landed(tmp_path, "items", "2011-03-01")
    assert items.schema == {
        "item_id": pl.String,
        "title": pl.String,
        "annotations": pl.List(pl.String),
        "interests": pl.List(pl.String),
    }
    assert items.rows() == [("99001B", "TIN ROBOT BANK", ["tin robot bank"], [])]
    assert (tmp_path / "landing" / "items" / "date=2011-03-01" / "_SUCCESS").exists()
    assert summary == ImportSummary(
        rows_read=1,
        rows_kept=1,
        excluded=dict.fromkeys(summary.excluded, 0),
        users=1,
        items=1,
        item_rows=1,
        days=1,
        first_day=date(2011, 3, 1),
        last_day=date(2011, 3, 1),
    )


def test_every_line_left_out_is_counted_by_its_first_reason(tmp_path: Path) -> None:
    summary = imported(
        tmp_path,
        line(),
        line(StockCode="dcgs0042"),
        line(InvoiceNo="C600002", Quantity=-2),
        line(InvoiceNo="C600003", CustomerID=None, StockCode="POST"),
        line(CustomerID=None),
        line(CustomerID=" ", Description=None),
        *(line(StockCode=code) for code in ("POST", "DOT", "M", "m", "C2", "D", "S", "B", "CRUK", "PADS")),
        *(line(StockCode=code) for code in ("BANK CHARGES", "AMAZONFEE", "gift_0001_20", "9900", "", None)),
        line(Description="Next Day Carriage"),
        line(Description=None),
        line(Description="  ", Quantity=0),
        line(Quantity=0),
        line(Quantity=-1),
        line(UnitPrice=0.0),
        line(UnitPrice=float("nan")),
        line(UnitPrice=None),
        line(InvoiceDate=None),
    )
    assert summary.excluded == {
        "cancellation": 2,
        "no_customer": 2,
        "not_an_item": 17,
        "no_description": 2,
        "no_positive_quantity_or_price": 5,
        "no_date": 1,
    }
    assert list(summary.excluded)[:5] == [
        "cancellation",
        "no_customer",
        "not_an_item",
        "no_description",
        "no_positive_quantity_or_price",
    ]
    assert (summary.rows_read, summary.rows_kept, summary.items) == (31, 2, 2)


def test_an_item_is_written_when_it_appears_and_when_its_description_changes(tmp_path: Path) -> None:
    summary = imported(
        tmp_path,
        # Out of order: the file's order must not matter across days.
        line(InvoiceDate=datetime(2011, 3, 5, 9), Description="Tin robot bank, red"),
        line(InvoiceDate=datetime(2011, 3, 1, 12), Description="TIN ROBOT BANK"),
        line(InvoiceDate=datetime(2011, 3, 1, 15), Description="SEEN LATER THAT DAY"),
        line(InvoiceDate=datetime(2011, 3, 2, 9), Description="TIN ROBOT  BANK"),
        line(InvoiceDate=datetime(2011, 3, 7, 9), Description="TIN ROBOT BANK"),
        line(InvoiceDate=datetime(2011, 3, 2, 9), StockCode="99002", Description="Tent"),
        line(InvoiceDate=datetime(2011, 3, 3, 9), Description="NEVER SOLD", Quantity=0),
    )
    written = {
        folder.name: landed(tmp_path, "items", folder.name.removeprefix("date=")).select("item_id", "title").rows()
        for folder in sorted((tmp_path / "landing" / "items").iterdir())
    }
    assert written == {
        "date=2011-03-01": [("99001", "TIN ROBOT BANK")],
        "date=2011-03-02": [("99002", "Tent")],
        "date=2011-03-05": [("99001", "Tin robot bank, red")],
        "date=2011-03-07": [("99001", "TIN ROBOT BANK")],
    }
    assert (summary.items, summary.item_rows, summary.days) == (2, 4, 4)
    # Days without a kept line get no folder.
    assert len(list((tmp_path / "landing" / "engagements").iterdir())) == 4


def test_what_comes_later_does_not_change_an_earlier_day(tmp_path: Path) -> None:
    early = [line(), line(Description="TIN ROBOT, BLUE", InvoiceDate=datetime(2011, 3, 2, 8))]
    late = [line(Description="WRONG NAME", InvoiceDate=datetime(2011, 3, 9, 8))] * 9
    for name, lines in (("early", early), ("both", early + late)):
        (tmp_path / name).mkdir()
        imported(tmp_path / name, *lines)
    for source in ("items", "engagements"):
        for day in ("2011-03-01", "2011-03-02"):
            file = Path("landing") / source / f"date={day}" / "part-0.parquet"
            assert (tmp_path / "early" / file).read_bytes() == (tmp_path / "both" / file).read_bytes()


def test_ids_from_spreadsheets_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "retail.parquet"
    frame = pl.DataFrame([line()], schema=SCHEMA)
    frame.with_columns(pl.col("CustomerID").cast(pl.Float64), pl.col("InvoiceNo").cast(pl.Int64)).write_parquet(path)
    import_online_retail(path, tmp_path / "landing")
    assert landed(tmp_path, "engagements", "2011-03-01")["user_id"].to_list() == ["70001"]


def test_times_with_a_zone_become_utc(tmp_path: Path) -> None:
    path = tmp_path / "retail.parquet"
    frame = pl.DataFrame([line(InvoiceDate=datetime(2011, 3, 2, 0, 30))], schema=SCHEMA)
    frame.with_columns(pl.col("InvoiceDate").dt.replace_time_zone("Europe/Oslo")).write_parquet(path)
    summary = import_online_retail(path, tmp_path / "landing")
    assert summary.first_day == date(2011, 3, 1)


def test_nothing_kept_is_no_error(tmp_path: Path) -> None:
    summary = imported(tmp_path, line(CustomerID=None))
    assert (summary.rows_kept, summary.days, summary.first_day, summary.last_day) == (0, 0, None, None)
    assert imported(tmp_path).rows_read == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"absent\.parquet is no file"):
        import_online_retail(tmp_path / "absent.parquet", tmp_path / "landing")


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "retail.xlsx"
    path.write_text("no parquet")
    with pytest.raises(DataSetError, match=r"retail\.xlsx cannot be read as parquet"):
        import_online_retail(path, tmp_path / "landing")


@pytest.mark.parametrize("column", [name for name in SCHEMA if name != "Country"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "retail.parquet"
    pl.DataFrame([line()], schema=SCHEMA).drop(column).write_parquet(path)
    with pytest.raises(DataSetError, match=rf"retail\.parquet: column {column} is missing"):
        import_online_retail(path, tmp_path / "landing")
    assert not (tmp_path / "landing").exists()


@pytest.mark.parametrize("column", ["Quantity", "UnitPrice", "InvoiceDate"])
def test_a_column_of_a_wrong_type_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "retail.parquet"
    pl.DataFrame([line()], schema=SCHEMA).with_columns(pl.lit("?").alias(column)).write_parquet(path)
    with pytest.raises(DataSetError, match=f"column {column} is String; it must be"):
        import_online_retail(path, tmp_path / "landing")


def test_simulated_and_real_data_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "SIMULATED.json").write_text("{}")
    with pytest.raises(DataSetError, match="simulated platform"):
        imported(tmp_path, line())


LINES = st.builds(
    line,
    InvoiceNo=st.sampled_from(["600001", "C600001", "A600001"]),
    StockCode=st.sampled_from(["99001", "99001a", "DCGS0042", "POST", "m", "gift_0001_10", "", None]),
    Description=st.sampled_from(["TIN ROBOT", "tin  robot", "Tent", " ", None]),
    Quantity=st.one_of(st.none(), st.integers(-5, 5)),
    InvoiceDate=st.one_of(st.none(), st.datetimes(datetime(2011, 3, 1), datetime(2011, 3, 4))),
    UnitPrice=st.one_of(st.none(), st.floats(allow_nan=True)),
    CustomerID=st.sampled_from(["70001", "70002", None]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=12))
def test_every_line_is_kept_or_counted(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    summary = imported(folder, *lines)
    assert summary.rows_read == len(lines)
    assert summary.rows_read == summary.rows_kept + sum(summary.excluded.values())
    purchases = sorted((folder / "landing").glob("engagements/*/*.parquet"))
    assert sum(pl.read_parquet(file).height for file in purchases) == summary.rows_kept
    assert len(purchases) == summary.days


def test_the_real_file(tmp_path: Path) -> None:
    data = os.environ.get("JOURNEYS_DATA")
    path = Path(data or "") / "online-retail" / "online_retail.parquet"
    if not data or not path.is_file():
        pytest.skip("JOURNEYS_DATA names no folder with online-retail/online_retail.parquet")
    summary = import_online_retail(path, tmp_path)
    assert summary.rows_read == 541_909
    assert summary.rows_read == summary.rows_kept + sum(summary.excluded.values())
    assert (summary.first_day, summary.last_day) == (date(2010, 12, 1), date(2011, 12, 9))
    assert summary.excluded["cancellation"] == 9_288
    assert 4_300 < summary.users <= 4_372
    kept = pl.read_parquet(sorted(tmp_path.glob("engagements/*/*.parquet")), hive_partitioning=False)
    items = pl.read_parquet(sorted(tmp_path.glob("items/*/*.parquet")), hive_partitioning=False)
    assert kept.height == summary.rows_kept
    assert set(kept["item_id"]) == set(items["item_id"])
