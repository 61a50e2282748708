"""The simulated platform: reproducible, true to the contract, and like people."""

import hashlib
import json
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import lab.simulation.world as world_module
from journeys_dagster.settings import Settings
from journeys_dagster.sources.contracts import declared_sources
from lab.simulation import SimulationError, World, build_world, simulate
from lab.simulation.catalogue import load_catalogue
from lab.simulation.journey_types import CatalogueError, read_catalogue
from lab.simulation.people import BLOCK
from lab.simulation.seasons import seasons_of
from lab.simulation.truth import scan_truth, states_on

SCHEMAS = {
    "searches": {"user_id": pl.String, "query": pl.String, "occurred_at": pl.Datetime("us", "UTC")},
    "engagements": {
        "user_id": pl.String,
        "item_id": pl.String,
        "action": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    },
    "items": {
        "item_id": pl.String,
        "title": pl.String,
        "annotations": pl.List(pl.String),
        "interests": pl.List(pl.String),
    },
    "board_items": {
        "user_id": pl.String,
        "board_id": pl.String,
        "board_name": pl.String,
        "item_id": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    },
}
LAST_DAY = date(2025, 6, 30)
PRODUCTION = ("automation", "resources", "training", "inference", "sources")
ENTRY = """
[[journey]]
name = "Porch"
half = "tune"
lifecycle = "situational"
days = 20
interests = ["porches"]
boards = ["porch"]
variants = ["small", "brick", "wood"]
related = ["Porch"]
[journey.topics.looks]
queries = ["porch ideas", "porch lamp"]
items = [["Painted porch", "porch"]]
[journey.topics.floor]
queries = ["porch tiles", "porch floor"]
items = [["Tiled porch", "porch tiles"]]
[journey.topics.door]
queries = ["front door", "door colour"]
items = [["Blue door", "front door"]]
"""
NOISE_FILE = """
navigational = ["mail"]
curiosity = ["weather"]
gifts = ["gift for dad"]
mixed_boards = ["ideas"]
"""


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(users=500, days=60, seed=7)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "landing"
    simulate(path, users=60, days=21, seed=3)
    return path


def read(landing: Path, source: str) -> pl.DataFrame:
    """All rows of a source with their arrival day."""
    files = sorted((landing / source).glob("date=*/part-0.parquet"))
    days = [date.fromisoformat(file.parent.name.removeprefix("date=")) for file in files]
    return pl.concat(
        pl.read_parquet(file, hive_partitioning=False).with_columns(arrival_day=pl.lit(day))
        for file, day in zip(files, days, strict=True)
    )


def digest(landing: Path) -> str:
    """Hash of every file's name and bytes."""
    content = hashlib.sha256()
    for path in sorted(landing.rglob("*")):
        if path.is_file():
            content.update(str(path.relative_to(landing)).encode() + path.read_bytes())
    return content.hexdigest()


def share(flags: pl.Series) -> float:
    """Share of the true values."""
    return float(np.mean(flags.to_numpy()))


def events(world: World) -> pl.DataFrame:
    columns = ["user_id", "occurred_at", "arrival_day", "journey"]
    return pl.concat([world.searches.select(columns), world.engagements.select(columns)])


# ------------------------------------------------------------- the catalogue


def test_the_catalogue_is_rich_enough() -> None:
    catalogue, found = load_catalogue(), read_catalogue()
    assert len(catalogue.journeys) >= 200
    assert len({journey.domain for journey in catalogue.journeys}) >= 20
    assert len(catalogue.queries) - catalogue.query_start[-1] >= 150
    for journey in catalogue.journeys:
        assert len(journey.queries) >= 12, journey.name
        assert len(journey.titles) >= 9, journey.name
        assert all(1 <= len(annotations) <= 4 for _, *annotations in journey.titles), journey.name
    assert Counter(journey.lifecycle for journey in catalogue.journeys)["seasonal"] >= 20
    per_journey = Counter(item.journey for item in catalogue.items)
    assert all(25 <= per_journey[number] <= 40 for number in range(len(catalogue.journeys)))
    assert len(found.confusable) >= 30
    assert len(found.ambiguous) >= 25


