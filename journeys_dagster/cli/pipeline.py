"""The commands that fill a home, beside `run`: simulate, train, and all as a demo. Nothing is computed here."""

import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import err, out, progress_bar, say
from journeys_dagster.cli.run import print_counts, run
from journeys_dagster.cli.show import show_journeys
from journeys_dagster.environment import DEFAULT_SETTINGS, settings_path
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.shards import require_everyone
from journeys_dagster.settings import Settings, load_settings
from lab.simulation import Half, simulate

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("init")
def init_command() -> None:
    """Set up the home folder and print its Dagster home."""
    with plain_errors():
        home = Home.from_environment()
        home.dagster_instance().dispose()
    click.echo(home.dagster)
    err.print(f"Settings: {settings_path()}. Every setting is explained in {DEFAULT_SETTINGS}.", soft_wrap=True)


@click.command("simulate")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1), help="Users of the platform.")
@click.option("--days", default=120, show_default=True, type=click.IntRange(1), help="Days of activity.")
@click.option("--seed", default=7, show_default=True, type=int, help="Same seed, same world.")
@click.option(
    "--half", type=click.Choice(["tune", "report"]), help="Half of the journey types; all of them by default."
)
def simulate_command(users: int, days: int, seed: int, half: Half | None) -> None:
    """Write a simulated platform to the landing zone, and its truth to the folder `truth` of the home."""
    with plain_errors():
        _simulate(Home.from_environment(), users=users, days=days, seed=seed, half=half)


@click.command("train")
@click.option("--date", "day", type=_DAY, help="Last day whose rows are seen.")
def train_command(day: datetime | None) -> None:
    """Train a ranker on what users came back to; it takes over if it beats what is in use."""
    home = Home.from_environment()
    with plain_errors():
        settings = load_settings()
        _print_decisions(_train(home, settings, as_of=day.date() if day else None))


@click.command("demo")
@click.option("--users", default=500, show_default=True, type=click.IntRange(1))
@click.option("--days", default=120, show_default=True, type=click.IntRange(2))
@click.option("--seed", default=7, show_default=True, type=int)
def demo_command(users: int, days: int, seed: int) -> None:
    """A simulated platform: from an empty home to trained models and journeys."""
    began = time.monotonic()
    home = Home.from_environment()
    with plain_errors():
        settings = load_settings()
        last_day = _simulate(home, users=users, days=days, seed=seed)
        day_before = last_day - timedelta(days=1)
        run(home, settings, as_of=day_before, scope="all_users")
        decisions = _train(home, settings, as_of=day_before)
        # Everyone, so that no list is of the day before the models.
        run(home, settings, as_of=last_day, scope="all_users")
        print_counts(home.warehouse(settings), last_day)
        _print_decisions(decisions)
        show_journeys(home.look_up(), None, sample=3)
    out.print(f"\nDone in {time.monotonic() - began:.0f} s. This platform is simulated. Where to look next:")
    out.print("  journeys show --sample 10  more users")
    out.print("  make ui                    in a clone: the asset graph, checks, samples and plots in the Dagster UI")
    out.print(
        f"  journeys serve --on {last_day}  a page at http://127.0.0.1:8321 (extra [serve]): people, why, everyone"
    )
    out.print("  README.md, 'Your own data' how to point it at your log")


def _simulate(home: Home, *, users: int, days: int, seed: int, half: Half | None = None) -> date:
    with progress_bar("simulate", total=1.0) as advance:
        truth = home.path / "truth"
        summary = simulate(home.landing, users=users, days=days, seed=seed, half=half, truth=truth, progress=advance)
    rows = ", ".join(f"{count:,} {source}" for source, count in summary.rows.items())
    err.print(f"Simulated {summary.users:,} users, {summary.first_day} to {summary.last_day}: {rows}.")
    return summary.last_day


def _train(home: Home, settings: Settings, *, as_of: date | None) -> dict[str, str]:
    """Train the models; what was decided of each, and why."""
    from journeys_dagster.definitions import build_defs
    from journeys_dagster.orchestration.runs import train

    warehouse = home.warehouse(settings)
    warehouse.migrate()
    require_everyone(warehouse, "`journeys train`")
    if not warehouse.has_table("users_in_scope"):
        raise click.ClickException("there is nothing to train on yet: run `journeys run --scope all_users` first")
    defs = build_defs(settings=settings, home=home)
    with home.dagster_instance() as instance, progress_bar("replay history and train", total=None) as advance:
        report = train(defs, instance, as_of=as_of, begun=advance, warn=say)
    return {model: f"{said.get('model_id', 'no model')}, {said['decision']}" for model, said in report.items()}


def _print_decisions(decisions: Mapping[str, str]) -> None:
    for model, decision in decisions.items():
        out.print(f"{model}: {decision}", highlight=False, markup=False)
