"""Keywords of users from their events: by example, and against plain Python on random histories."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.keywords import collect_keywords
from journeys_dagster.settings.algorithm import KeywordSettings

WEIGHTS = {"search": 1.0, "board": 2.0, "closeup": 0.5, "save": 2.0, "purchase": 3.0}
EVENT_SCHEMA = {
    "user_id": pl.String,
    "source": pl.String,
    "action": pl.String,
    "query": pl.String,
    "item_id": pl.String,
    "occurred_at": pl.Datetime("us"),
}
DAY = datetime(2025, 6, 3)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2025-06-{text}")


def search(query: str | None, when: datetime, user: str = "ann") -> tuple[Any, ...]:
    return (user, "search", "search", query, None, when)


def engaged(action: str, item: str, when: datetime, user: str = "ann") -> tuple[Any, ...]:
    return (user, "engagement", action, None, item, when)


def board(item: str, when: datetime, user: str = "ann") -> tuple[Any, ...]:
    return (user, "board", "board", None, item, when)


def collected(events: Sequence[tuple[Any, ...]], items: dict[str, list[str]], **settings: Any) -> pl.DataFrame:
    frame = pl.DataFrame(events, schema=EVENT_SCHEMA, orient="row").sort("user_id", "occurred_at", maintain_order=True)
    item_keywords = pl.DataFrame(
        [(item, keyword, round(1 / len(about), 6)) for item, about in items.items() for keyword in about],
        schema={"item_id": pl.String, "keyword": pl.String, "share": pl.Decimal(9, 6)},
        orient="row",
    )
    return collect_keywords(frame, item_keywords, WEIGHTS, KeywordSettings(**settings))


def test_a_search_without_a_query_gives_no_keyword_and_what_follows_it_is_no_result_of_the_one_before() -> None:
    events = [
        search(None, at("03 08:00")),
        search("sofa", at("03 09:00")),
        search(None, at("03 09:01")),
        engaged("save", "i1", at("03 09:02")),
        search(None, at("03 09:03")),
    ]
    found = collected(events, {"i1": ["rug"]})
    assert found.select("keyword", "events", "recent_items").rows() == [("rug", 1, ["i1"]), ("sofa", 1, [])]


def test_events_of_one_keyword_add_up_with_times_days_sources_and_counts_by_action() -> None:
    events = [
        search("sofa", at("03 09:00")),
        search("sofa", at("03 21:00")),
        engaged("save", "i1", at("05 09:00")),
        board("i1", at("06 09:00")),
    ]
    assert collected(events, {"i1": ["sofa"]}).to_dicts() == [
        {
            "user_id": "ann",
            "keyword": "sofa",
            "sources": ["board", "engagement", "search"],
            "action_counts": {"board": 1, "save": 1, "search": 2},
            "events": 4,
            "weight": 6.0,
            "first_seen": at("03 09:00"),
            "last_seen": at("06 09:00"),
            "days_active": 3,
            "recent_times": [at("03 09:00"), at("03 21:00"), at("05 09:00"), at("06 09:00")],
            "recent_items": ["i1"],
        }
    ]


def test_the_weight_of_an_event_is_its_actions_weight_times_the_keywords_share() -> None:
    events = [search("sofa", DAY), engaged("closeup", "i4", DAY), engaged("purchase", "i3", DAY)]
    items = {"i4": ["rug", "a", "b", "c"], "i3": ["lamp", "d", "e"]}
    weights = dict(collected(events, items).select("keyword", "weight").iter_rows())
    assert (weights["sofa"], weights["rug"], weights["lamp"]) == (1.0, 0.125, 0.999999)


def test_users_do_not_mix_and_days_are_utc_days() -> None:
    events = [
        search("sofa", at("03 23:59:59")),
        search("sofa", at("04 00:00:00")),
        search("sofa", at("04 12:00:00")),
        search("sofa", at("04 12:00:00"), "bob"),
        search("rug", at("04 12:00:00"), "bob"),
    ]
    found = collected(events, {}).select("user_id", "keyword", "events", "days_active").rows()
    assert found == [("ann", "sofa", 3, 2), ("bob", "rug", 1, 1), ("bob", "sofa", 1, 1)]


def test_the_newest_distinct_times_and_items_are_kept() -> None:
    events = [
        search("sofa", at("04 09:00")),
        engaged("save", "i3", at("03 09:00")),
        board("i2", at("05 09:00")),
        engaged("save", "i2", at("02 09:00")),
        engaged("save", "i1", at("05 09:00")),
        engaged("save", "i4", at("05 09:00")),
    ]
    (row,) = collected(events, {f"i{n}": ["sofa"] for n in range(1, 5)}, recent_limit=2).to_dicts()
    assert row["recent_times"] == [at("04 09:00"), at("05 09:00")]
    # Of one time the lowest ids; in the order of ids.
    assert row["recent_items"] == ["i1", "i2"]


def test_a_search_has_the_items_engaged_with_soon_after_it_and_before_the_next_search() -> None:
    events = [
        engaged("save", "too early", at("03 08:59:59")),
        engaged("save", "i1", at("03 09:00:00")),
        search("sofa", at("03 09:00:00")),
        engaged("save", "i2", at("03 09:04:59")),
        search("couch", at("03 09:05:00")),
        search("settee", at("03 09:05:00")),
        engaged("save", "i3", at("03 09:35:00")),
        engaged("save", "too late", at("03 09:35:01")),
        board("i9", at("03 09:06:00")),
        search("lamp", at("03 09:00:00"), "bob"),
    ]
    found = dict(collected(events, {}, search_result_minutes=30).select("keyword", "recent_items").iter_rows())
    assert found == {"sofa": ["i1", "i2"], "couch": ["i3"], "settee": ["i3"], "lamp": []}


def test_an_item_without_keywords_gives_none_and_no_events_give_no_rows() -> None:
    assert collected([engaged("save", "i1", DAY)], {}).is_empty()
    assert collected([], {"i1": ["sofa"]}).is_empty()


def test_an_action_without_a_weight_is_named() -> None:
    with pytest.raises(ValueError, match="an event of action 'glance'"):
        collected([engaged("glance", "i1", DAY)], {"i1": ["sofa"]})


MOMENTS = st.integers(0, 40).map(lambda quarter: DAY + timedelta(minutes=300 * (quarter // 4) + 10 * (quarter % 4)))
USERS = st.sampled_from(["ann", "bob"])
ITEMS = st.sampled_from(["i1", "i2", "i3", "i4"])
EVENTS = st.one_of(
    st.builds(search, st.sampled_from(["sofa", "rug", "lamp"]), MOMENTS, USERS),
    st.builds(engaged, st.sampled_from(["closeup", "save", "purchase"]), ITEMS, MOMENTS, USERS),
    st.builds(board, ITEMS, MOMENTS, USERS),
)
ABOUT = {"i1": ["sofa", "rug", "wool"], "i2": ["sofa"], "i3": ["lamp", "wool"]}
LIMIT, MINUTES = 2, 15


@given(st.lists(EVENTS, max_size=40, unique=True), st.randoms(use_true_random=False))
def test_keywords_are_those_of_plain_python_in_any_order(events: list[tuple[Any, ...]], order: Any) -> None:
    expected = plain_keywords(events)
    order.shuffle(events)
    found = collected(events, ABOUT, recent_limit=LIMIT, search_result_minutes=MINUTES)
    assert found.to_dicts() == expected


def plain_keywords(events: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    of_keyword: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for event in events:
        for keyword in [event[3]] if event[3] else ABOUT.get(event[4], []):
            of_keyword[event[0], keyword].append(event)
    rows = []
    for (user, keyword), own in sorted(of_keyword.items()):
        times = sorted({event[5] for event in own})
        newest: dict[str, datetime] = {}
        met = [(event[4], event[5]) for event in own if event[4]]
        met += [result for event in own if event[3] for result in plain_results(events, user, event[5])]
        for item, when in met:
            newest[item] = max(when, newest.get(item, when))
        kept = sorted(newest, key=lambda item: (-newest[item].replace(tzinfo=UTC).timestamp(), item))[:LIMIT]
        shares = [
            1 if event[3] else Fraction(round(1 / len(ABOUT[event[4]]), 6)).limit_denominator(10**6) for event in own
        ]
        rows.append(
            {
                "user_id": user,
                "keyword": keyword,
                "sources": sorted({event[1] for event in own}),
                "action_counts": dict(sorted(Counter(event[2] for event in own).items())),
                "events": len(own),
                "weight": pytest.approx(
                    float(sum(Fraction(WEIGHTS[event[2]]) * share for event, share in zip(own, shares, strict=True))),
                    abs=1e-5,
                ),
                "first_seen": times[0],
                "last_seen": times[-1],
                "days_active": len({when.date() for when in times}),
                "recent_times": times[-LIMIT:],
                "recent_items": sorted(kept),
            }
        )
    return rows


def plain_results(events: Sequence[tuple[Any, ...]], user: str, searched_at: datetime) -> list[tuple[str, datetime]]:
    searches = sorted({event[5] for event in events if event[0] == user and event[3]})
    end = next((later for earlier, later in pairwise(searches) if earlier == searched_at), datetime.max)
    return [
        (event[4], event[5])
        for event in events
        if event[0] == user
        and event[1] == "engagement"
        and searched_at <= event[5] < end
        and event[5] <= searched_at + timedelta(minutes=MINUTES)
    ]
