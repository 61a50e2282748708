"""The settings file: equal to the defaults in code, strict, and exact about what is wrong."""

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from journeys_dagster.environment import DEFAULT_SETTINGS, HOME_VARIABLE, SETTINGS_VARIABLE, home_path
from journeys_dagster.settings import Settings, SettingsError, load_settings

SHIPPED = DEFAULT_SETTINGS
SECTIONS: dict[str, type[BaseModel]] = {name: type(getattr(Settings(), name)) for name in Settings.model_fields}
NUMBERS = [
    (f"{section}.{name}", field.annotation)
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
    if field.annotation in {int, float}
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my journeys.toml"


def load(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def fault(file: Path, text: str) -> str:
    """What is said about a settings file, without the file."""
    with pytest.raises(SettingsError) as error:
        load(file, text)
    start = f"settings file {file}"
    assert str(error.value).startswith(start)
    return str(error.value).removeprefix(start)


def setting(name: str, value: str) -> str:
    section, _, key = name.partition(".")
    return f"[{section}]\n{key} = {value}\n"


def documented() -> Iterator[tuple[str, str, str]]:
    """Sections and keys of the shipped file, commented-out ones too, with the comment above each."""
    section, comment = "", []
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
            yield section, "", " ".join(comment)
            comment = []
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            yield section, key[1], " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []


def test_the_shipped_file_equals_the_defaults() -> None:
    assert load_settings(SHIPPED) == Settings()


def test_the_shipped_file_writes_out_every_default() -> None:
    written = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    assert written == Settings().model_dump(exclude_none=True)


def test_the_shipped_file_describes_every_section_and_setting_in_the_words_and_order_of_the_code() -> None:
    described = [
        entry
        for section, model in SECTIONS.items()
        for entry in (
            (section, "", model.__doc__),
            *((section, name, field.description) for name, field in model.model_fields.items()),
        )
    ]
    assert list(documented()) == described


def test_every_description_is_a_sentence() -> None:
    for model in SECTIONS.values():
        for field in model.model_fields.values():
            assert re.fullmatch(r"[A-Z].{10,}\.", field.description or "")


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    assert load(file, "") == Settings()


def test_settings_that_are_left_out_keep_their_defaults(file: Path) -> None:
    settings = load(file, "[diversification]\npenalty = 0.5\n")
    assert settings.diversification.penalty == 0.5
    assert settings.model_copy(update={"diversification": Settings().diversification}) == Settings()


def test_a_byte_order_mark_is_allowed(file: Path) -> None:
    assert load(file, "\ufeff[output]\nmax_journeys_per_user = 3\n").output.max_journeys_per_user == 3


def test_the_first_day_is_a_toml_date(file: Path) -> None:
    assert load(file, setting("landing.first_day", "2025-01-01")).landing.first_day == date(2025, 1, 1)


def test_a_table_of_weights_replaces_the_default_weights(file: Path) -> None:
    assert load(file, "[keywords.action_weights]\nsave = 4\n").keywords.action_weights == {"save": 4.0}


@pytest.mark.parametrize("name", [name for name, kind in NUMBERS if kind is float])
def test_a_whole_number_will_do_for_a_fraction(file: Path, name: str) -> None:
    section, _, key = name.partition(".")
    value = getattr(getattr(load(file, setting(name, "1")), section), key)
    assert value == 1.0
    assert isinstance(value, float)


@pytest.mark.parametrize("name", [name for name, kind in NUMBERS if kind is int])
def test_a_fraction_will_not_do_for_a_whole_number(file: Path, name: str) -> None:
    assert f"setting {name!r}: Input should be a valid integer" in fault(file, setting(name, "1.0"))


MAY_BE_NEGATIVE = {"notifications.utc_offset_hours", "diversification.similarity_threshold", "naming.keyword_weight"}


@pytest.mark.parametrize("value", ["true", '"1"', "[1]", "nan", "inf", "-inf", "-1", "1e400"])
@pytest.mark.parametrize("name", [name for name, _ in NUMBERS if name not in MAY_BE_NEGATIVE])
def test_a_number_is_a_plain_finite_number_that_is_not_negative(file: Path, name: str, value: str) -> None:
    assert f"setting {name!r}: " in fault(file, setting(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("landing.max_rejected_share", "1.01"),
        ("landing.max_text_length", "0"),
        ("landing.future_tolerance_hours", "1e300"),
        ("landing.days_per_batch", "0"),
        ("keywords.lookback_days", "36_526"),
        ("keywords.search_weight", "0"),
        ("keywords.board_weight", "0.0"),
        ("embedding.batch_size", "0"),
        ("clusters.distance_threshold", "0"),
        ("clusters.distance_threshold", "2.1"),
        ("clusters.max_keywords_per_user", "99_999_999_999_999_999_999"),
        ("output.min_confidence", "1.1"),
        ("diversification.penalty", "0"),
        ("diversification.penalty", "1.1"),
        ("diversification.similarity_threshold", "-1.1"),
        ("diversification.similarity_threshold", "1.1"),
        ("stages.evergreen_min_active_months_share", "1.1"),
        ("stages.ended_max_days", "0"),
        ("naming.keyword_weight", "1.1"),
        ("naming.keyword_weight", "-1.1"),
        ("naming.search_weight", "-0.1"),
        ("output.max_journeys_per_user", "0"),
        ("run.users_per_batch", "0"),
        ("run.lock_timeout_seconds", "0"),
        ("run.warehouse_threads", "1_025"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_bound(file: Path, name: str, value: str) -> None:
    assert re.search(rf"setting '{name}': Input should be (greater|less) than .*\d", fault(file, setting(name, value)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("landing.first_day", '"2025-01-01"'),
        ("landing.first_day", "2025-01-01T00:00:00"),
        ("landing.first_day", "20250101"),
        ("keywords.action_weights", "{}"),
        ("keywords.action_weights", "[1.0]"),
        ("embedding.model", '""'),
        ("embedding.model", "7"),
        ("run.warehouse_memory_limit", '"lots"'),
        ("run.warehouse_memory_limit", '"2GB; drop table searches"'),
        ("run.warehouse_memory_limit", "2"),
    ],
)
def test_a_value_of_another_kind_is_named(file: Path, name: str, value: str) -> None:
    assert f"setting {name!r}: " in fault(file, setting(name, value))


@pytest.mark.parametrize("limit", ["2GB", "512MB", "1.5 GiB", "900KB", "1TiB"])
def test_memory_limits_are_written_as_duckdb_takes_them(file: Path, limit: str) -> None:
    assert load(file, setting("run.warehouse_memory_limit", f'"{limit}"')).run.warehouse_memory_limit == limit


@pytest.mark.parametrize("weight", ["0", "-1", "nan", '"heavy"', "true"])
def test_a_bad_weight_is_named_with_its_action(file: Path, weight: str) -> None:
    text = f"[keywords.action_weights]\nsave = 1.0\nclick = {weight}\n"
    assert "setting 'keywords.action_weights.click': " in fault(file, text)
    assert "save" not in fault(file, text)


@pytest.mark.parametrize("action", ["", " ", "\\t"])
def test_an_action_has_a_name(file: Path, action: str) -> None:
    assert "keywords.action_weights" in fault(file, f'[keywords.action_weights]\n"{action}" = 1.0\n')


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[landing]\nfrist_day = 2025-01-01\n", "landing.frist_day"),
        ("[lading]\nfirst_day = 2025-01-01\n", "lading"),
        ("first_day = 2025-01-01\n", "first_day"),
        ("[Landing]\n", "Landing"),
        ("[landing.more]\nx = 1\n", "landing.more"),
    ],
)
def test_an_unknown_setting_is_named(file: Path, text: str, name: str) -> None:
    assert fault(file, text) == f": unknown setting {name!r}"


@pytest.mark.parametrize("text", ["landing = 3\n", "[[landing]]\nmax_text_length = 1\n"])
def test_a_section_that_is_no_table_is_named(file: Path, text: str) -> None:
    assert "setting 'landing': " in fault(file, text)


def test_every_fault_of_a_file_is_named(file: Path) -> None:
    text = "[landing]\nmax_text_length = 0\nfrist_day = 1\n[diversification]\npenalty = nan\n[extra]\n"
    found = fault(file, text)
    for name in ("landing.max_text_length", "landing.frist_day", "diversification.penalty", "extra"):
        assert f"setting {name!r}" in found
    assert found.count("setting '") == 4


@pytest.mark.parametrize(
    "content",
    [
        b"[landing\n",
        b"[landing]\nmax_text_length = \n",
        b"[landing]\nmax_text_length = 1\nmax_text_length = 2\n",
        b"[landing]\n[landing]\n",
        b"\xff\xfe[\x00",
        b"{}",
    ],
)
def test_a_file_that_is_no_toml_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(f"settings file {file} is not valid TOML")):
        load_settings(file)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"settings file {file} does not exist")):
        load_settings(file)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"settings file {tmp_path} cannot be read")):
        load_settings(tmp_path)


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.landing = settings.landing
    with pytest.raises(ValidationError, match="frozen"):
        settings.landing.max_text_length = 1


