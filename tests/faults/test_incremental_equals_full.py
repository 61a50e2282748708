"""Incremental equals full, on random logs: late rows, duplicates, silent users, days out of order, days re-run."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import EMBEDDER
from day_runs import OF_EVERYONE, OF_USERS, DayRuns, days_from
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_logs import ODD_TEXTS, PHRASES, LogShape, RandomLog, Rows, changed_day, frames_of, random_log

from assets.naming_model import TABLE as NAMING_MODEL
from journeys_dagster.inference.ranking import HEURISTIC
from journeys_dagster.inference.stages import RULE
from journeys_dagster.orchestration.run_config import TrainingConfig
from journeys_dagster.resources.trained_models import RANKING_MODEL, STAGE_MODEL
from journeys_dagster.settings import Settings
from journeys_dagster.tables import Table

FIRST = date(2025, 1, 6)
EMBEDDINGS = "keyword_embeddings"
Models = list[tuple[Table, pl.DataFrame]]
SCOPES = ("active_users", "all_users")
TRAINED = (RANKING_MODEL, STAGE_MODEL, NAMING_MODEL)
# Trains on thirty days of thirty users within seconds.
QUICK = {"ranking": {"return_days": 3, "snapshot_every_days": 3, "min_returns": 5}, "stages": {"return_days": 3}}


@dataclass(frozen=True, kw_only=True)
class Step:
    """Days that are taken in, and the day that is inferred then."""

    takes_in: Sequence[tuple[date, Rows]] = field(repr=False)
    day: date
    scope: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """A log, a history of runs, and the day that is inferred in both scopes on the state reached."""

    log: RandomLog = field(repr=False)
    history: Sequence[Step]
    last_step: Step
    settings: dict[str, Any]
    batches: Sequence[int]
    threads: int
    models_from: date | None
    kinds: frozenset[str] = field(default=frozenset())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Structure is drawn by hypothesis, rows by a generator with a drawn seed."""
    gaps = draw(st.lists(st.sampled_from((1, 1, 1, 2, 7, 30, 90)), min_size=2, max_size=5))
    days = days_from(FIRST, gaps)
    shape = LogShape(
        seed=draw(st.integers(0, 2**32 - 1)),
        days=days,
        users=draw(st.integers(2, 8)),
        events_per_day=draw(st.sampled_from((3, 8, 16))),
        active_share=draw(st.sampled_from((0.4, 0.7))),
        late_share=draw(st.sampled_from((0.0, 0.25))),
    )
    log = random_log(shape)
    rng = random.Random(shape.seed)  # noqa: S311
    users = [f"u{user}" for user in range(shape.users)]
    # A middle day too: then the warehouse holds rows and snapshots of later days.
    day = draw(st.sampled_from([days[-1], days[-1], days[-2]]))
    runs = draw(st.lists(st.tuples(st.sampled_from(days), st.sampled_from(SCOPES)), min_size=1, max_size=3))
    arrival = draw(st.permutations(days))
    history: list[Step] = []
    for number, (run_day, scope) in enumerate(runs):
        # A day that is inferred has landed; other days arrive earlier, later, or with the last step.
        landed = {*arrival[: number + 1], run_day} - {taken for step in history for taken, _ in step.takes_in}
        history.append(
            Step(takes_in=[(landing, log.days[landing]) for landing in sorted(landed)], day=run_day, scope=scope)
        )
    taken = {landing for step in history for landing, _ in step.takes_in}
    late = draw(st.lists(st.sampled_from(days), max_size=2, unique=True))
    removes = draw(st.booleans())
    last = [(landing, log.days[landing]) for landing in days if landing not in taken and landing not in late]
    last += [(landing, changed_day(rng, log.days[landing], landing, users, removes=removes)) for landing in late]
    run_days = [step.day for step in history]
    kinds = {
        "late rows": log.late_rows > 0,
        "days re-run": len({*run_days, day}) < len(run_days) + 1,
        "days out of order": run_days != sorted(run_days) or max(run_days) > day,
        "days that changed later": bool(taken & {*late}),
        "silence of weeks": max(gaps) >= 30,
    }
    return Case(
        log=log,
        history=history,
        last_step=Step(takes_in=last, day=day, scope=SCOPES[0]),
        settings=draw(case_settings()),
        batches=draw(st.permutations((1, 3, 20_000))),
        threads=draw(st.sampled_from((1, 2))),
        models_from=draw(st.sampled_from([None, FIRST, day])),
        kinds=frozenset(name for name, holds in kinds.items() if holds),
    )