def test_no_two_types_are_alike() -> None:
    journeys = load_catalogue().journeys
    for many in (
        [query for journey in journeys for query in journey.queries],
        [" ".join(item) for journey in journeys for item in journey.titles],
    ):
        shared = sum(count - 1 for count in Counter(many).values())
        assert shared <= 0.002 * len(many)


def test_the_halves_are_balanced_and_keep_neighbours_together() -> None:
    found = read_catalogue()
    half = {journey.name: journey.half for journey in found.journeys}
    by_domain: dict[str, Counter[str]] = {}
    for journey in found.journeys:
        by_domain.setdefault(journey.domain, Counter())[journey.half] += 1
    assert all(abs(count["tune"] - count["report"]) <= 2 for count in by_domain.values()), by_domain
    assert abs(Counter(half.values())["tune"] - len(half) / 2) < 0.05 * len(half)
    assert sum(half[first] == half[second] for first, second in found.confusable) >= 0.9 * len(found.confusable)
    tune, report = load_catalogue("tune"), load_catalogue("report")
    assert {journey.name for journey in tune.journeys}.isdisjoint(journey.name for journey in report.journeys)
    assert len(tune.journeys) + len(report.journeys) == len(half)


def test_ambiguous_words_mean_different_journeys() -> None:
    found = read_catalogue()
    queries = {journey.name: journey.queries for journey in found.journeys}
    for word, names in found.ambiguous.items():
        using = [name for name in names if any(word in query.split() for query in queries[name])]
        assert len(using) >= 2, word


def _written(folder: Path, entry: str, *, noise: str = NOISE_FILE) -> Path:
    (folder / "home.toml").write_text(entry)
    (folder / "noise.toml").write_text(noise)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            'half = "tune"',
            'half = "both"',
            r"home\.toml: journey 1 \(Porch\): half: Input should be 'tune' or 'report'",
        ),
        ("days = 20", "", r"home\.toml: journey 1 \(Porch\): .*days is the length"),
        ("days = 20", "days = 20\nmonths = [3]", r"journey 1 \(Porch\): .*months are those of a seasonal journey"),
        ("days = 20", "days = 20\ncolour = 1", r"journey 1 \(Porch\): colour: Extra inputs"),
        ('"porch ideas"', '"porch lamp"', r"journey 1 \(Porch\): .*the query 'porch lamp' is there twice"),
        (
            'related = ["Porch"]',
            'related = ["Pourch"]',
            r"home\.toml: related of 'Porch': there is no journey 'Pourch'",
        ),
        ("[[journey]]", "[[journey]", r"home\.toml is not TOML"),
    ],
)
def test_faults_of_the_catalogue_are_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert read_catalogue(_written(tmp_path, ENTRY)).journeys[0].name == "Porch"
    with pytest.raises(CatalogueError, match=fault):
        read_catalogue(_written(tmp_path, ENTRY.replace(old, new)))


def test_faults_beside_the_domains_are_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"noise\.toml: gifts is missing"):
        read_catalogue(_written(tmp_path, ENTRY, noise=NOISE_FILE.replace("gifts", "presents")))
    (tmp_path / "neighbours.toml").write_text('[ambiguous]\nlamp = ["Porch"]\nmouse = ["Porch"]\n')
    with pytest.raises(CatalogueError, match=r"neighbours\.toml: ambiguous 'mouse': no query of 'Porch' has the word"):
        read_catalogue(_written(tmp_path, ENTRY))
    (tmp_path / "neighbours.toml").write_text('confusable = [["Porch", "Hall"]]\n')
    with pytest.raises(CatalogueError, match=r"neighbours\.toml: confusable: there is no journey 'Hall'"):
        read_catalogue(_written(tmp_path, ENTRY))


