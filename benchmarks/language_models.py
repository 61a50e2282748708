"""The language model's uses at the size of the demo, against a server that answers from rules and misbehaves on demand.

Run ``python benchmarks/language_models.py``. A simulated platform is inferred with a model for names, judge, expansions
and safety: first within a budget that is too small, then on until nothing is left, then once more. For each asset that
asks, the tables say what was asked, what was known, what went wrong and what it costs. The figures are of the client;
rules say nothing of the quality of a model.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from journeys_dagster.definitions import build_defs
from journeys_dagster.orchestration.runs import infer, ingest
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings, load_settings
from lab.simulation import simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "language_models"))
from loopback import Loopback, running, without_prompts

LAST_DAY = date(2025, 6, 30)
ASKING = ("names", "safety_verdicts", "safety", "judge_scores", "journey_expansions")
FIGURES = ("inputs", "answered", "failed", "left", "cache_hits", "calls", "retries", "repairs", "prompt_tokens", "cost")
FAULTS = (
    "429",
    "500",
    "503",
    "hang",
    "cut",
    "cut_chunk",
    "not_json",
    "wrong_schema",
    "refusal",
    "slow",
    "empty",
    "html",
)
MOST_RUNS = 8
out = Console(width=None if sys.stdout.isatty() else 130)


def settings_for(server: Loopback, *, tokens: int) -> Settings:
    """All uses but whole lists, at prices of a small hosted model."""
    model = server.llm_settings(
        names=True,
        judge=True,
        expansions=True,
        safety=True,
        timeout_seconds=2.0,
        first_wait_seconds=0.1,
        max_tokens_per_run=tokens,
        input_price=0.15,
        output_price=0.6,
    )
    return load_settings().model_copy(update={"llm": model})


def run_day(home: Home, settings: Settings, day: date, scope: str) -> dict[str, dict[str, Any]]:
    """Infer a day; returns the model's figures by asset."""
    defs, instance = build_defs(settings=settings, home=home), home.dagster_instance()
    infer(defs, instance, as_of=day, scope=scope)
    found = {}
    for asset in ASKING:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
        said = {name.removeprefix("llm_"): value.value for name, value in metadata.items() if name.startswith("llm_")}
        if said:
            found[asset] = said
    instance.dispose()
    return found


def measure(users: int, days: int, tokens: int, fault_share: float, folder: Path) -> list[dict[str, Any]]:
    """The runs one after the other: what each asset asked, what the server met, and what came of it."""
    home = Home(folder / "home")
    simulate(home.landing, users=users, days=days, seed=7, last_day=LAST_DAY)
    before = LAST_DAY - timedelta(days=1)
    runs: list[dict[str, Any]] = []

    def run(title: str, settings: Settings, day: date, scope: str) -> dict[str, Any]:
        server.behave(faults=dict.fromkeys(FAULTS, fault_share), slow_seconds=1.0, latency=0.005)
        assets = run_day(home, settings, day, scope)
        listed = home.warehouse(settings).query(
            "select count(*) as journeys, count(*) filter (namer <> 'keyword') as titled from user_journeys "
            "where as_of = $day",
            {"day": day},
        )
        runs.append(
            {
                "run": title,
                "assets": assets,
                "server": without_prompts(server.figures()),
                "listed": listed.row(0, named=True),
            }
        )
        return runs[-1]

    with running() as server:
        small, enough = settings_for(server, tokens=tokens), settings_for(server, tokens=0)
        _take_in(home, small, before)
        stopped = run(f"everyone, a budget of {tokens:,} tokens", small, before, "all_users")
        if not _left(stopped):
            raise SystemExit("the budget was enough: nothing is shown by going on; name a smaller one")
        for number in range(2, MOST_RUNS):
            if not _left(run(f"the same day again, run {number}, no limit", enough, before, "all_users")):
                break
        run("the same day once more", enough, before, "all_users")
        run("the next day, active users", enough, LAST_DAY, "active_users")
        run("that day once more", enough, LAST_DAY, "active_users")
    return runs


def _take_in(home: Home, settings: Settings, before: date) -> None:
    sources = ("items", "searches", "engagements", "board_items")
    first = min(min(home.landing_zone().days(source)) for source in sources)
    instance = home.dagster_instance()
    ingest(build_defs(settings=settings, home=home), instance, [(first, before - timedelta(days=1))], sources=sources)
    instance.dispose()


def _left(run: dict[str, Any]) -> int:
    return sum(figures["left"] for figures in run["assets"].values())


def report(runs: Sequence[dict[str, Any]]) -> None:
    """A table for each run, and what is to be said of it."""
    for run in runs:
        table = Table("asset", *FIGURES, title=run["run"])
        for asset, figures in run["assets"].items():
            values = (figures[name] for name in FIGURES)
            table.add_row(asset, *(f"{value:.4f}" if isinstance(value, float) else f"{value:,}" for value in values))
        out.print(table)
        server, listed = run["server"], run["listed"]
        met = ", ".join(f"{count} × {fault}" for fault, count in sorted(server["met"].items())) or "no fault"
        out.print(f"server: {server['calls']:,} calls, {server['answered_twice']} answered twice; met {met}")
        for asset, figures in run["assets"].items():
            for what in ("stopped", "faults"):
                if figures.get(what):
                    out.print(f"{asset}, {what}: {figures[what]}")
        out.print(f"listed: {listed['journeys']:,} journeys, {listed['titled']:,} with a title by the model\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--tokens", type=int, default=300_000, help="budget of the first run, which is too small")
    parser.add_argument("--fault-share", type=float, default=0.01, help="of the inputs, for each of twelve faults")
    parser.add_argument("--json", action="store_true", help="one JSON array instead of tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(arguments.users, arguments.days, arguments.tokens, arguments.fault_share, Path(folder))
    print(json.dumps(runs)) if arguments.json else report(runs)


if __name__ == "__main__":
    main()