@st.composite
def case_settings(draw: st.DrawFn) -> dict[str, Any]:
    """Settings under which a few rows of a few weeks meet the limits."""
    return {
        "keywords": {
            "lookback_days": draw(st.sampled_from((20, 60, 365))),
            "recent_limit": draw(st.sampled_from((2, 8))),
            "search_weight": draw(st.sampled_from((1.0, 0.7))),
        },
        "clusters": {"max_keywords_per_user": draw(st.sampled_from((5, 400)))},
        "diversification": {"strategy": draw(st.sampled_from(("penalty", "penalty", "mmr", "dpp", "ssd")))},
        "stages": {
            "ended_min_days": draw(st.sampled_from((2, 10))),
            "evergreen_min_span_days": draw(st.sampled_from((7, 56))),
            "evergreen_min_active_months_share": draw(st.sampled_from((0.3, 0.75))),
        },
        "output": {"max_journeys_per_user": draw(st.sampled_from((3, 10)))},
    }  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the views, empty sources, and the vector of every text."""
    runs = DayRuns(tmp_path_factory.mktemp("template") / "home", Settings(), EMBEDDER)
    runs.prepare()
    runs.embed([*PHRASES, *ODD_TEXTS])
    return runs.home.path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Models:
    """Models as the assets train them, on a log of the same phrases."""
    path = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(template, path)
    runs = DayRuns(path, Settings.model_validate(QUICK), EMBEDDER)
    days = days_from(FIRST, [1] * 29)
    log = random_log(
        LogShape(seed=3, days=days, users=30, events_per_day=3, active_share=0.5, late_share=0.1, interests_per_user=6)
    )
    for day in days:
        runs.land(day, frames_of(log.days[day]))
    runs.take_in(days)
    runs.infer(days[-1], "all_users")
    runs.call("ranking_labels", None, config=TrainingConfig())
    for model in TRAINED:
        runs.call(model.name, None)
    rows = [(model, runs.table(model.name)) for model in TRAINED]
    assert all(len(of_model) > 0 for _, of_model in rows)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("size", [4, 500])
def test_incremental_equals_full(
    size: int,
    tmp_path: Path,
    template: Path,
    trained: Models,
    figures: Callable[..., None],
) -> None:
    """On any state, both scopes give users they share the same rows, and running again changes nothing."""
    counts: Counter[str] = Counter()
    began, cpu_began = time.perf_counter(), time.process_time()

    @settings(
        max_examples=size,
        deadline=None,
        derandomize=True,
        # A case takes seconds, so shrinking one would take many minutes.
        phases=[Phase.generate],
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(case=cases())
    def law(case: Case) -> None:
        home = tmp_path / f"case-{counts['cases drawn']}"
        counts["cases drawn"] += 1
        shutil.copytree(template, home)
        try:
            _check(case, home, trained, counts)
        finally:
            shutil.rmtree(home.with_name(home.name + "-full"), ignore_errors=True)
            shutil.rmtree(home)

    law()
    cases_run = counts["cases"]
    figures(
        **{name.replace(" ", "_"): count for name, count in counts.items()},
        seconds_per_case=(time.perf_counter() - began) / cases_run,
        cpu_seconds_per_case=(time.process_time() - cpu_began) / cases_run,
    )
    assert cases_run >= size
    assert min(counts[name] for name in ("users in both scopes", "users in full scope only", "rows compared")) > 0


def _check(case: Case, path: Path, trained: Models, counts: Counter[str]) -> None:
    runs = DayRuns(path, _settings(case, 20_000), EMBEDDER)
    day, where = case.last_step.day, f"as_of = '{case.last_step.day}'"
    with runs.kept_open():
        if case.models_from is not None:
            _put_in_use(runs, trained, case.models_from)
        for step in case.history:
            _take_in(runs, step)
            runs.infer(step.day, step.scope)
        _take_in(runs, case.last_step)
    full = runs.copy(path.with_name(path.name + "-full"))
    runs.use(_settings(case, case.batches[0]))
    with runs.kept_open():
        runs.infer(day, "active_users")
        incremental = _tables(runs)
        active = set(runs.table("users_in_scope", where)["user_id"])
    full.use(_settings(case, case.batches[1]))
    with full.kept_open():
        full.infer(day, "all_users")
        everyone = set(full.table("users_in_scope", where)["user_id"])
        after_full = _tables(full)
        full.use(_settings(case, case.batches[2]))
        full.infer(day, "active_users")
        after_both = _tables(full)
    in_scope = pl.col("user_id").is_in(sorted(active)) & (pl.col("as_of") == day)
    active_rows = [
        {name: tables[name].filter(in_scope) for name in OF_USERS} for tables in (incremental, after_full, after_both)
    ]
    of_others = [{name: tables[name].filter(~in_scope) for name in OF_USERS} for tables in (after_full, after_both)]
    across = [{name: tables[name] for name in (*OF_EVERYONE, EMBEDDINGS)} for tables in (incremental, after_full)]
    assert active <= everyone
    assert _differing(*map(_unscoped, active_rows[:2])) == [], "incremental and full"
    # Who was inferred before, and has no rows that day any more, keeps the full run's snapshot.
    assert _differing(*map(_unscoped, (active_rows[0], active_rows[2]))) == [], "incremental, and again after full"
    assert _differing(*of_others) == [], "other users, after an incremental run"
    assert _differing(*across) == [], "what looks across users"
    _count(case, counts, compared=active_rows[0], active=active, everyone=everyone, runs=runs)


def _settings(case: Case, users_per_batch: int) -> Settings:
    run = {"users_per_batch": users_per_batch, "warehouse_threads": case.threads}
    return Settings.model_validate({**case.settings, "run": run})


def _take_in(runs: DayRuns, step: Step) -> None:
    for day, rows in step.takes_in:
        runs.land(day, frames_of(rows))
    runs.take_in([day for day, _ in step.takes_in])


def _put_in_use(runs: DayRuns, trained: Models, day: date) -> None:
    for model, rows in trained:
        told = rows.with_columns(as_of=pl.lit(day))
        runs.warehouse.replace_table(model, [told.with_columns(promoted=True) if "promoted" in rows.columns else told])


def _tables(runs: DayRuns) -> dict[str, pl.DataFrame]:
    return runs.tables([*OF_USERS, *OF_EVERYONE, EMBEDDINGS])


def _unscoped(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {name: frame.drop("scope") for name, frame in tables.items()}


def _differing(some: dict[str, pl.DataFrame], others: dict[str, pl.DataFrame]) -> list[str]:
    """Tables that differ, by name; rows are compared as text, so that floats are compared bit for bit."""
    return [name for name in some if _rows(some[name]) != _rows(others[name])]


def _rows(frame: pl.DataFrame) -> list[str]:
    return sorted(map(str, frame.iter_rows()))


def _count(
    case: Case,
    counts: Counter[str],
    *,
    compared: dict[str, pl.DataFrame],
    active: set[str],
    everyone: set[str],
    runs: DayRuns,
) -> None:
    day = case.last_step.day
    before = f"arrival_day < '{day}' and arrival_day >= '{day - timedelta(days=28)}'"
    lately = set(runs.table("user_activity", before)["user_id"])
    long_ago = set(runs.table("user_activity", f"arrival_day < '{day - timedelta(days=28)}'")["user_id"])
    counts.update({f"cases with {kind}": 1 for kind in case.kinds})
    counts.update(
        {
            "cases": 1,
            "users in both scopes": len(active),
            "users in full scope only": len(everyone - active),
            "rows compared": sum(len(frame) for frame in compared.values()),
            "cases with users who return after weeks": bool((active & long_ago) - lately),
            "cases with duplicates": not runs.table("landed_days", "rows_duplicate > 0").is_empty(),
            "cases with rejected rows": not runs.table("landed_days", "rows_rejected > 0").is_empty(),
            "cases ranked by a model": bool((compared["rankings"]["ranker"] != HEURISTIC).any()),
            "cases staged by a model": bool((compared["stages"]["stage_model"] != RULE).any()),
            "cases named with a model": bool((compared["names"]["centrality"] > 0).any()),
            f"cases diversified by {case.settings['diversification']['strategy']}": 1,
        }
    )