def test_the_same_journey_in_two_domains_is_named(tmp_path: Path) -> None:
    (tmp_path / "diy.toml").write_text(ENTRY)
    with pytest.raises(CatalogueError, match=r"home\.toml: journey 'Porch' is in diy\.toml too"):
        read_catalogue(_written(tmp_path, ENTRY))


def test_variants_share_annotations_and_titles_are_distinct_within_a_journey() -> None:
    items = load_catalogue().items
    assert len({(item.journey, item.title) for item in items}) == len(items)
    assert all(items[item.plain].annotations == item.annotations for item in items)


def test_items_answer_the_query() -> None:
    catalogue = load_catalogue()
    query = catalogue.queries.index("quartz countertop")
    chances = (np.arange(1000) + 0.5) / 1000
    met = catalogue.items_for(np.full(1000, query), chances)
    kitchen = catalogue.items[met[0]].journey
    assert catalogue.journeys[kitchen].name == "Kitchen renovation"
    assert {catalogue.items[item].journey for item in met} == {kitchen}
    on_topic = np.mean(["quartz countertop" in catalogue.items[item].annotations for item in met])
    assert on_topic > 0.4
    assert len(set(met)) > 20


def test_items_for_stays_within_the_type_at_the_ends_of_the_draw() -> None:
    catalogue = load_catalogue()
    queries = np.arange(catalogue.query_start[-1])
    owner = np.searchsorted(catalogue.query_start, queries, side="right") - 1
    for chance in (0.0, np.nextafter(1.0, 0.0)):
        met = catalogue.items_for(queries, np.full(len(queries), chance))
        assert [catalogue.items[item].journey for item in met] == owner.tolist()


# ------------------------------------------------------------- reproducible


def test_same_arguments_same_bytes(tmp_path: Path, landing: Path) -> None:
    simulate(tmp_path / "again", users=60, days=21, seed=3)
    assert digest(tmp_path / "again") == digest(landing)


def test_parts_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_world(users=600, days=6, seed=5)
    monkeypatch.setattr(world_module, "PART", BLOCK)
    parted = build_world(users=600, days=6, seed=5)
    for name in ("searches", "engagements", "board_items"):
        order = getattr(whole, name).columns
        assert getattr(parted, name).sort(order).equals(getattr(whole, name).sort(order)), name
    assert parted.journeys.equals(whole.journeys)
    simulate(tmp_path / "landing", users=600, days=6, seed=5, truth=tmp_path / "truth")
    day = tmp_path / "landing" / "searches" / f"date={LAST_DAY}"
    assert {path.name for path in day.iterdir()} == {"_SUCCESS", *(f"part-{number}.parquet" for number in range(3))}
    rows = pl.read_parquet(day / "*.parquet", hive_partitioning=False)
    expected = whole.searches.filter(pl.col("arrival_day") == LAST_DAY).drop("arrival_day", "journey")
    assert rows.sort(rows.columns).equals(expected.sort(rows.columns))
    assert scan_truth(tmp_path / "truth", "people").collect().height == 600


def test_writing_the_same_world_again_changes_nothing(tmp_path: Path) -> None:
    summary = simulate(tmp_path, users=5, days=3, seed=1)
    before = digest(tmp_path)
    assert simulate(tmp_path, users=5, days=3, seed=1) == summary
    assert digest(tmp_path) == before


def test_another_seed_is_another_world(tmp_path: Path, landing: Path) -> None:
    simulate(tmp_path / "other", users=60, days=21, seed=4)
    assert digest(tmp_path / "other") != digest(landing)
    assert not read(tmp_path / "other", "searches").equals(read(landing, "searches"))


def test_a_history_does_not_depend_on_the_number_of_users(world: World) -> None:
    few = build_world(users=7, days=60, seed=7)
    known = few.journeys["user_id"].unique()
    assert known.len() == 7
    assert few.items.equals(world.items)
    for name in ("searches", "engagements", "board_items", "journeys", "people"):
        many = getattr(world, name)
        assert getattr(few, name).equals(many.filter(pl.col("user_id").is_in(known.implode()))), name


# ------------------------------------------------------------- the landing zone