def test_weights_of_one_object_are_not_those_of_another() -> None:
    Settings().keywords.action_weights["save"] = 99.0
    assert Settings().keywords.action_weights["save"] == 2.0


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings, and no settings or home in the environment."""
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_other_file_the_shipped_one_is_read(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings() == Settings()
    (elsewhere / "project").mkdir()
    (elsewhere / "project" / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 2\n")
    monkeypatch.setattr("journeys_dagster.environment.DEFAULT_SETTINGS", elsewhere / "project" / "journeys.toml")
    assert load_settings().output.max_journeys_per_user == 2


def test_the_file_in_the_working_folder_comes_before_the_shipped_one(elsewhere: Path) -> None:
    (elsewhere / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 3\n")
    assert load_settings().output.max_journeys_per_user == 3


def test_the_file_in_the_environment_comes_before_the_working_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 3\n")
    (elsewhere / "other.toml").write_text("[output]\nmax_journeys_per_user = 4\n")
    monkeypatch.setenv(SETTINGS_VARIABLE, str(elsewhere / "other.toml"))
    assert load_settings().output.max_journeys_per_user == 4


def test_a_given_file_comes_before_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "given.toml").write_text("[output]\nmax_journeys_per_user = 5\n")
    monkeypatch.setenv(SETTINGS_VARIABLE, str(elsewhere / "nowhere.toml"))
    assert load_settings(elsewhere / "given.toml").output.max_journeys_per_user == 5


def test_a_file_in_the_environment_must_exist(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "journeys.toml").write_text("")
    monkeypatch.setenv(SETTINGS_VARIABLE, "nowhere.toml")
    with pytest.raises(SettingsError, match=r"nowhere\.toml does not exist"):
        load_settings()


def test_an_empty_variable_names_no_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "journeys.toml").write_text("[output]\nmax_journeys_per_user = 3\n")
    monkeypatch.setenv(SETTINGS_VARIABLE, "")
    assert load_settings().output.max_journeys_per_user == 3


@pytest.mark.parametrize(("value", "folder"), [(None, ".journeys"), ("", ".journeys"), ("state/here", "state/here")])
def test_the_home_is_an_absolute_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, folder: str
) -> None:
    if value is not None:
        monkeypatch.setenv(HOME_VARIABLE, value)
    assert home_path() == (elsewhere / folder).resolve()
    assert home_path().is_absolute()
