"""Progress: a bar that is written over where somebody watches, and few plain lines in a log."""

import io
import sys

import pytest

from bso_lib.terminal import progress
from bso_lib.terminal.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, monkeypatch, steps=2000, **pace):
    monkeypatch.setattr(sys, "stderr", stream)
    for name, seconds in pace.items():
        monkeypatch.setattr(progress, name, seconds)
    now = [1000.0]
    with Progress(total=steps, desc="training", unit="batch", leave=False) as bar:
        bar.start_t = bar.last_print_t = now[0]
        monkeypatch.setattr(bar, "_time", lambda: now[0])
        for _ in range(steps):
            now[0] += 0.1
            bar.update()
    return stream.getvalue()


def test_a_log_gets_few_lines_and_no_carriage_return(monkeypatch):
    text = shown(io.StringIO(), monkeypatch, FIRST=0, EVERY=60)
    assert "\r" not in text
    lines = text.splitlines()
    assert 3 <= len(lines) <= 6
    assert any(line.startswith("training: batch ") and line.endswith(" left") for line in lines)
    assert " of 2000, " in lines[-1]


def test_a_log_gets_nothing_of_what_is_short(monkeypatch):
    assert shown(io.StringIO(), monkeypatch, steps=50) == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    text = shown(Terminal(), monkeypatch)
    assert "\r" in text
    assert "\n" not in text
    assert "training: " in text


def test_a_notebook_is_watched_unless_it_is_executed_for_a_log(monkeypatch):
    class OutStream(io.StringIO):
        __module__ = "ipykernel.iostream"

    monkeypatch.setattr(sys, "stderr", OutStream())
    monkeypatch.delenv("BSO_PROGRESS", raising=False)
    assert progress.watched()
    monkeypatch.setenv("BSO_PROGRESS", "lines")
    assert not progress.watched()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_it_can_be_off_and_over_something(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(Progress([1, 2, 3], disable=True)) == [1, 2, 3]
    assert stream.getvalue() == ""
    assert list(Progress([1, 2, 3])) == [1, 2, 3]