def test_the_contract_holds(landing: Path) -> None:
    sources = declared_sources(Settings())
    for source, schema in SCHEMAS.items():
        assert list(schema) == list(sources[source].fields)
        for file in (landing / source).glob("date=*/part-0.parquet"):
            assert pl.read_parquet_schema(file) == schema, file
        rows = read(landing, source)
        assert rows.null_count().sum_horizontal().item() == 0
    assert set(read(landing, "engagements")["action"]) == {"closeup", "save", "clickthrough", "purchase"}


def test_every_day_is_complete(landing: Path) -> None:
    days = {f"date={LAST_DAY - timedelta(days=step)}" for step in range(21)}
    for source in ("searches", "engagements", "board_items"):
        assert {folder.name for folder in (landing / source).iterdir()} == days
    item_days = {folder.name for folder in (landing / "items").iterdir()}
    assert f"date={LAST_DAY - timedelta(days=20)}" in item_days
    assert item_days <= days
    for folder in landing.glob("*/date=*"):
        assert sorted(path.name for path in folder.iterdir()) == ["_SUCCESS", "part-0.parquet"]
    assert all(pl.read_parquet(file).height for file in (landing / "items").glob("date=*/*.parquet"))


def test_the_summary_counts_what_was_written(landing: Path) -> None:
    told: list[tuple[str, float]] = []
    summary = simulate(landing, users=60, days=21, seed=3, progress=lambda text, share: told.append((text, share)))
    assert summary.rows == {source: read(landing, source).height for source in summary.rows}
    assert set(summary.rows) == set(SCHEMAS)
    assert summary.n_items == read(landing, "items")["item_id"].n_unique()
    assert (summary.first_day, summary.last_day) == (date(2025, 6, 10), LAST_DAY)
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_data_itself_says_that_it_is_simulated(landing: Path) -> None:
    marker = json.loads((landing / "SIMULATED.json").read_text())
    assert marker["simulated"] is True
    assert (marker["users"], marker["days"], marker["seed"]) == (60, 21, 3)
    assert marker["generator_version"] >= 1
    for source in SCHEMAS:
        rows = read(landing, source)
        for column in ("user_id", "item_id", "board_id"):
            if column in rows.columns:
                prefix = f"sim-{column.removesuffix('_id')}-"
                assert rows[column].str.starts_with(prefix).all(), (source, column)


def test_real_data_is_not_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "searches" / "date=2025-06-01"
    folder.mkdir(parents=True)
    (folder / "real.csv").write_text("user_id,query,occurred_at\n")
    with pytest.raises(SimulationError, match=r"landing/searches holds data that is not simulated"):
        simulate(tmp_path / "landing", users=5, days=3, seed=1)
    assert [path.name for path in (tmp_path / "landing").iterdir()] == ["searches"]


def test_another_simulated_world_is_not_written_over(tmp_path: Path) -> None:
    simulate(tmp_path, users=5, days=3, seed=1)
    before = digest(tmp_path)
    with pytest.raises(SimulationError, match=r"another simulated world \(seed 1 there, 2 asked for\); remove it"):
        simulate(tmp_path, users=5, days=3, seed=2)
    assert digest(tmp_path) == before


def test_an_unreadable_marker_is_named(tmp_path: Path) -> None:
    (tmp_path / "SIMULATED.json").write_text("{")
    with pytest.raises(SimulationError, match=r"SIMULATED\.json is not readable"):
        simulate(tmp_path, users=5, days=3, seed=1)


@pytest.mark.parametrize(
    ("users", "days", "seed", "fault"),
    [(0, 3, 1, "users is 0"), (5, 0, 1, "days is 0"), (5, 3, -1, "seed is -1")],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, users: int, days: int, seed: int, fault: str) -> None:
    with pytest.raises(SimulationError, match=fault):
        simulate(tmp_path / "landing", users=users, days=days, seed=seed)
    assert not (tmp_path / "landing").exists()


def test_hardly_anybody_is_without_a_history() -> None:
    world = build_world(users=2000, days=14, seed=23)
    assert events(world)["user_id"].n_unique() >= 0.999 * 2000


