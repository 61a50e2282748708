"""The safety check: policy file, terms, resemblance, journeys, and that everything unknown is blocked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import EMBEDDER, Pipeline
from safetensors import safe_open

from journeys_dagster.cli import cli
from journeys_dagster.inference import safety_text
from journeys_dagster.inference.safety import (
    VERDICT_SCHEMA,
    check_texts,
    journey_outcomes,
    verdict_revision,
)
from journeys_dagster.inference.safety_classifier import (
    FILE,
    HARMLESS,
    THINGS,
    SafetyClassifier,
    fit_classifier,
    learnt_phrases,
    safety_classifier,
    stored_classifier,
)
from journeys_dagster.inference.safety_policy import BUNDLED_POLICY, Policy, PolicyError, load_policy
from journeys_dagster.settings import SafetySettings, Settings
from lab.evaluation.safety import (
    AFTER,
    BLIND,
    FRESH,
    LAST,
    REPORT,
    UNSEEN,
    checker,
    evaluate_safety,
    load_names,
    safety_report,
)
from lab.evaluation.safety_things import Nouns, chosen_things

POLICY = """
[[category]]
name = "ailment"
outcome = "quiet"
terms = ["cancer*"]
descriptions = ["being ill"]

[[category]]
name = "drugs"
outcome = "block"
terms = ["cocaine", "crack pipe*", "weed"]
exceptions = ["weed control", "cocaine bear*"]
descriptions = ["taking drugs"]

