"""Which events belong to which journeys: by example, and against plain Python."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.journey_events import events_of_journeys
from journeys_dagster.inference.members import number_journeys

DAY = datetime(2025, 6, 3)
Event = tuple[str, str | None, str | None, datetime]


def attributed(
    events: Sequence[Event], about: Mapping[str, Sequence[str]], members: Mapping[tuple[str, str], str]
) -> Counter[tuple[str, str, str, datetime]]:
    frame = pl.DataFrame(
        [(user, "search" if query else "engagement", "any", query, item, when) for user, query, item, when in events],
        schema={
            "user_id": pl.String,
            "source": pl.String,
            "action": pl.String,
            "query": pl.String,
            "item_id": pl.String,
            "occurred_at": pl.Datetime("us"),
        },
        orient="row",
    ).sort("user_id", "occurred_at")
    item_keywords = pl.DataFrame(
        [(item, keyword) for item, keywords in about.items() for keyword in keywords],
        schema={"item_id": pl.String, "keyword": pl.String},
        orient="row",
    )
    of_journeys = pl.DataFrame(
        [(user, keyword, journey) for (user, keyword), journey in members.items()],
        schema={"user_id": pl.String, "keyword": pl.String, "journey_id": pl.String},
        orient="row",
    )
    found = events_of_journeys(frame, item_keywords, *number_journeys(of_journeys))
    return Counter(found.select("user_id", "journey_id", "source", "occurred_at").iter_rows())


def test_an_event_with_two_keywords_of_a_journey_counts_once_and_with_keywords_of_two_journeys_in_both() -> None:
    events = [("ann", None, "i1", DAY)]
    about = {"i1": ["sofa", "couch", "rug"]}
    together = {("ann", "sofa"): "j", ("ann", "couch"): "j", ("ann", "rug"): "j"}
    apart = together | {("ann", "rug"): "k"}
    assert attributed(events, about, together) == Counter([("ann", "j", "engagement", DAY)])
    assert attributed(events, about, apart) == Counter(
        [("ann", "j", "engagement", DAY), ("ann", "k", "engagement", DAY)]
    )


def test_searches_of_one_moment_count_each_and_keywords_of_no_journey_or_another_user_do_not() -> None:
    events = [("ann", query, None, DAY) for query in ("sofa", "couch", "lamp")] + [("bob", "sofa", None, DAY)]
    members = {("ann", "sofa"): "j", ("ann", "couch"): "j", ("bob", "couch"): "k", ("cleo", "sofa"): "l"}
    assert attributed(events, {}, members) == Counter({("ann", "j", "search", DAY): 2})


def test_a_search_without_a_query_belongs_to_no_journey() -> None:
    events = [("ann", None, None, DAY), ("ann", "sofa", None, DAY), ("ann", None, None, DAY + timedelta(hours=1))]
    assert attributed(events, {}, {("ann", "sofa"): "j"}) == Counter([("ann", "j", "search", DAY)])


def test_without_events_or_members_there_are_none() -> None:
    assert not attributed([], {"i1": ["sofa"]}, {("ann", "sofa"): "j"})
    assert not attributed([("ann", "sofa", None, DAY)], {}, {})


KEYWORDS = st.sampled_from(["sofa", "rug", "lamp", "wool"])
USERS = st.sampled_from(["ann", "bob", "cleo"])
WHEN = st.integers(0, 3).map(lambda hours: DAY + timedelta(hours=hours))
ITEMS = st.sampled_from(["i1", "i2", "i3"])


@given(
    st.lists(
        st.one_of(st.tuples(USERS, KEYWORDS, st.none(), WHEN), st.tuples(USERS, st.none(), ITEMS, WHEN)), max_size=25
    ),
    st.dictionaries(ITEMS, st.lists(KEYWORDS, unique=True, max_size=4)),
    st.dictionaries(st.tuples(USERS, KEYWORDS), st.sampled_from(["j", "k"])),
)
def test_events_of_journeys_are_those_of_plain_python(
    events: list[Event], about: dict[str, list[str]], members: dict[tuple[str, str], str]
) -> None:
    expected = Counter(
        (user, journey, "search" if query else "engagement", when)
        for user, query, item, when in events
        for journey in {
            members[user, keyword]
            for keyword in ([query] if query else about.get(item or "", []))
            if (user, keyword) in members
        }
    )
    assert attributed(events, about, members) == expected
