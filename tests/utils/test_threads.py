"""Threads beside each other: order, errors, ends."""

from __future__ import annotations

import threading

import cv2
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from utils.threads import count as threads
from utils.threads.count import has_idle_cores, share_cores
from utils.threads.hand_over import HandOver
from utils.threads.read_ahead import read_ahead
from utils.threads.worker import Worker


@pytest.mark.parametrize(
    ("available", "given", "count"), [(1, 0, 1), (2, 0, 1), (9, 0, 4), (9, 3, 3)]
)
def test_steps_share_the_cores(monkeypatch, available, given, count):
    before = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(threads, "_AVAILABLE", available)
    try:
        with threadpool_limits(None):  # leaves NumPy's as they were
            assert share_cores(given) == count == torch.get_num_threads()
            assert cv2.getNumThreads() == count
            assert has_idle_cores() == (2 * count <= available)
            blas = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
            assert blas and max(blas) <= count
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


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


def test_items_are_handed_over_in_order_and_the_end_is_told():
    hand_over = HandOver()
    assert hand_over.take(3, timeout=0) == []
    hand_over.give([1, 2, 3])
    assert hand_over.take(2, timeout=0) == [1, 2]
    hand_over.end(KeyError("lost"))
    assert hand_over.take(2, timeout=0) == [3]
    with pytest.raises(KeyError, match="lost"):
        hand_over.take(1, timeout=0)
    over = HandOver()
    over.end()
    assert over.take(1, timeout=0) is None


def test_whoever_gives_waits_for_a_place_of_so_many_as_were_asked_for():
    hand_over, given = HandOver(), []

    def give():
        for number in range(7):
            if not hand_over.wait_for_place():
                return
            given.append(number)
            hand_over.give([number])
        hand_over.end()

    thread = threading.Thread(target=give)
    thread.start()
    taken = []
    while len(taken) < 5:
        taken += hand_over.take(2, timeout=10)
        assert len(given) - len(taken) <= 3  # two that wait, one at hand
    hand_over.close()
    thread.join(10)
    assert not thread.is_alive() and taken == list(range(len(taken)))
