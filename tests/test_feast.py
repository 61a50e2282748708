"""The example of a feature repository: online it gives what the view says, and as of a past day the list of then."""

import importlib.util
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("feast", reason="feast missing: pip install -r examples/feast/requirements.txt")

import feast  # pyright: ignore[reportMissingImports]
from conftest import WORLD_LAST_DAY, Pipeline

from journeys_dagster.environment import PROJECT_ROOT
from journeys_dagster.resources.export import export_tables
from journeys_dagster.resources.home import Home
from journeys_dagster.sql.models import load_models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning")]  # of Feast and what it brings
LISTS = ("journey_id", "name", "may_notify", "phase", "confidence", "return_probability", "ends_on", "evergreen_until")


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def expected(pipeline: Pipeline, table: str, where: str) -> dict[str, dict[str, list[object]]]:
    """By user, the lists that Feast should give."""
    found: dict[str, dict[str, list[object]]] = {}
    for row in pipeline.table(table, where).sort("user_id", "rank").iter_rows(named=True):
        lists = found.setdefault(row["user_id"], {name: [] for name in LISTS})
        for name in LISTS:
            dated = name in {"ends_on", "evergreen_until"}
            lists[name].append(str(row[name] or "") if dated else row[name])
    return found


def test_lists_come_back_online_and_as_of_a_past_day(finished_home: Path, tmp_path: Path):
    pipeline = Pipeline(Home(finished_home))
    repository = Path(shutil.copytree(PROJECT_ROOT / "examples" / "feast", tmp_path / "feast"))
    marts = [model.table for model in load_models().values() if model.layer == "marts"]
    export_tables(pipeline.warehouse, marts, tmp_path / "exports")
    with pytest.raises(SystemExit, match="no finished export"):
        module(repository / "prepare.py").prepare(tmp_path)
    module(repository / "prepare.py").prepare(tmp_path / "exports")
    features = module(repository / "features.py")
    store = feast.FeatureStore(str(repository))
    store.apply([features.user, features.user_journeys, features.journeys_of_user])
    first = datetime(2020, 1, 1, tzinfo=UTC)
    now = datetime.combine(WORLD_LAST_DAY + timedelta(days=2), datetime.min.time(), UTC)
    store.materialize(first, now)
    service = store.get_feature_service("journeys_of_user")

    users = pipeline.table("user_snapshots")["user_id"].unique().sort().to_list()
    online = store.get_online_features(
        service, entity_rows=[{"user_id": user} for user in [*users, "stranger"]]
    ).to_dict()
    lists = expected(pipeline, "current_user_journeys", "true")
    assert len(lists) > 20
    nothing: dict[str, list[object]] = {name: [] for name in LISTS}
    for place, user in enumerate(users):
        assert {name: online[name][place] for name in LISTS} == lists.get(user, nothing), user
        assert online["journeys"][place] == len(lists.get(user, nothing)["name"])
    assert {online[name][-1] for name in ("journeys", *LISTS)} == {None}

    # A user with two snapshots, at noon of the day after the first one.
    days = pipeline.warehouse.query(
        "select user_id, min(as_of) as day from user_snapshots group by user_id "
        "having count(*) > 1 and min(journeys) > 0 order by user_id limit 5"
    ).to_dicts()
    assert len(days) == 5
    import pandas as pd

    asked = [
        {
            "user_id": row["user_id"],
            "event_timestamp": datetime.combine(row["day"], datetime.min.time(), UTC) + timedelta(days=1, hours=12),
        }
        for row in days
    ]
    history = store.get_historical_features(entity_df=pd.DataFrame(asked), features=service).to_df()
    for row in days:
        then = expected(pipeline, "user_journeys", f"as_of = date '{row['day']}' and user_id = '{row['user_id']}'")
        found = history[history["user_id"] == row["user_id"]].iloc[0]
        assert {name: list(found[name]) for name in LISTS} == then[row["user_id"]]
