"""UCI Online Retail (D. Chen, CC BY 4.0): a gift shop's invoices as purchases and items of the landing zone.

The data set is not part of the project; the file's path is given.
"""

from pathlib import Path

import polars as pl

from lab.importers.landing import DataSetError, ImportSummary, land_purchases, without_excluded

_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
# Products are five digits and, mostly for colours, a few letters; or the partner range DCGS. The rest is
# postage, fees, discounts, manual corrections, samples, gift vouchers, and filler pads sold under "PADS".
_PRODUCT_CODE = r"^(?:\d{5}[A-Z]{0,3}|DCGS[A-Z0-9]+)$"
# Services that were given a product's code.
_SERVICES = ("next day carriage", "high resolution image")


def import_online_retail(path: Path, landing: Path) -> ImportSummary:
    """Write the data set's purchases and items into a landing zone, by day of the invoice: all, or nothing.

    A purchase's user is the customer, its item the stock code in capitals, its time the invoice's, taken as
    UTC. An item is written on the day on which it first appears, and again on every day whose first
    description of it differs from the last one written: no day's file knows what came later. Its only
    annotation is the description in lower case. Days without a kept line get no folder. An import of the same
    file that was made before changes nothing.

    Parameters
    ----------
    path : Path
        The parquet file, columns as published.
    landing : Path
        The landing zone.

    Raises
    ------
    DataSetError
        The file or a column is missing, or a column has a type that cannot be used, or the landing zone holds
        other data.
    """
    lines, excluded = _kept_lines(path)
    return land_purchases(landing, engagements=_engagements(lines), items=_item_rows(lines), excluded=excluded)


def online_retail_frames(path: Path) -> dict[str, pl.DataFrame]:
    """The rows that `import_online_retail` writes, with ``arrival_day``, by source: engagements and items.

    Raises
    ------
    DataSetError
        As for `import_online_retail`.
    """
    lines, _ = _kept_lines(path)
    return {"engagements": _engagements(lines), "items": _item_rows(lines)}


def _kept_lines(path: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """The lines that are purchases, and how many were left out for which reason."""
    return without_excluded(_read(path), _exclusions())


def _engagements(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.select(
        pl.col("CustomerID").alias("user_id"),
        pl.col("StockCode").alias("item_id"),
        pl.lit("purchase").alias("action"),
        pl.col("InvoiceDate").alias("occurred_at"),
        _day().alias("arrival_day"),
    ).sort("occurred_at", maintain_order=True)


def _read(path: Path) -> pl.DataFrame:
    """The needed columns, ids and texts as trimmed strings (blank ones null), times in UTC."""
    if not path.is_file():
        raise DataSetError(f"{path} is no file; give the path of Online Retail as a parquet file")
    try:
        schema = pl.read_parquet_schema(path)
        if missing := [name for name in _COLUMNS if name not in schema]:
            raise DataSetError(
                f"{path}: column {', '.join(missing)} is missing; Online Retail has {', '.join(_COLUMNS)}"
            )
        frame = pl.read_parquet(path, columns=list(_COLUMNS))
    except (pl.exceptions.ComputeError, OSError) as error:
        raise DataSetError(f"{path} cannot be read as parquet: {error}") from None
    for name in ("Quantity", "UnitPrice"):
        if not frame.schema[name].is_numeric():
            raise DataSetError(f"{path}: column {name} is {frame.schema[name]}; it must be a number")
    invoiced = frame.schema["InvoiceDate"]
    if not isinstance(invoiced, pl.Datetime):
        raise DataSetError(f"{path}: column InvoiceDate is {invoiced}; it must be a date and time")
    when = pl.col("InvoiceDate").cast(pl.Datetime("us", invoiced.time_zone))
    in_utc = when.dt.convert_time_zone("UTC") if invoiced.time_zone else when.dt.replace_time_zone("UTC")
    return frame.with_columns(
        _text(frame, "InvoiceNo").str.to_uppercase(),
        _text(frame, "StockCode").str.to_uppercase(),
        _text(frame, "CustomerID"),
        _text(frame, "Description").str.replace_all(r"\s+", " "),
        in_utc.alias("InvoiceDate"),
    )


def _text(frame: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name)
    if frame.schema[name].is_float():
        # Spreadsheets turn ids with gaps into 17850.0.
        column = column.cast(pl.Int64, strict=False)
    trimmed = column.cast(pl.String).str.strip_chars()
    return pl.when(trimmed != "").then(trimmed).alias(name)


def _exclusions() -> dict[str, pl.Expr]:
    """Reasons for leaving a line out, in the order in which they are tried."""
    is_service = pl.col("Description").str.to_lowercase().is_in(_SERVICES).fill_null(value=False)
    # Not-a-number compares as larger than 0.
    amounts = [pl.col(name).cast(pl.Float64) for name in ("Quantity", "UnitPrice")]
    sold = pl.all_horizontal(amount.is_finite() & (amount > 0) for amount in amounts)
    return {
        "cancellation": pl.col("InvoiceNo").str.starts_with("C"),
        "no_customer": pl.col("CustomerID").is_null(),
        "not_an_item": ~pl.col("StockCode").fill_null("").str.contains(_PRODUCT_CODE) | is_service,
        "no_description": pl.col("Description").is_null(),
        "no_positive_quantity_or_price": ~sold.fill_null(value=False),
        "no_date": pl.col("InvoiceDate").is_null(),
    }


def _day() -> pl.Expr:
    return pl.col("InvoiceDate").dt.date()


def _item_rows(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per item and day on which its first description differs from that of its last day before."""
    annotation = pl.col("title").str.to_lowercase()
    first_of_day = (
        lines.sort("InvoiceDate", maintain_order=True)
        .group_by(pl.col("StockCode").alias("item_id"), _day().alias("arrival_day"), maintain_order=True)
        .agg(pl.col("Description").first().alias("title"))
        .sort("item_id", "arrival_day")
    )
    return (
        first_of_day.filter(annotation.ne_missing(annotation.shift(1).over("item_id")))
        .sort("arrival_day", "item_id")
        .select(
            "item_id",
            "title",
            pl.concat_list(annotation).alias("annotations"),
            pl.lit([], dtype=pl.List(pl.String)).alias("interests"),
            "arrival_day",
        )
    )
