"""Threads beside each other: order, errors, ends."""

from __future__ import annotations

import threading

import pytest

from utils.threads.read_ahead import read_ahead
from utils.threads.worker import Worker


def threads_left(name):
    return [each for each in threading.enumerate() if each.name == name]


def test_items_come_in_order_and_few_are_made_ahead():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    used = []
    for item in read_ahead(items(), 3):
        assert made[-1] <= item + 6  # those that wait, one at hand, one being made
        used.append(item)
    assert used == list(range(50)) and not threads_left("read ahead")


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("lost")

    found = []
    with pytest.raises(KeyError, match="lost"):
        found.extend(read_ahead(items(), 2))
    assert not threads_left("read ahead")


def test_an_iteration_that_is_given_up_is_closed():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    ahead.close()
    assert closed.is_set() and not threads_left("read ahead")


def test_tasks_are_done_in_order_before_the_end():
    done, worker = [], Worker("tasks", 2)
    for number in range(20):
        worker.do(lambda number=number: done.append(number))
    worker.wait()
    assert done == list(range(20))
    worker.do(lambda: done.append("last"))
    worker.finish()
    assert done[-1] == "last" and not threads_left("tasks")


def test_an_error_of_a_task_is_raised_once_and_later_tasks_are_left():
    done, worker = [], Worker("tasks", 4)

    def fail():
        raise OSError("disk full")

    worker.do(fail)
    with pytest.raises(OSError, match="disk full"):
        worker.wait()
    worker.do(lambda: done.append(1))
    worker.finish()
    assert not done