[harmless]
descriptions = ["crafts"]
"""
SETTINGS = SafetySettings(
    policy=BUNDLED_POLICY, quiet_probability=0.5, block_probability=0.7, blocked_share=0.5, quiet_share=0.3
)
# One axis for each class. A vector's probabilities are its squares where these add up to 1.
DRUGS, AILMENT, CRAFTS, OTHER = np.eye(4, dtype=np.float32)
NOTHING = CRAFTS
# A unit for either sign of each dimension, so that the hidden layer loses nothing.
_SCORES = 20 * np.eye(4, dtype=np.float32)[:, [1, 0, 2]]
CLASSIFIER = SafetyClassifier(
    policy_revision="policy",
    model="model",
    classes=("ailment", "drugs", HARMLESS),
    hidden_weights=np.hstack([np.eye(4), -np.eye(4)]).astype(np.float32),
    hidden_bias=np.zeros(8, dtype=np.float32),
    weights=np.vstack([_SCORES, -_SCORES]),
    bias=np.zeros(3, dtype=np.float32),
)


def plain(text: str) -> str:
    return pl.select(safety_text.plain(pl.lit(text))).item()


def with_probabilities(*, drugs: float = 0.0, ailment: float = 0.0) -> np.ndarray:
    """A vector to which the classifier gives these probabilities."""
    rest = 1 - drugs - ailment
    logits = [np.log(max(share, 1e-9)) / 20 for share in (drugs, ailment, rest)]
    return np.array([*logits, 0.0], dtype=np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def judge(file: Path, *texts: str, vector: np.ndarray = NOTHING) -> pl.DataFrame:
    vectors = np.tile(np.asarray(vector, dtype=np.float32), (len(texts), 1))
    return check_texts(pl.Series(texts, dtype=pl.String), vectors, load_policy(str(file)), CLASSIFIER, SETTINGS)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("cocaine", "block"),
        ("Buy COCAINE online", "block"),
        ("cócaine", "block"),
        ("co\u200bcaine", "block"),
        ("c0caine", "block"),
        ("cocaines", "allow"),  # whole words only
        ("crack-pipes", "block"),
        ("crack in the pipe", "allow"),
        ("weed control for lawns", "allow"),
        ("weed control while smoking weed", "block"),
        ("control your weed", "block"),
        ("cocaine bears and weed", "block"),
        ("cancerous", "quiet"),
        ("cancer and cocaine", "block"),
        ("sofa", "allow"),
        ("", "unknown"),
        ("日本語", "unknown"),
        ("sofa 소파", "unknown"),
        ("sоfa", "unknown"),  # its о is Cyrillic
        ("cocaine 소파", "block"),
        ("🪁🧶", "unknown"),
        ("!!!", "unknown"),
        ("sofa 🪁", "allow"),
        ("crème brûlée", "allow"),
        ("2031", "allow"),
        ('{"sofa": [1, 2]}', "unknown"),
        ("<div>sofa</div>", "unknown"),
        ("sofa = table", "unknown"),
        ('{"sofa": "cocaine"}', "block"),
        ("sofa & table (2-seat), 50% off!", "allow"),
    ],
)
def test_terms_are_whole_words_outside_exceptions(file: Path, text: str, outcome: str) -> None:
    assert judge(file, text)["outcome"].item() == outcome


def test_a_policy_covers_the_scripts_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    policy = POLICY.replace('"weed"]', '"weed", "대마초"]')
    path.write_text(f'scripts = ["Latin", "Hangul"]\n{policy}', encoding="utf-8")
    found = judge(path, "소파 sofa", "대마초 파이프", "диван", vector=np.zeros(4))
    assert found["outcome"].to_list() == ["allow", "block", "unknown"]
    # The classifier says nothing of what its model cannot read.
    assert found["probability"].to_list() == [0.0, 0.0, 0.0]
    assert found["reasons"].to_list() == [[], ["drugs: says '대마초'"], ["the policy does not cover it"]]


def test_what_an_exception_leaves_does_not_become_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.replace('"weed control"', '"red"'), encoding="utf-8")
    assert judge(path, "crack red pipe")["outcome"].item() == "allow"


@pytest.mark.parametrize(
    ("drugs", "ailment", "outcome", "category"),
    [
        (0.8, 0.0, "block", "drugs"),
        (0.45, 0.48, "quiet", "ailment"),  # sure to be one of them, and not one that blocks
        (0.45, 0.15, "quiet", "drugs"),  # likely to be one of them, and not sure enough to block
        (0.6, 0.3, "block", "drugs"),
        (0.4, 0.0, "allow", None),
        (0.0, 0.9, "quiet", "ailment"),
        (0.3, 0.3, "quiet", "ailment"),  # likely to be one of them
        (0.72, 0.2, "block", "drugs"),
        (0.35, 0.6, "quiet", "ailment"),
    ],
)
def test_what_a_text_means(file: Path, drugs: float, ailment: float, outcome: str, category: str | None) -> None:
    vector = with_probabilities(drugs=drugs, ailment=ailment + 1e-6)
    verdict = judge(file, "sofa", vector=vector).row(0, named=True)
    assert (verdict["outcome"], verdict["category"]) == (outcome, category)
    assert bool(verdict["reasons"]) == (outcome != "allow")
    assert verdict["probability"] == pytest.approx(drugs + ailment, abs=1e-4)


def test_a_text_with_an_exception_is_not_in_that_category_by_its_meaning(file: Path) -> None:
    assert judge(file, "weed control", vector=DRUGS)["outcome"].item() == "allow"
    assert judge(file, "weed control", vector=AILMENT)["outcome"].item() == "quiet"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_no_number_blocks(file: Path, bad: float) -> None:
    vector = NOTHING.copy()
    vector[1] = bad
    verdict = judge(file, "sofa", vector=vector).row(0, named=True)
    assert verdict["outcome"] == "block"
    assert verdict["reasons"] == ["its meaning could not be told"]


def test_reasons_hold_the_policys_words_and_no_others(file: Path) -> None:
    verdicts = judge(file, "my secret cocaine for cancerous aunt jane")
    assert verdicts["reasons"].item().to_list() == ["drugs: says 'cocaine'", "ailment: says 'cancer'"]
    assert judge(file, "aunt jane", vector=DRUGS)["reasons"].item().to_list() == ["drugs: means it, probability 1.0"]


def test_no_text_gives_no_verdict(file: Path) -> None:
    assert dict(judge(file).schema) == VERDICT_SCHEMA
    with pytest.raises(ValueError, match="equally many"):
        check_texts(pl.Series(["a"]), np.zeros((2, 4), dtype=np.float32), load_policy(str(file)), CLASSIFIER, SETTINGS)


VERDICTS = pl.DataFrame(
    [
        ("fine", "allow", None, [], False, 0.0),
        ("good", "allow", None, [], False, 0.0),
        ("ill", "quiet", "ailment", ["ailment: says 'ill'"], True, 0.0),
        ("bad", "block", "drugs", ["drugs: says 'bad'"], True, 0.0),
        ("sickish", "quiet", "ailment", ["ailment: means it, probability 0.6"], False, 0.6),
        ("badish", "block", "drugs", ["drugs: means it, probability 0.8"], False, 0.8),
        ("foreign", "unknown", None, ["the policy does not cover it"], False, 0.0),
        ("odd", "ALLOW", None, [], False, 0.0),
    ],
    schema=VERDICT_SCHEMA,
    orient="row",
)


def journey(name: str, **keywords: float) -> dict:
    rows = pl.DataFrame(
        [(0, keyword, round(weight * 1e6)) for keyword, weight in keywords.items()],
        schema={"journey": pl.Int64, "keyword": pl.String, "weight_units": pl.Int64},
        orient="row",
    )
    journeys = pl.DataFrame({"user_id": ["ann"], "journey_id": ["j"], "name": [name]})
    return journey_outcomes(weighed(journeys, rows), rows, VERDICTS, SETTINGS).row(0, named=True)


def weighed(journeys: pl.DataFrame, keywords: pl.DataFrame) -> pl.DataFrame:
    """Journeys with how many keywords they have, and how heavy these are."""
    of_journey = keywords.group_by("journey").agg(keywords=pl.len(), weight_units=pl.col("weight_units").sum())
    numbered = journeys.with_row_index("journey").cast({"journey": pl.Int64})
    return numbered.join(of_journey, on="journey", how="left", maintain_order="left").fill_null(0).drop("journey")


@pytest.mark.parametrize(
    ("name", "keywords", "outcome", "unlisted"),
    [
        ("Fine", {"fine": 1.0, "good": 1.0}, "allow", []),
        ("Ill", {"fine": 1.0}, "quiet", []),
        ("Bad", {"fine": 1.0}, "block", []),
        ("Fine", {"fine": 9.0, "ill": 0.1}, "quiet", []),
        ("Fine", {"fine": 6.0, "bad": 4.0}, "quiet", ["bad"]),
        ("Fine", {"fine": 5.0, "bad": 5.0}, "block", ["bad"]),
        ("Sickish", {"fine": 1.0}, "quiet", []),
        ("Badish", {"fine": 1.0}, "block", []),
        ("Fine", {"fine": 9.0, "sickish": 1.0}, "allow", []),  # one of many that seems to mean something
        ("Fine", {"fine": 7.0, "sickish": 3.0}, "quiet", []),
        ("Fine", {"fine": 9.0, "badish": 1.0}, "allow", ["badish"]),
        ("Fine", {"fine": 7.0, "badish": 1.5, "sickish": 1.5}, "quiet", ["badish"]),
        ("Fine", {"fine": 5.0, "badish": 5.0}, "block", ["badish"]),
        ("Fine", {"bad": 0.0000001}, "block", ["bad"]),  # nothing of it may be listed, whatever it weighs
        ("Never seen", {"fine": 1.0}, "block", []),
        ("Fine", {"fine": 9.0, "never seen": 1.0}, "quiet", ["never seen"]),
        ("Fine", {"fine": 1.0, "never seen": 1.0}, "block", ["never seen"]),
        ("Odd", {"fine": 1.0}, "block", []),  # an outcome that nobody knows
        ("Fine", {}, "block", []),
        ("Foreign", {"fine": 1.0}, "unknown", []),
        ("Fine", {"fine": 9.0, "foreign": 1.0}, "allow", []),
        ("Fine", {"fine": 7.0, "foreign": 3.0}, "unknown", []),
        ("Fine", {"fine": 7.0, "foreign": 2.0, "sickish": 1.0}, "unknown", []),
        ("Foreign", {"fine": 7.0, "sickish": 3.0}, "quiet", []),
        ("Foreign", {"foreign": 5.0, "bad": 5.0}, "block", ["bad"]),
    ],
)
def test_a_journey_is_as_sensitive_as_what_it_holds(
    name: str, keywords: dict[str, float], outcome: str, unlisted: list[str]
) -> None:
    found = journey(name, **keywords)
    assert (found["outcome"], found["unlisted_keywords"]) == (outcome, unlisted)
    assert bool(found["reasons"]) == (outcome != "allow")


def test_journeys_are_judged_alone_and_in_any_order() -> None:
    names = pl.DataFrame(
        {"user_id": ["ann", "ann", "bob"], "journey_id": ["j", "k", "j"], "name": ["Fine", "Bad", "Ill"]}
    )
    keywords = pl.DataFrame(
        {"journey": [0, 0, 1, 2], "keyword": ["fine", "bad", "bad", "good"], "weight_units": [100, 200, 1000, 300]}
    )
    journeys = weighed(names, keywords)
    together = journey_outcomes(journeys, keywords, VERDICTS, SETTINGS)
    assert together["outcome"].to_list() == ["block", "block", "quiet"]
    mirrored = keywords.reverse().with_columns(journey=2 - pl.col("journey"))
    assert journey_outcomes(journeys.reverse(), mirrored, VERDICTS.reverse(), SETTINGS).equals(together)
    # Keywords that are known to be allowed may be left out.
    flagged = keywords.filter(pl.col("keyword") == "bad")
    assert journey_outcomes(journeys, flagged, VERDICTS, SETTINGS).equals(together)
    for row, key in enumerate(names.select("user_id", "journey_id").iter_rows()):
        own = keywords.filter(journey=row).with_columns(journey=pl.lit(0, dtype=pl.Int64))
        alone = journey_outcomes(journeys[row : row + 1], own, VERDICTS, SETTINGS)
        assert alone.equals(together.filter(user_id=key[0], journey_id=key[1]))


@pytest.mark.parametrize(
    ("scripts", "said"), [('["Latein"]', "'Latein' is no Unicode script such as Latin"), ("[]", "scripts: ")]
)
def test_a_script_that_is_none_is_told(file: Path, scripts: str, said: str) -> None:
    file.write_text(f"scripts = {scripts}\n{POLICY}", encoding="utf-8")
    with pytest.raises(PolicyError, match=r"policy.toml") as error:
        load_policy(str(file))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('outcome = "block"', 'outcome = "maybe"'), "category.1.outcome"),
        (('terms = ["cancer*"]', "terms = []"), "category.0.terms"),
        (('name = "drugs"', 'name = "ailment"'), "'ailment' is there twice"),
        (('"weed"]', '"Weed"]'), "'Weed' never matches: texts are compared as 'weed'"),
        (('"weed"]', '"weed-killer"]'), "never matches"),
        (('"weed"]', '"*weed"]'), "never matches"),
        (('"weed"]', '"we* ed"]'), "never matches"),
        (("[harmless]", "[harmles]"), "harmles"),
        (("[harmless]", "[harmless"), "not valid TOML"),
    ],
)
def test_a_faulty_policy_is_told(file: Path, change: tuple[str, str], said: str) -> None:
    file.write_text(POLICY.replace(*change), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"policy.toml") as error:
        load_policy(str(file))
    assert said in str(error.value)


def test_a_missing_policy_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"Set safety\.policy"):
        load_policy(str(tmp_path / "none.toml"))


def test_verdicts_are_kept_by_policy_model_and_settings(file: Path) -> None:
    bundled, other = load_policy(BUNDLED_POLICY), load_policy(str(file))
    usual = Settings()
    looser = Settings.model_validate({"safety": {"quiet_probability": 0.9}})
    model = Settings.model_validate({"embedding": {"model": "another", "revision": "1"}})
    share = Settings.model_validate({"safety": {"blocked_share": 0.9, "quiet_share": 0.1}})
    revisions = [verdict_revision(usual, bundled), verdict_revision(usual, other)]
    revisions += [verdict_revision(looser, bundled), verdict_revision(model, bundled)]
    # The classifier reads by its own model, whatever keywords are embedded by.
    assert revisions.pop() == revisions[0]
    assert len(set(revisions)) == 3
    assert verdict_revision(share, bundled) == revisions[0]


def test_the_bundled_policy_compares_texts_as_its_terms_are_written() -> None:
    policy = load_policy(BUNDLED_POLICY)
    assert [category.outcome for category in policy.categories] == ["block"] * 7 + ["quiet"] * 10
    assert plain("  Ça   va, l'été?") == "ca va lete"


def test_names_written_by_hand_are_many_and_balanced() -> None:
    names = load_names(load_policy(BUNDLED_POLICY))
    assert len(names) > 600
    assert names["text"].is_unique().all()
    assert names.filter(pl.col("written").is_in([AFTER, FRESH]))["half"].unique().to_list() == [REPORT]
    assert len(names.filter(written=UNSEEN)) >= 300
    assert len(names.filter(written=LAST)) >= 90
    of_both_kinds = names.filter(~pl.col("written").is_in([UNSEEN, LAST]))
    balance = of_both_kinds.group_by("category").agg(share=(pl.col("expected") == "allow").mean())
    # A few that two authors wrote stand here once.
    assert balance["share"].is_between(0.49, 0.51).all()


def evaluated(policy: Policy) -> pl.DataFrame:
    return evaluate_safety(policy, checker(policy, Settings().safety, EMBEDDER, safety_classifier(policy, EMBEDDER)))


def test_harmful_names_are_told_from_harmless_ones() -> None:
    verdicts = evaluated(load_policy(BUNDLED_POLICY))
    halves = {row["half"]: row for row in safety_report(verdicts, by=["half"]).to_dicts()}
    assert halves[REPORT]["recall"] >= 0.95
    assert halves[REPORT]["false_blocks"] <= 0.05
    # Names that none of the policy's authors knew; see docs/results.md.
    unknown = verdicts.filter(pl.col("written").is_in([AFTER, FRESH, BLIND, UNSEEN, LAST]))
    found = safety_report(unknown, by=["half"])
    assert (found["recall"] >= 0.9).all()
    assert (found["false_blocks"].drop_nulls() <= 0.04).all()


@pytest.mark.slow
def test_no_name_that_the_classifier_has_learnt_is_reported() -> None:
    policy = load_policy(BUNDLED_POLICY)
    reported = evaluated(policy).filter(half=REPORT)["text"]
    assert not {*learnt_phrases(policy)[0]} & {*reported}
    fresh = load_names(policy).filter(written=FRESH)["text"]
    # One of them came to stand in the policy by chance, and is left out.
    assert len({*fresh} & {*reported}) >= 150


def test_the_classifier_beside_the_policy_is_that_of_the_policy() -> None:
    policy, names = load_policy(BUNDLED_POLICY), ["kitchen tiles", "buying cocaine", "my mother has cancer"]
    stored = safety_classifier(policy, EMBEDDER)
    assert stored is stored_classifier(), "fit one with `journeys evaluate safety --refit-to FILE`"
    vectors = EMBEDDER.embed(names)
    assert stored.probabilities(vectors).argmax(axis=1).tolist() == [
        stored.classes.index(name) for name in (HARMLESS, "drugs", "health")
    ]


@pytest.mark.slow
def test_a_classifier_is_fitted_to_another_policy_once(file: Path, tmp_path: Path) -> None:
    policy = load_policy(str(file))
    fitted = safety_classifier(policy, EMBEDDER)
    assert safety_classifier(policy, EMBEDDER) is fitted
    again = fit_classifier(policy, EMBEDDER)
    vectors = EMBEDDER.embed(["being ill", "taking drugs", "crafts"])
    assert np.allclose(again.probabilities(vectors), fitted.probabilities(vectors), atol=0.01)
    probabilities = fitted.probabilities(vectors)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert [fitted.classes[place] for place in probabilities.argmax(axis=1)][1:] == ["drugs", HARMLESS]
    assert probabilities[0, fitted.classes.index("ailment")] > probabilities[2, fitted.classes.index("ailment")]


def test_the_command_prints_json_and_tables() -> None:
    result = CliRunner().invoke(cli, ["evaluate", "safety", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert 1_000 < report["names"] <= len(load_names(load_policy(BUNDLED_POLICY)))
    assert {row["half"] for row in report["halves"]} == {"tuning", "report", "blind", "unseen", "last"}
    assert len(report["categories"]) == 17
    assert [row["expected"] for row in report["confusion"]] == ["allow", "quiet", "block"]


def test_the_shares_of_a_catalogue_are_reported_with_what_is_flagged(tmp_path: Path) -> None:
    catalogue = tmp_path / "shelves.txt"
    catalogue.write_text("Teapot\nteapot\n\nwool rug\ncocaine\n소파\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["evaluate", "safety", "--json", "--catalogue", str(catalogue)])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    shares = report["corpora"][0]
    assert (shares["corpus"], shares["texts"]) == ("shelves", 4)
    assert (shares["block"], shares["quiet"], shares["unknown"]) == (0.25, 0.0, 0.25)
    assert shares["block_low"] <= 0.25 <= shares["block_high"]
    assert [row["text"] for row in report["flagged"]["shelves"]] == ["cocaine", "소파"]


NOUNS = """  1 a header
00000001 03 n 01 thing 0 000 | what there is
00000002 06 n 01 weapon 0 001 @ 00000001 n 0000 | for fighting
00000003 06 n 02 sword 0 blade 0 001 @ 00000002 n 0000 | a weapon
00000004 06 n 03 garden_rake 0 Rake 0 xy 0 001 @ 00000001 n 0000 | a tool
00000005 13 n 02 blade 0 leek(a) 0 001 @ 00000001 n 0000 | to be eaten
00000006 05 n 02 heron 0 Ardea 0 001 @ 00000001 n 0000 | a bird
00000007 04 n 01 sport 0 001 @ 00000001 n 0000 | exercise
00000008 04 n 01 curling 0 001 @ 00000007 n 0000 | on ice
00000009 04 n 01 theft 0 001 @ 00000001 n 0000 | taking
00000010 20 n 01 cannabis 0 001 @ 00000001 n 0000 | a plant
"""


def test_things_are_harmless_in_every_meaning() -> None:
    nouns = Nouns(NOUNS.splitlines())
    harmless = {"garden rake", "rake", "leek", "heron", "sport", "curling", "cannabis"}
    assert nouns.things.keys() == harmless
    chosen = chosen_things(nouns, load_policy(BUNDLED_POLICY))
    assert chosen == sorted(set(chosen))
    assert {*chosen} & harmless == harmless - {"cannabis"}
    # Each once more as shops word it; what a term of the policy stands in is left out.
    assert len(harmless) < len(chosen) < 2 * len(harmless)
    assert not any("cannabis" in text for text in chosen)


def test_no_thing_that_is_learnt_as_harmless_has_a_term() -> None:
    things = [line for line in THINGS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert things == sorted(set(things))
    by_terms = SETTINGS.model_copy(update={"quiet_probability": 1.0})
    vectors = np.zeros((len(things), EMBEDDER.embed(["a"]).shape[1]), dtype=np.float32)
    policy = load_policy(BUNDLED_POLICY)
    verdicts = check_texts(pl.Series(things), vectors, policy, safety_classifier(policy, EMBEDDER), by_terms)
    assert verdicts["outcome"].unique().to_list() == ["allow"]


def test_refitting_writes_a_new_file_and_leaves_the_shipped_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped, stored = FILE.read_bytes(), stored_classifier()
    assert stored is not None
    # Fitting takes a minute; what it gives is of no matter here.
    fitted = replace(stored, bias=stored.bias + np.float32(1.0))
    monkeypatch.setattr("lab.evaluation.safety.fit_classifier", lambda *_: fitted)
    new = tmp_path / "new.safetensors"
    run = CliRunner().invoke
    refused = run(cli, ["evaluate", "safety", "--refit-to", str(FILE)])
    assert refused.exit_code != 0
    assert "exists already" in refused.output
    done = run(cli, ["evaluate", "safety", "--json", "--refit-to", str(new)])
    assert done.exit_code == 0, done.output
    assert FILE.read_bytes() == shipped
    with safe_open(new, framework="numpy") as file:
        assert np.array_equal(file.get_tensor("bias"), fitted.bias.astype(np.float16))
    assert run(cli, ["evaluate", "safety", "--refit-to", str(new)]).exit_code != 0


def test_a_policy_that_is_not_there_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "journeys.toml"
    settings.write_text('[safety]\npolicy = "nowhere.toml"\n', encoding="utf-8")
    monkeypatch.setenv("JOURNEYS_SETTINGS", str(settings))
    result = CliRunner().invoke(cli, ["evaluate", "safety"])
    assert result.exit_code == 1
    assert "nowhere.toml cannot be read" in result.output


@pytest.mark.slow
def test_a_policy_changes_what_is_listed(copy_of_world, world_days, tmp_path: Path) -> None:
    pipeline, day = copy_of_world("usual"), world_days[-2]
    before = pipeline.table("user_journeys", f"as_of = '{day}'")
    assert before["may_notify"].any()
    blocked, quiet = (name.lower() for name in before["name"].unique().sort()[:2])
    path = tmp_path / "policy.toml"
    path.write_text(
        POLICY.replace('"weed"]', f'"{plain(blocked)}"]').replace('"cancer*"', f'"{plain(quiet)}"'), encoding="utf-8"
    )
    strict = Pipeline(pipeline.home, Settings.model_validate({"safety": {"policy": str(path)}}))
    assert strict.materialize("safety_verdicts", "safety", "user_journeys", "user_snapshots", days=(day, day)).success
    after = strict.table("user_journeys", f"as_of = '{day}'")
    assert blocked not in {name.lower() for name in after["name"]}
    listed = after.explode("keywords").select(pl.col("keywords").struct.field("keyword"))["keyword"]
    assert blocked not in set(listed)
    assert not after.filter(pl.col("name").str.to_lowercase() == quiet)["may_notify"].any()
    ranks = after.group_by("user_id").agg(pl.col("rank").sort())
    assert all(found == list(range(1, len(found) + 1)) for found in ranks["rank"].to_list())
    texts = strict.table("safety_verdicts")
    assert texts.select("revision", "text").is_unique().all()
    again = strict.materialize("safety_verdicts", days=(day, day)).get_asset_materialization_events()
    assert again[0].materialization.metadata["newly_checked"].value == 0
