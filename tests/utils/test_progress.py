"""One bar for all steps of a command: shares, time left, what a log file gets."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from utils import progress
from utils.progress import ProgressBar, Step, run_steps, seconds_left


class Terminal(io.StringIO):
    def isatty(self):
        return True


def bar_of(count, seen, span=(0.0, 1.0)):
    def run():
        bar = ProgressBar(total=count, mininterval=0, span=span)
        for _ in range(count):
            bar.update(1)
            seen.append(progress._whole._bar.n)
        bar.close()

    return run


def test_steps_share_one_bar_by_their_expected_seconds(capsys):
    seen, other = [], []
    run_steps([Step("first", 1.0, bar_of(2, seen)), Step("second", 3.0, bar_of(2, other))])
    assert seen == pytest.approx([0.125, 0.25]) and other == pytest.approx([0.625, 1.0])
    said = capsys.readouterr()
    assert said.out == "1 of 2: first, about 1.0 s\n2 of 2: second, about 3.0 s\n"
    assert said.err == ""  # no terminal, no bar


def test_a_step_may_have_several_bars_and_never_goes_back():
    seen = []

    def run():
        bar_of(1, seen, (0.0, 0.5))()
        bar_of(2, seen, (0.5, 1.0))()
        bar_of(2, seen)()

    run_steps([Step("one", 1.0, run)])
    assert seen == pytest.approx([0.5, 0.75, 1.0, 1.0, 1.0])


def test_on_a_terminal_the_bar_stays_below_what_is_printed(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(screen)])

    def run():
        bar_of(2, [])()
        print("a line of the step")
        print("a fault of the step", file=sys.stderr)
        logging.getLogger("x").warning("a warning of the step")

    run_steps([Step("first", 1.0, run), Step("second", 1.0, lambda: None)], first=2)
    lines = screen.getvalue().replace("\r", "\n").split("\n")
    assert "a line of the step" in lines and "a fault of the step" in lines
    assert lines.count("a warning of the step") == 1
    assert "3 of 3: second, about 1.0 s" in lines
    bars = [line for line in lines if "|" in line]
    assert bars and all(line.startswith(("2 of 3", "3 of 3")) for line in bars)
    assert "left" in bars[-1]
    assert any("2 of 3, first" in line and "50 %" in line for line in bars)


def test_an_error_or_a_stop_leaves_bars_as_they_were(capsys):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps([Step("first", 1.0, stop)])
    bar = ProgressBar(total=2, desc="alone", mininterval=0)
    bar.update(2)
    bar.close()
    assert "alone: 100%" in capsys.readouterr().err


def test_time_left_follows_the_pace_of_the_step_once_it_is_known():
    assert seconds_left(100.0, share=0.0, began=0.0, spent=5.0) == 100
    assert seconds_left(100.0, share=0.5, began=0.0, spent=10.0) == 10
    # Resumed at a half: what was done before took no time now.
    assert seconds_left(100.0, share=0.6, began=0.5, spent=10.0) == pytest.approx(40)


def test_what_goes_to_a_file_stays_out_of_the_terminal(monkeypatch):
    screen, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", file)
    run_steps([Step("first", 1.0, lambda: print("a line of the step"))])
    assert "a line of the step" in file.getvalue().splitlines()
    assert "a line of the step" not in screen.getvalue() and "1 of 1" in screen.getvalue()
