"""Versions made of content: real code and files are changed, in a copy of the packages."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from journeys_dagster import definitions
from journeys_dagster.inference import fingerprint, shards
from journeys_dagster.inference.embedding import BUNDLED_MODEL, TextEmbedder, model_revision
from journeys_dagster.inference.fingerprint import COMPUTING, SourceTree, code_version, step_names, step_version
from journeys_dagster.inference.safety import verdict_revision
from journeys_dagster.inference.safety_policy import BUNDLED_POLICY, load_policy
from journeys_dagster.settings import Settings

ROOT = Path(fingerprint.__file__).parents[2]
Edit = Callable[[str, str, str], None]
INFERENCE = "journeys_dagster/inference"
EMBEDDINGS, VERDICTS, ALGORITHM, WORKERS = "embeddings", "verdicts", "algorithm", "workers"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packages, of which versions are made from now on."""
    for package in ("assets", "journeys_dagster"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "installed", lambda: SourceTree(tmp_path))
    monkeypatch.setattr(shards, "installed", lambda: SourceTree(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The versions of the code that runs."""
    return versions()


@pytest.fixture
def edit(copy: Path) -> Edit:
    def replace(file: str, old: str, new: str) -> None:
        path = copy / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}: name something that is"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


def versions() -> dict[str, str]:
    shards.decisive_versions.cache_clear()
    tree = fingerprint.installed()
    found = {name: tree.version(f"assets.{name}") for name in step_names()}
    found[EMBEDDINGS] = model_revision(BUNDLED_MODEL, "main")
    found[VERDICTS] = verdict_revision(Settings(), load_policy(BUNDLED_POLICY))
    found[ALGORITHM] = definitions.algorithm_in_use(Settings()).version
    found[WORKERS] = shards.decisive_versions()["journeys_dagster"]
    return found


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, version in versions().items() if version != before[name]}


SAFETY = {"safety_verdicts", "safety", "journey_expansions", VERDICTS, ALGORITHM}


@pytest.mark.parametrize(
    ("change", "names", "untouched"),
    [
        pytest.param(
            (f"{INFERENCE}/stages.py", "_MIXED_IN_EVENTS = 5", "_MIXED_IN_EVENTS = 6"),
            {"stages", ALGORITHM, WORKERS},
            {"names", "rankings", "keywords", EMBEDDINGS, VERDICTS},
            id="a constant",
        ),
        pytest.param(
            (f"{INFERENCE}/segments_kernel.py", "+=", "-="),
            {"clusters", ALGORITHM, WORKERS},
            {EMBEDDINGS, VERDICTS, "users_in_scope"},
            id="a line of a kernel that several modules lie between",
        ),
        pytest.param(
            ("assets/names.py", "from naming_model", "from naming_model limit 10"),
            {"names", ALGORITHM},
            {"keywords", "safety", EMBEDDINGS, VERDICTS},
            id="a line of SQL",
        ),
        pytest.param(
            (
                "journeys_dagster/orchestration/reads.py",
                "select user_id, cluster, journey_id",
                "select user_id, cluster + 0 as cluster, journey_id",
            ),
            {"names", "diversified_journeys", ALGORITHM},
            {"keywords", "rankings", EMBEDDINGS, VERDICTS},
            id="a line of SQL that several steps share",
        ),
        pytest.param(
            (
                "journeys_dagster/sources/contracts.py",
                'action_weights={"board": keywords.board_weight}',
                'action_weights={"board": 2 * keywords.board_weight}',
            ),
            {"keywords", ALGORITHM},
            {"stages", "names", EMBEDDINGS, VERDICTS},
            id="the weight that a source declares",
        ),
        pytest.param(
            (f"{INFERENCE}/encoders.py", "LONGEST_INPUT = 512", "LONGEST_INPUT = 256"),
            {"keyword_embeddings", EMBEDDINGS, VERDICTS, ALGORITHM},
            {"names", "rankings", "users_in_scope"},
            id="how vectors are computed",
        ),
        pytest.param(
            (f"{INFERENCE}/safety_text.py", '_CUT = " |"', '_CUT = " \\\\"'),
            SAFETY,
            {"names", "clusters", EMBEDDINGS},
            id="how texts are compared with the policy",
        ),
        pytest.param(
            (f"{INFERENCE}/safety_ordinary.txt", "10k plan\n", ""),
            SAFETY,
            {"names", "clusters", EMBEDDINGS},
            id="a text that classifiers learn from",
        ),
        pytest.param(
            (
                "journeys_dagster/training/stager.py",
                "from scipy.special import expit",
                "from scipy.special import erf as expit",
            ),
            {"stage_model", ALGORITHM},
            {"stages", "ranking_model", EMBEDDINGS, VERDICTS},
            id="a function of a library",
        ),
        pytest.param(
            ("journeys_dagster/settings/algorithm.py", "class ", "class Another:\n    one = 1\n\n\nclass "),
            {WORKERS},
            {"names", ALGORITHM, EMBEDDINGS, VERDICTS},
            id="settings, which count by their values",
        ),
    ],
)
def test_what_computes_changes_the_version_of_what_it_computes(
    before: dict[str, str], edit: Edit, change: tuple[str, str, str], names: set[str], untouched: set[str]
) -> None:
    edit(*change)
    found = changed(before)
    assert names <= found
    assert not untouched & found


def test_a_weight_of_the_classifier_changes_verdicts(before: dict[str, str], copy: Path) -> None:
    weights = copy / INFERENCE / "safety_classifier.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert changed(before) == SAFETY | {WORKERS}


def test_a_line_of_the_policys_exceptions_changes_verdicts_and_a_comment_does_not(
    before: dict[str, str], copy: Path
) -> None:
    path = copy / INFERENCE / "safety_policy.toml"
    text = path.read_text(encoding="utf-8")
    exceptions = re.search(r"^exceptions = \[\n? *", text, re.MULTILINE)
    assert exceptions is not None
    commented, excepted = (copy / name for name in ("commented.toml", "excepted.toml"))
    commented.write_text(f"# Of one mind.\n{text}".replace("\n[[category]]", "\n\n\n[[category]]"), encoding="utf-8")
    excepted.write_text(text.replace(exceptions[0], f'{exceptions[0]}"white noise", ', 1), encoding="utf-8")
    revisions = [verdict_revision(Settings(), load_policy(str(each))) for each in (path, commented, excepted)]
    assert revisions[0] == revisions[1] == verdict_revision(Settings(), load_policy(BUNDLED_POLICY))
    assert revisions[2] != revisions[0]
    algorithms = [
        definitions.algorithm_in_use(Settings.model_validate({"safety": {"policy": str(each)}})).parts["safety policy"]
        for each in (path, commented, excepted)
    ]
    assert algorithms[0] == algorithms[1] != algorithms[2]

    path.write_bytes(commented.read_bytes())
    assert changed(before) == set()
    path.write_bytes(excepted.read_bytes())
    assert {"safety_verdicts", VERDICTS} <= changed(before)


NOTHING = {
    "a comment": (f"{INFERENCE}/stages.py", "import polars", "# A remark.\nimport polars"),
    "an import": (f"{INFERENCE}/stages.py", "import polars as pl", "import math\nimport polars as pl"),
    "a docstring": (f"{INFERENCE}/stages.py", '    """', '    """Above all: '),
    "words on a constant": (f"{INFERENCE}/stage_model.py", '"""Days of silence', '"""How many days of silence'),
    "a log line": ("assets/keyword_embeddings.py", "new keywords embedded", "keywords embedded"),
    "one more log line": (
        "assets/keyword_embeddings.py",
        "                run.log(",
        "                run.log(str(done))\n                run.log(",
    ),
    "comments and layout of SQL": (
        "assets/keyword_embeddings.py",
        "    from strongest\n",
        "    -- Those that count; it's said once.\n    from\n        strongest\n",
    ),
    "a plot": ("assets/stages.py", "_DAYS_DRAWN = 90", "_DAYS_DRAWN = 60"),
    "the words of a plot": ("assets/stages.py", "journeys by stage and day", "stages by day"),
    "a description": ("assets/stages.py", '"""Lifecycle', '"""The lifecycle'),
    "a column's description": ("assets/stages.py", 'text("evergreen or situational")', 'text("the lifecycle")'),
    "what a source is": ("journeys_dagster/sources/contracts.py", "What users searched for.", "Searches."),
    "dead code": (f"{INFERENCE}/ranking.py", "\n\n\ndef ", "\n\n\ndef unused() -> None:\n    pass\n\n\ndef "),
}


def test_what_computes_nothing_changes_no_version(before: dict[str, str], edit: Edit) -> None:
    for change in NOTHING.values():
        edit(*change)
    assert changed(before) == {WORKERS}, "workers have the dead code too"


def test_formatting_and_comments_of_all_code_change_no_version(before: dict[str, str], copy: Path) -> None:
    for path in copy.rglob("*.py"):
        plain = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
        path.write_text(f"# Set anew.\n{plain}\n", encoding="utf-8")
    assert changed(before) == set()


def test_a_copy_has_the_same_versions(before: dict[str, str], copy: Path) -> None:
    assert versions() == before
    assert step_version("names") == step_version("assets.names") == before["names"]
    assert re.fullmatch(r"all-MiniLM-L6-v2@53aa51172d14/[0-9a-f]{12}", before[EMBEDDINGS])
    assert before[EMBEDDINGS].endswith(code_version(TextEmbedder))


def test_rooms_that_compute_are_there_and_steps_differ() -> None:
    tree = SourceTree(ROOT)
    assert all(tree.modules(room) for room in COMPUTING)
    steps = [step_version(name) for name in step_names()]
    assert len({*steps}) == len(steps) > 20


@pytest.mark.parametrize("root", ["assets.nowhere", "journeys_dagster.inference.stages:nothing"])
def test_a_root_that_is_not_there_is_told(root: str) -> None:
    with pytest.raises(LookupError, match=r"nowhere|nothing"):
        SourceTree(ROOT).version(root)


_REVISION = """
from journeys_dagster.inference.safety import verdict_revision
from journeys_dagster.inference.safety_policy import load_policy
from journeys_dagster.settings import Settings
print(verdict_revision(Settings(), load_policy("bundled")))
"""


def test_a_fix_of_safety_reaches_texts_that_were_judged_before(copy: Path, edit: Edit) -> None:
    def revision() -> str:
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        command = [sys.executable, "-c", _REVISION]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=copy, env=environment)
        return done.stdout

    revisions = [revision()]
    edit(f"{INFERENCE}/safety_text.py", '_CUT = " |"', '_CUT = " \\\\"')
    revisions.append(revision())
    weights = copy / INFERENCE / "safety_classifier.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    revisions.append(revision())
    assert len({*revisions}) == 3
