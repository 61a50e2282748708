"""The wheel in an empty folder, where nothing of the clone is found."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from journeys_dagster.environment import PROJECT_ROOT

pytestmark = pytest.mark.slow
OF_THE_WHEEL = ("pyproject.toml", "README.md", "assets", "dbt_like_sql", "journeys_dagster", "lab")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installed(tmp_path: Path) -> Run:
    """Runs what lies in the folder `bin` of a fresh environment, with the wheel in it, from an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOURNEYS", "DAGSTER"))}
    environment.pop("PYTHONPATH", None)
    work = tmp_path / "work"
    work.mkdir()

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*map(str, command)], cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=1800
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    source, fresh = tmp_path / "source", tmp_path / "venv"
    for name in OF_THE_WHEEL:
        copied = PROJECT_ROOT / name
        if copied.is_dir():
            shutil.copytree(copied, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(copied, source / name)
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    run(*pip, "--python", fresh / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    (packages,) = fresh.glob("lib/python*/site-packages")
    # The dependencies of these tests, but no editable install: its own .pth file is not read from there.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return lambda name, *words: run(fresh / "bin" / name, *words)


def test_the_wheel_works_in_an_empty_folder(installed: Run, tmp_path: Path) -> None:
    work = tmp_path / "work"
    found = installed("python", "-c", "import assets, lab, journeys_dagster as j; print(*j.__path__, *assets.__path__)")
    assert all(Path(path).is_relative_to(tmp_path / "venv") for path in found.stdout.split())
    demo = installed("journeys", "demo", "--users", "20", "--days", "20")
    assert "journeys listed" in demo.stdout
    # Its twenty days are too few to learn from: the demo says so.
    for model in ("ranking_model", "stage_model"):
        assert f"{model}: no model, not trained: " in demo.stdout
    assert [path.name for path in work.iterdir()] == [".journeys"]
    dagster_home = Path(installed("journeys", "init").stdout.strip())
    assert dagster_home == work / ".journeys" / "dagster"
    assert (dagster_home / "dagster.yaml").is_file()
    assert "Nothing to do" in installed("journeys", "status").stdout
    # What a user changes in the working folder counts.
    (work / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 1\n")
    assert "output" in installed("journeys", "status").stdout
    installed("python", "-m", "dagster", "definitions", "validate", "-m", "journeys_dagster.definitions")
