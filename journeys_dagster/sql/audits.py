"""Audits: queries that must return no rows, run inside the write that they examine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from journeys_dagster.errors import JourneysError
from journeys_dagster.sql.connection import used_params


class AuditFailedError(JourneysError, RuntimeError, carries_user_text=False):
    """A blocking audit found rows; the write was undone."""

    def __init__(self, table: str, results: Sequence["AuditResult"]) -> None:
        self.results = tuple(results)
        failed = ", ".join(f"{result.name} ({result.rows} rows)" for result in results if not result.passed)
        super().__init__(f"table {table}: blocking audit failed: {failed}. Nothing was written; the old rows stand.")


@dataclass(frozen=True)
class Audit:
    """A query that must return no rows.

    Attributes
    ----------
    sql : str
        May use the parameters of the write it follows.
    blocking : bool
        Whether a row found undoes the write.
    """

    name: str
    sql: str
    blocking: bool


@dataclass(frozen=True)
class AuditResult:
    """How an audit went: rows found, and the first of them."""

    name: str
    blocking: bool
    rows: int
    sample: pl.DataFrame

    @property
    def passed(self) -> bool:
        """Whether the audit found nothing."""
        return self.rows == 0


def run_audits(
    connection: duckdb.DuckDBPyConnection, table: str, audits: Sequence[Audit], params: Mapping[str, Any]
) -> list[AuditResult]:
    """Run audits on a connection, inside its transaction if it has one.

    Raises
    ------
    AuditFailedError
        A blocking audit found rows.
    """
    results = []
    for audit in audits:
        found = connection.sql(audit.sql, params=used_params(audit.sql, params)).pl()
        results.append(AuditResult(audit.name, audit.blocking, found.height, found.head(5)))
    if any(result.blocking and not result.passed for result in results):
        raise AuditFailedError(table, results)
    return results
