"""Models that say they are per user: those that look across users are refused when models are loaded."""

from pathlib import Path

import pytest

from journeys_dagster.sql.models import ModelError, SqlModel, load_models

HEADER = """/*
name: {name}
grain: one row per as_of and user
materialized: {materialized}
per: {per}
partition_column: as_of
description: Rugs of users.
*/
"""
MINE = "cast($as_of as date) as as_of, -- day\ncast(user_id as varchar) as user_id -- the user\n"
OF_RUGS = MINE.replace("(user_id", "(rugs.user_id")
TRENDS = "select cast($as_of as date) as as_of, -- day\ncast(rug as varchar) as rug -- the rug\nfrom rugs group by rug"


def load(root: Path, sql: str, *, per: str = "user") -> SqlModel:
    """Load a model beside one of the population, `trends`."""
    folder = root / "models" / "intermediate"
    folder.mkdir(parents=True)
    for name, text, kind in (("trends", TRENDS, "population"), ("mine", sql, per)):
        header = HEADER.format(name=name, materialized="snapshot", per=kind)
        (folder / f"{name}.sql").write_text(header + text, encoding="utf-8")
    return load_models(root)["mine"]


LOOKS_ACROSS = {
    "a rank among all users": (
        f"select {MINE}, cast(row_number() over (order by user_id) as int) as place -- of all\nfrom rugs",
        "a window is over all users",
    ),
    "a count of all rows": (f"select {MINE} from rugs qualify count(*) over () > 3", "a window is over all users"),
    "a named window over all": (f"select {MINE} from rugs qualify sum(n) over w > 1 window w as ()", "a window"),
    "a window by keyword": (f"select {MINE} from rugs qualify sum(n) over (partition by rug) > 1", "a window"),
    "a window by a hash of the user": (
        f"select {MINE} from rugs qualify sum(n) over (partition by hash(user_id) % 8) > 1",
        "a window",
    ),
    "rows grouped by keyword": (
        f"with s as (select rug, count(*) as n from rugs group by rug) select {MINE} from rugs join s using (rug)",
        "rows are grouped across users",
    ),
    "grouped by all but the user": (
        f"with s as (select rug, count(*) as n from rugs group by all) select {MINE} from rugs join s using (rug)",
        "user_id is not selected",
    ),
    "an aggregate of all": (
        f"with total as (select count(*) as n from rugs) select {MINE} from rugs, total",
        "an aggregate is over all users",
    ),
    "any user for all": (f"select {MINE.replace('user_id as v', 'max(user_id) as v')} from rugs", "an aggregate"),
    "a newest day of all": (
        f"select {MINE} from rugs where seen_on = (select max(seen_on) from rugs)",
        "an aggregate is over all users",
    ),
    "one row of all": (f"select {MINE} from rugs where n > (select n from rugs where n > 1)", "user_id is not sel"),
    "the first users": (f"select {MINE} from rugs order by user_id limit 10", "limit chooses"),
    "the first users of a union": (
        f"with both as (select user_id from rugs union all select user_id from mats limit 5) select {MINE} from both",
        "limit chooses",
    ),
    "the first users in a subquery": (
        f"select {MINE} from rugs where user_id in (select user_id from mats order by n limit 5)",
        "limit chooses",
    ),
    "a sample of users": (f"select {MINE} from rugs using sample 10", "sample chooses"),
    "one row for each keyword": (
        f"with one as (select distinct on (rug) user_id, rug from rugs) select {MINE} from one",
        "distinct on chooses",
    ),
    "distinct keywords": (
        f"with all_rugs as (select distinct rug from rugs) select {MINE} from rugs join all_rugs using (rug)",
        "user_id is not selected",
    ),
    "users joined by keyword": (f"select {MINE} from rugs join mats using (rug)", "are joined to those of others"),
    "users joined by an unequal user": (
        f"select {OF_RUGS} from rugs join mats on rugs.user_id <> mats.user_id",
        "are joined to those of others",
    ),
    "users joined by user or keyword": (
        f"select {OF_RUGS} from rugs join mats on rugs.user_id = mats.user_id or rugs.rug = mats.rug",
        "are joined to those of others",
    ),
    "all with all": (
        f"select {MINE.replace('user_id as v', 'a.user_id as v')} from rugs as a, rugs as b",
        "joined",
    ),
    "a keyword that anyone has": (
        f"select {MINE} from rugs where rug in (select rug from mats)",
        "user_id is not selected",
    ),
    "a keyword that someone else has": (
        f"select {MINE} from rugs where exists (select user_id from mats where mats.rug = rugs.rug)",
        "reads rows of all users",
    ),
    "another column under the name of the user": (
        f"with named as (select rug as user_id from rugs) select {MINE} from named",
        "user_id is not selected",
    ),
    "totals beside groups": (
        f"with sums as (select user_id, sum(n) as n from rugs group by rollup (user_id)) select {MINE} from sums",
        "rows are grouped across users",
    ),
    "users mixed with keywords": (
        f"with mixed as (select user_id from rugs union all select rug from trends) select {MINE} from mixed",
        "a union mixes",
    ),
    "a query that follows itself": (
        "with recursive chain as (select user_id from rugs union all select user_id from chain) "
        f"select {MINE} from chain",
        "recursive",
    ),
    "a lateral query": (
        f"select {OF_RUGS} from rugs, lateral (select count(*) as n from mats where mats.rug = rugs.rug) as counted",
        "lateral",
    ),
    "no users at all": (f"select {MINE} from trends", "it reads no rows of users"),
}
IS_PER_USER = {
    "a user's own rows": f"select {MINE} from rugs where user_id in (select user_id from mats where n > 1)",
    "windows and groups by user": (
        "with sums as (select user_id, rug, sum(n) as n, max(seen_on) as seen_on from rugs group by user_id, rug)\n"
        f"select {MINE} from sums qualify row_number() over (partition by user_id, rug order by n) <= 3"
    ),
    "grouped by all, the user too": f"with s as (select user_id, sum(n) from rugs group by all) select {MINE} from s",
    "joined by the user and the population": (
        f"select {OF_RUGS} from rugs join trends using (rug) "
        "left join mats on mats.user_id = rugs.user_id and mats.rug = rugs.rug anti join sold using (user_id, rug)"
    ),
    "what a user's other rows say": (
        f"select {MINE} from rugs where n = (select max(n) from mats where mats.user_id = rugs.user_id) "
        "and exists (select 1 from sold where sold.rug = rugs.rug and sold.user_id = rugs.user_id limit 1)"
    ),
    "of the population, all": (
        f"select {MINE} from rugs where n > (select count(*) from trends) and rug in (select rug from trends limit 9)"
    ),
    "all columns, by a star": (
        f"with kept as (select * exclude (n) from rugs), lists as (from kept) select {MINE} from lists, unnest([1, 2])"
    ),
    "a union by place": (
        f"with both as (select user_id, rug from rugs union all select user_id, mat from mats) select {MINE} from both"
    ),
}


@pytest.mark.parametrize(("sql", "reason"), LOOKS_ACROSS.values(), ids=LOOKS_ACROSS.keys())
def test_a_model_that_looks_across_users_is_refused(tmp_path: Path, sql: str, reason: str):
    with pytest.raises(ModelError, match=rf"mine\.sql: the header says `per: user`, but .*{reason}"):
        load(tmp_path, sql)


@pytest.mark.parametrize("sql", IS_PER_USER.values(), ids=IS_PER_USER.keys())
def test_a_model_that_computes_each_user_by_themselves_is_not(tmp_path: Path, sql: str):
    assert load(tmp_path, sql).per == "user"


@pytest.mark.parametrize("sql", [sql for sql, _ in LOOKS_ACROSS.values()], ids=LOOKS_ACROSS.keys())
def test_a_model_of_the_population_may_look_at_everyone(tmp_path: Path, sql: str):
    assert load(tmp_path, sql, per="population").per == "population"
