"""Days inferred in any order, and days that change later: what converges, and what depends on the path."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from time import perf_counter, process_time

import polars as pl
import pytest
from conftest import EMBEDDER
from day_runs import OF_EVERYONE, OF_USERS, DayRuns, days_from
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_logs import ODD_TEXTS, PHRASES, LogShape, Rows, changed_day, frames_of, random_log

from journeys_dagster.settings import Settings

FIRST = date(2025, 1, 6)
KINDS = ("days out of order", "more rows", "rows gone", "landed late")
KEY = ["as_of", "user_id"]
# Everybody is judged, so that judgements are held to the laws too.
EVERYONE = {"light": 1.0, "medium": 1.0, "heavy": 1.0}
SETTINGS = Settings.model_validate({"run": {"warehouse_threads": 1}, "judge": {"sample_shares": EVERYONE}})
# Tables without ids or names, which come to the same whatever was inferred before.
WITHOUT_PAST = ("keywords", "clusters", *OF_EVERYONE)
# Of the others, what is left of it once ids are replaced by clusters and ties are left in any order.
ID_FREE = {
    "journey_engagement": pl.all(),
    "journey_features": pl.all(),
    "rankings": pl.exclude("rank"),
    "stages": pl.all(),
}


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """Days with their rows as they are at last, and how they were run before.

    Attributes
    ----------
    first : mapping of date to Rows
        Days whose files changed after they had been taken in, as they were at first.
    order : sequence of date
        The order in which days were inferred first.
    landed_late : sequence of date
        Days that landed after all of that.
    """

    kind: str
    days: Mapping[date, Rows] = field(repr=False)
    first: Mapping[date, Rows] = field(repr=False)
    order: Sequence[date]
    landed_late: Sequence[date]
    scopes: Mapping[date, str]
    users: int

    @property
    def disturbed_from(self) -> date:
        """The earliest day that was inferred before an earlier one, or with other rows than there are now."""
        out_of_order = [day for place, day in enumerate(self.order) if any(other < day for other in self.order[place:])]
        return min([*out_of_order, *self.first, *self.landed_late], default=max(self.days))


@st.composite
def disturbances(draw: st.DrawFn) -> Disturbed:
    """Draw a log, a few days that change or land late, and an order."""
    days = days_from(FIRST, draw(st.lists(st.sampled_from((1, 1, 2, 9, 40)), min_size=3, max_size=4)))
    shape = LogShape(
        seed=draw(st.integers(0, 2**32 - 1)),
        days=days,
        users=draw(st.integers(3, 8)),
        events_per_day=draw(st.sampled_from((8, 16))),
        active_share=0.7,
        late_share=0.2,
    )
    log = random_log(shape)
    rng = random.Random(shape.seed)  # noqa: S311
    users = [f"u{user}" for user in range(shape.users)]
    kind = draw(st.sampled_from(KINDS))
    order, landed_late, final = days, [], dict(log.days)
    first: dict[date, Rows] = {}
    if kind == "days out of order":
        order = draw(st.permutations(days).filter(lambda drawn: list(drawn) != days))
    elif kind == "landed late":
        landed_late = [draw(st.sampled_from(days[:-1]))]
    else:
        day = draw(st.sampled_from(days[:-1]))
        first[day] = log.days[day]
        final[day] = changed_day(rng, log.days[day], day, users, removes=kind == "rows gone")
    scopes = {day: draw(st.sampled_from(("active_users", "active_users", "all_users"))) for day in days}
    return Disturbed(
        kind=kind,
        days=final,
        first=first,
        order=order,
        landed_late=landed_late,
        scopes={**scopes, days[-1]: "all_users"},
        users=shape.users,
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the views, empty sources, and the vector of every text."""
    runs = DayRuns(tmp_path_factory.mktemp("template") / "home", SETTINGS, EMBEDDER)
    runs.prepare()
    runs.embed([*PHRASES, *ODD_TEXTS])
    return runs.home.path


def test_a_corrected_day_leaves_nothing_of_users_it_no_longer_holds(tmp_path: Path, template: Path) -> None:
    day = FIRST
    moment = datetime.combine(day, time(9))
    rows: Rows = {"searches": [("gone", "yoga mat", moment), ("stays", "yoga mat", moment)]}
    runs = _runs(tmp_path / "home", template)
    for delivery, scopes in (
        (rows, ["all_users"]),
        ({"searches": rows["searches"][1:]}, ["active_users", "all_users"]),
    ):
        _take_in(runs, {day: delivery})
        for scope in scopes:
            runs.infer(day, scope)
    assert set(runs.table("current_user_journeys")["user_id"]) == {"stays"}
    # Nobody said what they do not want.
    assert runs.table("unwanted_journeys").is_empty()
    for name in set(OF_USERS) - {"user_snapshots", "unwanted_journeys"}:
        assert set(runs.table(name)["user_id"]) == {"stays"}, name
    assert runs.table("user_snapshots").select("user_id", "journeys").rows() == [("gone", 0), ("stays", 1)]


