"""Progress lines and the progress bar."""

import io
import re
import sys

import pytest

from mmnet_jax.cli import progress
from mmnet_jax.cli.progress import Printer, Progress, duration


@pytest.fixture
def clock(monkeypatch):
    """A function that advances the clock by seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: sum(now))
    return now.append


def test_the_rate_excludes_the_first_update_and_pauses(clock):
    lines = []
    steps = Progress("step", 800, "episodes", lines.append, size=4)
    clock(60)  # compiling
    assert steps.report(1, "loss 2.0") is None
    clock(10)
    with steps.paused():
        clock(1000)
    assert steps.report(21, "loss 1.5") == 8
    clock(1)
    assert steps.report(61) == 160
    assert lines == [
        "step 1/800  loss 2.0",
        "step 21/800  loss 1.5  8.00 episodes/s  ETA 6m30s",
        "step 61/800  160 episodes/s  ETA 0m18s",
    ]


def test_updates_report_every_few_seconds_and_at_the_end(clock):
    lines = []
    images = Progress("image", 9, "images", lines.append, start=2)
    for done in range(3, 10):
        clock(4)
        images.update(done)
    expected = {5: "0m16s", 8: "0m04s", 9: "0m00s"}
    assert lines == [f"image {done}/9  0.25 images/s  ETA {left}" for done, left in expected.items()]
    for say in (lines.append, None):  # a job of one update has no rate
        Progress("image", 3, "images", say).update(3)
    assert lines[3:] == ["image 3/3"]


def test_a_terminal_shows_a_bar_below_printed_lines(monkeypatch, clock):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    say = Printer(error=True)
    with Progress("step", 40, "episodes", say) as steps:
        for done in (1, 2):
            clock(10)
            steps.update(done, "loss 0.5")
        say("resting")
    bar, line = terminal.getvalue().split("resting\n")[0], terminal.getvalue().split("\r")
    assert re.search(r"step 2/40 \|.*\|, loss 0\.5  0\.10 episodes/s  ETA 6m20s", bar)
    assert "resting\n" in line


def test_durations():
    assert [duration(seconds) for seconds in (3.4, 123, 3720)] == ["0m03s", "2m03s", "1h02m"]
