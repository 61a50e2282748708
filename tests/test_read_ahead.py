"""Stages that work side by side: the same items in the same order, whatever goes wrong."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.resources.engine import one_ahead


@given(items=st.lists(st.integers() | st.none()))
def test_the_items_and_their_order_are_the_same(items: list[int | None]):
    assert list(one_ahead(items)) == items
    assert list(one_ahead(one_ahead(iter(items)))) == items


def test_the_next_item_is_made_while_the_present_one_is_used():
    second_begun, may_end = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second_begun.set()
        assert may_end.wait(10)
        yield 2

    found = one_ahead(items())
    assert next(found) == 1
    assert second_begun.wait(10), "before anybody asked for it"
    may_end.set()
    assert list(found) == [2]


def test_no_more_than_the_next_item_is_made():
    made = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    found = one_ahead(items())
    assert next(found) == 0
    found.close()
    assert made == [0, 1]


def test_an_error_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    taken = []
    with pytest.raises(ValueError, match="the third"):
        taken.extend(one_ahead(items()))
    found = one_ahead(items())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(found)


def test_closing_closes_what_the_items_come_from_and_leaves_no_thread():
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    found = one_ahead(items())
    next(found)
    found.close()
    assert closed.is_set()
    assert threading.active_count() == before
