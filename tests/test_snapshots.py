"""What a step sees of the warehouse: its users batch by batch, in the table's order."""

from datetime import date

import pytest

from assets.users_in_scope import SCOPES, TABLE
from journeys_dagster.orchestration.snapshot_asset import open_snapshot
from journeys_dagster.resources.home import Home
from journeys_dagster.settings import Settings

DAY = date(2025, 6, 3)
BATCHES = {"ann": 0, "bob": 1, "cyd": 0, "eve": 1}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_batch_is_of_its_users_alone_whoever_lies_between_them(home: Home, scope: str):
    warehouse = home.warehouse(Settings())
    with warehouse.write() as connection:
        connection.execute(TABLE.create_sql())
        for user, batch in BATCHES.items():
            connection.execute(
                "insert into users_in_scope by name select $day as as_of, $user as user_id, $batch as batch, "
                "'f' as landing_fingerprint, $scope as scope, 'v' as algorithm_version",
                {"day": DAY, "user": user, "batch": batch, "scope": scope},
            )
        # A row of someone who is in scope no more lies among them.
        connection.execute(
            "create table things as select $day as as_of, user_id, thing "
            "from (select unnest(['ann', 'bob', 'cyd', 'dan', 'eve']) as user_id), (select unnest([1, 2]) as thing) "
            "order by user_id, thing",
            {"day": DAY},
        )
    snapshot = open_snapshot(warehouse, Settings(), DAY)
    assert snapshot.batches == [("ann", "cyd"), ("bob", "eve")]
    things = "select user_id, thing from things where as_of = $as_of and {of_batch}"
    for batch in (0, 1):
        expected = [(user, thing) for user, of_batch in BATCHES.items() if of_batch == batch for thing in (1, 2)]
        assert sorted(snapshot.read(things, batch=batch).rows()) == expected
    assert (
        snapshot.read("select count(*) as things from things where as_of = $as_of and {of_batch}", batch=0).height == 1
    )
