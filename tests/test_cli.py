"""The `journeys` command: what it prints, and what it says when it cannot."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from journeys_dagster.cli import _COMMANDS, cli


def journeys(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, words, env={"JOURNEYS_HOME": str(home), "COLUMNS": "120"})


@pytest.fixture
def landed(tmp_path: Path) -> Path:
    """A home with a world in its landing zone and nothing taken in."""
    home = tmp_path / "landed"
    result = journeys(home, "simulate", "--users", "5", "--days", "3", "--seed", "2")
    assert result.exit_code == 0, result.output
    return home


def test_simulate_says_what_it_wrote(landed: Path) -> None:
    assert {path.name for path in (landed / "landing").iterdir()} >= {
        "searches",
        "engagements",
        "items",
        "SIMULATED.json",
    }


def test_show_prints_a_users_journeys(finished_home: Path) -> None:
    result = journeys(finished_home, "show", "sim-user-000001")
    assert result.exit_code == 0, result.output
    assert "sim-user-000001" in result.output
    assert "last seen" in result.output


def test_show_sample_always_shows_the_same_users(finished_home: Path) -> None:
    first = journeys(finished_home, "show", "--sample", "3", "--json")
    records = json.loads(first.stdout)
    assert len({record["user_id"] for record in records}) == 3
    assert first.stdout == journeys(finished_home, "show", "--sample", "3", "--json").stdout


def test_show_of_an_unknown_user_names_some_it_knows(finished_home: Path) -> None:
    result = journeys(finished_home, "show", "nobody")
    assert result.exit_code == 1
    assert "user 'nobody' has no journeys" in result.output
    assert "sim-user-" in result.output


def test_show_before_any_run_says_so(tmp_path: Path) -> None:
    result = journeys(tmp_path / "none", "show", "ann")
    assert result.exit_code == 1
    assert "journeys run" in result.output


def test_show_wants_a_user_or_a_sample(tmp_path: Path) -> None:
    assert journeys(tmp_path, "show").exit_code == 2


def test_a_date_that_is_not_over_is_refused(landed: Path) -> None:
    today = datetime.now(UTC).date()
    for day in (today, today + timedelta(days=400)):
        result = journeys(landed, "run", "--date", str(day))
        assert result.exit_code == 2
        assert f"{day} is not over yet" in result.output


def test_a_date_before_the_first_day_is_refused(landed: Path) -> None:
    result = journeys(landed, "run", "--date", "2001-01-01")
    assert result.exit_code == 2
    assert "2001-01-01 is before the first day, 2025-06-28" in result.output


def test_an_empty_landing_zone_is_said(tmp_path: Path) -> None:
    result = journeys(tmp_path / "empty", "run", "--date", "2025-06-30")
    assert result.exit_code == 1
    assert "is empty" in result.output


def test_a_landing_zone_without_a_day_that_is_read_is_not_called_empty(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "searches" / "2025-06-30"
    folder.mkdir(parents=True)
    (folder / "part-0.csv").touch()
    result = journeys(tmp_path, "run", "--date", "2025-06-30")
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "is not empty, but holds no day" in said
    assert "rename it to date=2025-06-30" in said
    assert "rename it to date=2025-06-30" in " ".join(journeys(tmp_path, "status").output.split())


def land_searches(home: Path, day: str, *, good: int, future: int = 0) -> None:
    """Searches of one user, some of them by a clock that is years ahead."""
    folder = home / "landing" / "searches" / f"date={day}"
    folder.mkdir(parents=True)
    rows = [f"ann,garden bench {number},{day}T09:{number:02}:00Z" for number in range(good)]
    rows += [f"ben,lost cause {number},2036-01-01T09:00:00Z" for number in range(future)]
    (folder / "part-0.csv").write_text("\n".join(["user_id,query,occurred_at", *rows]))
    (folder / "_SUCCESS").touch()


def test_a_run_refuses_an_incomplete_day_and_says_what_it_did_what_it_did_not_read_or_rejected_and_what_comes_later(
    tmp_path: Path,
) -> None:
    land_searches(tmp_path, "2025-06-08", good=1)
    complete = tmp_path / "landing" / "searches" / "date=2025-06-08" / "_SUCCESS"
    complete.unlink()
    refused = journeys(tmp_path, "run", "--date", "2025-06-08")
    assert refused.exit_code == 1
    assert "landing day 2025-06-08 of searches is not complete" in " ".join(refused.output.split())
    land_searches(tmp_path, "2025-06-10", good=30, future=1)
    for source, day, name, content in (
        ("engagements", "2025-06-09", "a.csv", "user_id,item_id,action,occurred_at\nann,i1,save,2025-06-09T08:00:00Z"),
        ("items", "2025-06-20", "a.ndjson", '{"item_id": "i1", "title": "Bench", "annotations": ["oak bench"]}'),
    ):
        folder = tmp_path / "landing" / source / f"date={day}"
        folder.mkdir(parents=True)
        (folder / name).write_text(content)
        (folder / "_SUCCESS").touch()
    stray = tmp_path / "landing" / "Searches[bold]" / "x.csv"
    stray.parent.mkdir()
    stray.touch()
    result = journeys(tmp_path, "run", "--date", "2025-06-11", "--scope", "all_users")
    assert result.exit_code == 0, result.output
    for what in ("landing rows read", "users in scope", "distinct keywords", "journeys listed"):
        assert what in result.output
    found = (
        re.fullmatch(r"infer as of .*, all_users: (\w+) \((\d+) of (\d+)\)", line)
        for line in result.stderr.splitlines()
    )
    steps = [match for match in found if match]
    assert {"keyword_events", "clusters", "user_journeys"} <= {step[1] for step in steps}
    assert [int(step[2]) for step in steps] == [*range(1, int(steps[0][3]) + 1)]
    assert "simulated" not in journeys(tmp_path, "show", "--sample", "1").output

    said = " ".join(result.stderr.split())
    assert "Left out: 2025-06-08 of searches" in said
    assert "Searches[bold]" in said
    assert "Rejected of 3 days up to 2025-06-11" in said
    assert "part-0.csv:31" in said
    assert "clock" in said
    assert "No data landed for 2025-06-11, so nobody is active on it. The newest day before it with rows is" in said
    assert "None of the 1 items that users in scope engaged with is known as of 2025-06-11" in said
    assert "Items land later, on 2025-06-20: `journeys run --date 2025-06-20 --scope all_users`" in said
    assert "ben" not in result.output
    assert "lost" not in result.output

    status = json.loads(journeys(tmp_path, "status", "--json").stdout)
    failed = [check["check"] for check in status["failed_checks"]]
    assert failed == ["engaged_items_are_known", "everything_read"]
    assert any("No data landed for 2025-06-11" in line for line in status["what_to_do"])


def test_a_run_that_stops_says_why_once_and_names_no_machinery(tmp_path: Path) -> None:
    land_searches(tmp_path, "2025-06-10", good=9, future=3)
    land_searches(tmp_path, "2025-06-11", good=9)
    result = journeys(tmp_path, "run", "--date", "2025-06-11")
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "more than 5.0% was rejected of searches on 2025-06-10 (25.0%)" in said
    assert said.index("clock") < said.index("Mend what the table says") < said.index("landing.max_rejected_share")
    assert said.endswith("raise landing.max_rejected_share.")
    assert not re.search(r"daily_incremental|ingest_landing|rejected_share:|check |[0-9a-f]{8}-[0-9a-f]{4}", said)
    assert said.count("device's clock") == 1
    held_up = " ".join(journeys(tmp_path, "status").output.split())
    assert "journeys rejected" in held_up


def test_a_broken_settings_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "journeys.toml"
    broken.write_text("[clusters]\ndistance_treshold = 0.5\n")
    monkeypatch.setenv("JOURNEYS_SETTINGS", str(broken))
    result = journeys(tmp_path, "status")
    assert result.exit_code == 1
    assert "clusters.distance_treshold" in result.output


def test_init_prints_the_dagster_home(tmp_path: Path) -> None:
    result = journeys(tmp_path / "new", "init")
    assert result.exit_code == 0
    folder = Path(result.stdout.strip())
    assert (folder / "dagster.yaml").exists()
    assert folder == tmp_path / "new" / "dagster"
    assert "Every setting is explained in" in result.stderr


def test_importing_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = journeys(tmp_path, "import", "online-retail", str(tmp_path / "missing.parquet"))
    assert result.exit_code == 1
    assert "missing.parquet" in result.output


def test_showing_a_user_imports_nothing_slow():
    names = "dagster", "polars", "pydantic", "matplotlib", "torch", "sqlglot"
    code = f"import sys, journeys_dagster.cli.show; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_there_and_says_what_it_does():
    done = CliRunner().invoke(cli, ["--help"])
    assert done.exit_code == 0
    for name, command in ((name, cli.get_command(click.Context(cli), name)) for name in cli.list_commands(None)):  # type: ignore[arg-type]
        assert command is not None
        assert command.name == name
        assert name in done.output


def test_the_list_of_commands_says_what_each_says_itself_and_imports_none() -> None:
    for name, (_, said) in _COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert said == command.get_short_help_str(limit=1000), name
    code = (
        "import sys; from journeys_dagster.cli import cli; cli(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Commands:" in done.stdout
    assert not {"dagster", "polars", "duckdb", "pydantic"} & set(done.stdout.split())