@pytest.mark.parametrize(("users", "days"), [(1, 1), (3, 2), (251, 5)])
def test_small_worlds_work(tmp_path: Path, users: int, days: int) -> None:
    summary = simulate(tmp_path, users=users, days=days, seed=11)
    seen = pl.concat(read(tmp_path, source).select("user_id") for source in ("searches", "engagements"))
    assert seen["user_id"].n_unique() == users
    assert summary.rows["items"] >= 200 * 25


# ------------------------------------------------------------- the truth


def test_the_truth_explains_every_event(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    simulate(tmp_path / "landing", users=40, days=14, seed=3, truth=truth)
    known = scan_truth(truth, "events").collect()
    for source in ("searches", "engagements", "board_items"):
        rows = read(tmp_path / "landing", source)
        what = "query" if source == "searches" else "item_id"
        key = ["user_id", "occurred_at", "arrival_day", "what"]
        explained = rows.rename({what: "what"}).join(known.filter(source=source), on=key, how="anti")
        assert explained.is_empty(), source
        assert known.filter(source=source).height == rows.height
    journeys, types = scan_truth(truth, "journeys").collect(), scan_truth(truth, "types").collect()
    assert set(known["journey"].drop_nulls()) == set(journeys["journey"])
    assert set(journeys["journey"]) <= set(types["journey"])
    assert types.filter(journey="Kitchen tiles")["confusable"].to_list() == [["Bathroom tiles", "Kitchen renovation"]]
    assert scan_truth(truth, "people").collect().height == 40


def test_states_of_a_day_are_ordered_by_intent(world: World) -> None:
    states = states_on(world.journeys, world.last_day)
    assert states.height == world.journeys.height
    assert set(states["state"]) == {"ongoing", "ended", "evergreen"}
    assert states.filter(pl.col("state") == "ended", pl.col("intent") > 0).is_empty()
    first = states.filter(pl.col("intent_rank") == 1).join(states, on="user_id")
    assert (first["intent"] >= first["intent_right"]).all()
    assert "ahead" in set(states_on(world.journeys, world.first_day)["state"])


def test_production_does_not_name_the_truth() -> None:
    """Beside the import contract: no production module reads the folder by its path."""
    root = Path(__file__).parents[1]
    rooms = ("assets", "dbt_like_sql", *(f"journeys_dagster/{name}" for name in PRODUCTION))
    named = [
        path.relative_to(root)
        for room in rooms
        for path in (root / room).rglob("*")
        if path.suffix in {".py", ".sql"} and re.search(r"""["'/]truth["'/]""", path.read_text())
    ]
    assert named == []


# ------------------------------------------------------------- like people


def test_seasonal_journeys_begin_in_and_around_their_months() -> None:
    journeys = {journey.name: journey for journey in load_catalogue().journeys}
    winter = build_world(users=600, days=60, seed=2, last_day=date(2025, 1, 15))
    begun = winter.journeys.filter(pl.col("journey").is_in([name for name, known in journeys.items() if known.months]))
    assert {"Christmas decorations", "Christmas dinner"} <= set(begun["journey"])
    assert not {"Summer barbecue", "Prom dress", "Easter"} & set(winter.journeys["journey"])
    for name, starts in begun.select("journey", "starts").iter_rows():
        around = {(starts + timedelta(days=step)).month for step in (0, int(0.5 * journeys[name].days) + 1)}
        assert around & set(journeys[name].months), (name, starts)


def test_a_season_over_the_turn_of_the_year_is_one() -> None:
    ski = next(journey for journey in load_catalogue().journeys if journey.name == "Ski trip")
    seasons = seasons_of((ski,), first_day=date(2024, 8, 1), days=365)
    assert seasons.count.tolist() == [1]
    lengths = (seasons.last - seasons.first)[0]
    assert lengths[0] == (date(2025, 4, 1) - date(2024, 11, 1)).days
    assert seasons.weight.tolist() == [0.0]
    assert seasons_of((ski,), first_day=date(2025, 6, 1), days=60).weight.tolist() == [-np.inf]


def test_half_a_catalogue_is_another_world() -> None:
    names = {journey.name for journey in load_catalogue("report").journeys}
    world = build_world(users=100, days=30, seed=4, half="report")
    assert set(world.journeys["journey"]) <= names
    titles = {item.title for item in load_catalogue("report").items}
    assert set(world.items["title"]) == titles


def test_people_come_from_many_places_and_some_are_new(world: World) -> None:
    people = world.people
    assert people.height == 500
    assert people["minutes_ahead"].n_unique() >= 5
    new = people.filter(pl.col("joined") >= world.first_day)
    assert 0.1 < new.height / 500 < 0.3
    seen = events(world).group_by("user_id").agg(pl.col("occurred_at").dt.date().min().alias("first"))
    early = new.join(seen, on="user_id").filter(pl.col("first") < pl.col("joined") - timedelta(days=1))
    assert early.height < 0.1 * new.height


def test_a_few_programs_search_by_day_and_by_night() -> None:
    world = build_world(users=12_000, days=10, seed=1)
    bots = world.people.filter("bot")
    assert 0 < bots.height < 15
    rows = events(world).join(bots, on="user_id", how="semi")
    per_bot = rows.group_by("user_id").agg(pl.len(), pl.col("occurred_at").dt.hour().n_unique().alias("hours"))
    assert per_bot["len"].to_numpy().min() > 250
    assert per_bot["len"].to_numpy().max() > 600
    assert per_bot["hours"].to_numpy().min() >= 20


def test_journeys_pause_and_gather() -> None:
    """Gaps between the days on which people are at a journey vary more than those of a steady rhythm."""
    world = build_world(users=600, days=120, seed=4)
    lived = events(world).filter(pl.col("journey").is_not_null()).join(world.journeys, on=["user_id", "journey"])
    gaps = (
        lived.filter(pl.col("lifecycle") == "situational")
        .select("user_id", "journey", day=pl.col("occurred_at").dt.date())
        .unique()
        .sort("user_id", "journey", "day")
        .select(gap=pl.col("day").diff().dt.total_days().over("user_id", "journey"))
        .drop_nulls()["gap"]
    )
    assert share(gaps == 1) > 0.2
    assert share(gaps > 14) > 0.05


def test_late_and_duplicate_rows_exist_in_small_shares(world: World) -> None:
    rows = events(world)
    lag = (rows["arrival_day"] - rows["occurred_at"].dt.date()).dt.total_days()
    assert set(lag.unique()) >= {0, 1, 2, 3}
    assert lag.min() == 0
    assert 0.004 < share(lag > 0) < 0.02
    assert rows["arrival_day"].max() == world.last_day
    assert rows["occurred_at"].dt.date().min() == world.first_day
    for frame in (world.searches, world.engagements):
        same_day = frame.is_duplicated().sum() / 2
        any_day = frame.drop("arrival_day").is_duplicated().sum() / 2
        assert 0 < same_day < any_day
        assert 0.002 < any_day / frame.height < 0.01


def test_items_arrive_before_they_are_used(world: World) -> None:
    arrived = world.items.group_by("item_id").agg(pl.col("arrival_day").min().alias("known_from"))
    used = pl.concat(
        [
            world.engagements.select("item_id", "arrival_day"),
            world.board_items.select("item_id", "arrival_day"),
        ]
    )
    joined = used.join(arrived, on="item_id", how="left")
    assert joined["known_from"].null_count() == 0
    assert (joined["arrival_day"] >= joined["known_from"]).all()
    assert 0.15 < share(arrived["known_from"] > world.first_day) < 0.25


def test_some_items_change(world: World) -> None:
    versions = world.items.group_by("item_id", maintain_order=True).agg("arrival_day", "annotations")
    changed = versions.filter(pl.col("arrival_day").list.len() > 1)
    assert changed.height > 5
    assert all(days == sorted(set(days)) for days in changed["arrival_day"].to_list())
    assert all(first != second for first, second in changed["annotations"].to_list())


def test_activity_is_heavy_tailed_and_mostly_of_journeys(world: World) -> None:
    rows = events(world)
    per_user = rows.group_by("user_id").len()["len"]
    assert per_user.len() == 500
    median, top = np.quantile(per_user.to_numpy(), [0.5, 0.99])
    mean = np.mean(per_user.to_numpy())
    assert 55 < mean < 80
    assert median < 0.9 * mean
    assert top > 3 * mean
    assert 0.06 < share(rows["journey"].is_null()) < 0.1


def test_people_have_one_to_twelve_journeys_and_half_of_them_boards(world: World) -> None:
    per_user = world.journeys.group_by("user_id").len()["len"]
    assert per_user.min() == 1
    assert set(per_user.unique()) <= set(range(1, 13))
    assert per_user.to_numpy().max() > 6
    assert np.median(per_user.to_numpy()) <= 3
    assert 0.35 < world.board_items["user_id"].n_unique() / 500 < 0.6
    saves = world.engagements.filter(pl.col("action") == "save")
    keys = ["user_id", "item_id", "occurred_at"]
    assert world.board_items.join(saves, on=keys, how="anti").height == 0
    names = world.board_items.group_by("board_id").agg(pl.col("board_name").n_unique(), pl.col("user_id").n_unique())
    assert (names["board_name"] == 1).all()
    assert (names["user_id"] == 1).all()


def test_journeys_live_as_their_lifecycle_says(world: World) -> None:
    rows = events(world).filter(pl.col("journey").is_not_null())
    lived = (
        rows.with_columns(day=pl.col("occurred_at").dt.date())
        .group_by("user_id", "journey")
        .agg(
            pl.col("day").min().alias("first"),
            pl.col("day").max().alias("last"),
            pl.col("day").dt.truncate("1w").n_unique().alias("weeks"),
        )
        .join(world.journeys, on=["user_id", "journey"], how="full", coalesce=True)
    )
    assert lived.null_count().select("first", "lifecycle").sum_horizontal().item() == 0
    situational = lived.filter(pl.col("lifecycle") == "situational")
    # A session that starts before midnight may end after it, and days begin earlier in the east.
    assert (situational["first"] >= situational["starts"] - timedelta(days=1)).all()
    assert (situational["last"] <= situational["ends"] + timedelta(days=1)).all()
    idle = (pl.lit(world.last_day) - pl.col("last")).dt.total_days()
    assert situational.filter(idle > 30).height > 50
    assert situational.filter((idle < 14) & (pl.col("ends") >= world.last_day)).height > 50
    here_before = world.people.filter(pl.col("joined") < world.first_day)
    evergreen = lived.filter(pl.col("lifecycle") == "evergreen").join(here_before, on="user_id", how="semi")
    assert evergreen["ends"].null_count() == evergreen.height
    steady = ((evergreen["last"] - evergreen["first"]).dt.total_days() >= 42) & (evergreen["weeks"] >= 5)
    assert share(steady) > 0.85


def test_days_have_hours_and_weeks_have_weekends(world: World) -> None:
    ahead = pl.duration(minutes="minutes_ahead")
    when = events(world).join(world.people, on="user_id").select(pl.col("occurred_at") + ahead)["occurred_at"]
    by_hour = when.dt.hour().value_counts().sort("occurred_at")
    hours = dict(zip(by_hour["occurred_at"], by_hour["count"], strict=True))
    assert hours[20] > 5 * hours.get(3, 0)
    assert share(when.dt.weekday() >= 6) > 2 / 7 + 0.03


def test_searches_look_typed_by_people(world: World) -> None:
    typed = world.searches["query"]
    assert 0.05 < share(typed.str.contains(r"^[A-Z]")) < 0.3
    assert typed.str.to_lowercase().n_unique() > 600
    words = set(typed.str.split(" ").list.len())
    assert {1, 2, 3, 4, 5, 6} <= words