@pytest.mark.parametrize("size", [pytest.param(size, marks=pytest.mark.slow) for size in (2, 60)])
def test_days_in_any_order_converge(size: int, tmp_path: Path, template: Path, figures: Callable[..., None]) -> None:
    """Run again in order, days come to the twin's bits; the newest day alone comes to them but for ids and names."""
    counts: Counter[str] = Counter()
    began, cpu_began = perf_counter(), process_time()

    @settings(
        max_examples=size,
        deadline=None,
        derandomize=True,
        database=None,
        # A case takes seconds, so shrinking one would take many minutes.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(case=disturbances())
    def law(case: Disturbed) -> None:
        counts["cases"] += 1
        folder = tmp_path / f"case-{counts['cases']}"
        _check(case, folder, template, counts)
        shutil.rmtree(folder)

    law()
    figures(
        **{name.replace(", ", "_").replace(" ", "_"): counts[name] for name in sorted(counts)},
        seconds_per_case=(perf_counter() - began) / counts["cases"],
        cpu_seconds_per_case=(process_time() - cpu_began) / counts["cases"],
    )
    assert counts["journeys compared"] > 0


def _check(case: Disturbed, folder: Path, template: Path, counts: Counter[str]) -> None:
    days, newest = sorted(case.days), max(case.days)
    twin = _runs(folder / "twin", template)
    with twin.kept_open():
        _take_in(twin, case.days)
        for day in days:
            twin.infer(day, case.scopes[day])
        undisturbed = _tables(twin)
    disturbed = _runs(folder / "disturbed", template)
    with disturbed.kept_open():
        for day in case.order:
            seen = {landed: rows for landed, rows in case.days.items() if landed <= day or case.order != days}
            seen = {landed: rows for landed, rows in seen.items() if landed not in case.landed_late}
            _take_in(disturbed, {**seen, **{landed: case.first[landed] for landed in case.first.keys() & seen.keys()}})
            disturbed.infer(day, case.scopes[day])
        _take_in(disturbed, {landed: case.days[landed] for landed in [*case.first, *case.landed_late]})
    newest_only = disturbed.copy(folder / "newest-only")
    with disturbed.kept_open():
        for day in days:
            if day >= case.disturbed_from:
                disturbed.infer(day, case.scopes[day])
        in_order = _tables(disturbed)
    with newest_only.kept_open():
        newest_only.infer(newest, "all_users")
        at_once = _tables(newest_only)
    with twin.kept_open():
        _check_in_order(undisturbed, in_order, twin, counts)
    _check_newest(undisturbed, at_once, case, counts)


def _runs(path: Path, template: Path) -> DayRuns:
    shutil.copytree(template, path)
    return DayRuns(path, SETTINGS, EMBEDDER)


def _take_in(runs: DayRuns, days: Mapping[date, Rows]) -> None:
    for day, rows in days.items():
        runs.land(day, frames_of(rows))
    runs.take_in(sorted(days))


def _tables(runs: DayRuns) -> dict[str, pl.DataFrame]:
    return runs.tables([*OF_USERS, *OF_EVERYONE, "current_user_journeys"])


def _differing(some: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    """Rows that only one of two tables has; as text, so that floats are compared bit for bit."""
    rows = [Counter(map(str, frame.iter_rows())) for frame in (some, other)]
    return sorted(((rows[0] - rows[1]) + (rows[1] - rows[0])).elements())


def _check_in_order(
    undisturbed: dict[str, pl.DataFrame], again: dict[str, pl.DataFrame], twin: DayRuns, counts: Counter[str]
) -> None:
    """All tables of all days are the twin's, ids and names included."""
    # Who was inferred as of a day because of rows that are gone is inferred again without them; the twin never was.
    extra = again["user_snapshots"].join(undisturbed["user_snapshots"], on=KEY, how="anti").select(KEY)
    counts["snapshots because of rows that are gone"] += len(extra)
    counts["of them with nothing left"] += _check_extra(extra, again, twin)
    is_twins = ~pl.col("user_id").is_in(extra["user_id"].to_list())
    for name, frame in undisturbed.items():
        of_users = "user_id" in frame.columns
        same = (of.filter(is_twins) if of_users else of for of in (frame, again[name]))
        assert _differing(*same) == [], f"{name}, days run again in order"
    counts["rows compared after a run in order"] += sum(len(frame) for frame in undisturbed.values())


def _check_extra(extra: pl.DataFrame, again: dict[str, pl.DataFrame], twin: DayRuns) -> int:
    """Such snapshots hold what a full run finds; returns how many hold nothing."""
    for day in extra["as_of"].unique():
        twin.infer(day, "all_users")
    for name in ("keywords", "clusters"):
        found, expected = (
            frame.join(extra, on=KEY, how="semi").drop("scope") for frame in (again[name], twin.table(name))
        )
        assert _differing(found, expected) == [], f"{name}, users with rows that are gone"
    return extra.join(again["keywords"], on=KEY, how="anti").height


def _check_newest(
    undisturbed: dict[str, pl.DataFrame], at_once: dict[str, pl.DataFrame], case: Disturbed, counts: Counter[str]
) -> None:
    """The newest day is the twin's but for ids and names, and those differ only where the snapshot before differs."""
    newest = max(case.days)
    today = pl.col("as_of") == newest
    for name in WITHOUT_PAST:
        assert _differing(undisturbed[name].filter(today), at_once[name].filter(today)) == [], (
            f"{name}, newest day only"
        )
    clusters = [_by_cluster(tables, newest) for tables in (undisturbed, at_once)]
    for name in ID_FREE:
        assert _differing(clusters[0][name], clusters[1][name]) == [], f"{name}, newest day only"
    joined = clusters[0]["names"].join(clusters[1]["names"], on=["user_id", "cluster"], suffix="_again")
    assert len(joined) == len(clusters[0]["names"]) == len(clusters[1]["names"])
    differing_ids = joined.filter(pl.col("journey_id") != pl.col("journey_id_again"))
    differing_names = joined.filter(pl.col("name") != pl.col("name_again"))
    pasts = [_past(tables, newest) for tables in (undisturbed, at_once)]
    other_past = {user for user in joined["user_id"].unique() if pasts[0].get(user) != pasts[1].get(user)}
    assert {*differing_ids["user_id"], *differing_names["user_id"]} <= other_past
    same_past = joined.filter(~pl.col("user_id").is_in(sorted(other_past)))["user_id"].unique().to_list()
    for name in OF_USERS:
        some, others = (
            tables[name].filter(today & pl.col("user_id").is_in(same_past)) for tables in (undisturbed, at_once)
        )
        assert _differing(some, others) == [], f"{name}, users with the same past"
    counts["journeys compared"] += len(joined)
    counts["users compared"] += joined["user_id"].n_unique()
    counts.update(
        {
            f"{case.kind}, cases": 1,
            f"{case.kind}, users with another past": len(other_past),
            f"{case.kind}, journeys": len(joined),
            f"{case.kind}, journeys with another id": len(differing_ids),
            f"{case.kind}, journeys with another name": len(differing_names),
        }
    )


def _by_cluster(tables: dict[str, pl.DataFrame], newest: date) -> dict[str, pl.DataFrame]:
    """The newest day's tables with the number of the cluster in place of the id."""
    cluster = tables["journey_identities"].filter(pl.col("as_of") == newest).select(*KEY, "journey_id", "cluster")
    found = {
        name: tables[name].join(cluster, on=[*KEY, "journey_id"]).drop("journey_id").select(columns)
        for name, columns in ID_FREE.items()
    }
    return {**found, "names": tables["names"].join(cluster, on=[*KEY, "journey_id"])}


def _past(tables: dict[str, pl.DataFrame], newest: date) -> dict[str, list[str]]:
    """By user, what identity and names read of the newest earlier snapshot."""
    before = {
        name: tables[name].filter(pl.col("as_of") < newest) for name in ("journey_identities", "names", "clusters")
    }
    kept = {
        name: frame.filter(pl.col("as_of") == pl.col("as_of").max().over("user_id")) for name, frame in before.items()
    }
    members = kept["clusters"].join(kept["journey_identities"], on=[*KEY, "cluster"])
    past: dict[str, list[str]] = {}
    for frame in (
        members.select("user_id", "keyword", "journey_id"),
        kept["names"].select("user_id", "journey_id", "keyword"),
    ):
        for user, *row in frame.sort(pl.all()).iter_rows():
            past.setdefault(user, []).append(str(row))
    return past
