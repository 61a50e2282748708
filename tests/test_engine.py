"""Batches in the run's own process: the same rows in the same order, however many are computed at a time."""

import threading

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys_dagster.inference.frames import Frames
from journeys_dagster.resources.engine import LocalEngine


def batches_of(numbers: list[int]) -> list[Frames]:
    return [{"numbers": pl.DataFrame({"number": [number]}, schema={"number": pl.Int64})} for number in numbers]


def doubled(frames: Frames) -> pl.DataFrame:
    return frames["numbers"] * 2


@given(numbers=st.lists(st.integers(-9, 9), max_size=6), side_by_side=st.integers(1, 4))
def test_results_come_in_the_order_of_their_batches(numbers: list[int], side_by_side: int):
    found = list(LocalEngine(side_by_side).map(doubled, batches_of(numbers)))
    assert [rows["number"][0] for rows in found] == [2 * number for number in numbers]


def test_as_many_are_computed_at_a_time_as_are_asked_for():
    both, met, running = threading.Barrier(2, timeout=10), 0, threading.Semaphore(2)

    def meet(frames: Frames) -> pl.DataFrame:
        nonlocal met
        assert running.acquire(blocking=False), "a third one"
        both.wait()
        met += 1
        running.release()
        return frames["numbers"]

    assert len(list(LocalEngine(side_by_side=2).map(meet, batches_of([1, 2, 3, 4])))) == met == 4


def test_no_more_batches_are_taken_than_are_computed_at_a_time():
    taken = []

    def batches():
        for number in range(9):
            taken.append(number)
            yield from batches_of([number])

    found = LocalEngine(side_by_side=2).map(doubled, batches())
    next(found)
    found.close()
    assert taken == [0, 1]


def test_an_error_of_one_batch_ends_it_all():
    def fail(frames: Frames) -> pl.DataFrame:
        if frames["numbers"]["number"][0] == 2:
            raise ValueError("batch 2")
        return frames["numbers"]

    found = LocalEngine(side_by_side=2).map(fail, batches_of([1, 2, 3]))
    assert next(found)["number"][0] == 1
    with pytest.raises(ValueError, match="batch 2"):
        next(found)
