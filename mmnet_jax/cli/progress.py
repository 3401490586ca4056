"""Progress of long jobs: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import dataclasses
import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from mmnet_jax.cli.signals import request_stop
from mmnet_jax.storage.files import naming

SECONDS = 10.0  # between two lines of a job

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Printer:
    """Prints lines to a standard stream; on a terminal a ``Progress`` draws its bar below them."""

    error: bool = False  # standard error instead of standard output

    @property
    def stream(self) -> Any:  # TextIO, or a test's capturing stream
        """The current stream, which tests replace."""
        return sys.stderr if self.error else sys.stdout

    def __call__(self, line: str) -> None:
        """Prints one line; an ``OSError``, such as a full disk, names the stream.

        When the reader has gone, as after ``| head -1``, stops the job inside ``interrupts``; without such a job raises
        ``BrokenPipeError``.
        """
        with naming("standard error" if self.error else "standard output"), tqdm.external_write_mode(self.stream):
            try:
                print(line, file=self.stream, flush=True)
            except BrokenPipeError:
                if not request_stop():
                    raise
                discard_if_lost(self.stream)


def discard_if_lost(stream: Any) -> bool:
    """Whether a standard stream has lost its reader or its disk is full; further output is then discarded."""
    try:
        stream.flush()
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        lost = bool(poll.poll(0))
    except io.UnsupportedOperation:  # a stream in memory
        return False
    except OSError:
        lost = True
    if lost:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    return lost


class Progress:
    """Reports a job's progress: ``step 40/800  loss 0.5  4.10 episodes/s  ETA 3m02s``.

    Draws a bar if ``say`` prints to a terminal; otherwise calls ``say`` every few seconds. The rate is that since the
    last report, without pauses and the first update, which includes compilation.
    """

    def __init__(self, what: str, total: int, unit: str, say: Say | None, *, start: int = 0, size: int = 1) -> None:
        """Starts at ``start`` of ``total``; without ``say`` reports nothing.

        ``what`` names what is counted, such as ``step``. The rate is in ``unit``, such as ``episodes``, of which each
        ``what`` has ``size``.
        """
        self._what, self._total, self._unit, self._say, self._size = what, total, unit, say, size
        self._reported = time.monotonic()
        self._counted: tuple[int, float] | None = None
        self._rate: float | None = None
        self._bar: tqdm | None = None
        if isinstance(say, Printer) and say.stream.isatty():
            layout = "{desc} {n_fmt}/{total_fmt} |{bar}|{postfix}"
            self._bar = tqdm(total=total, initial=start, desc=what, file=say.stream, leave=None, bar_format=layout)

    def update(self, done: int, text: str = "") -> None:
        """Sets the count and reports it, with ``text`` such as the loss, every few seconds and at the end."""
        if self._counted is None:
            self._counted = done, time.monotonic()
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        if done == self._total or time.monotonic() - self._reported >= SECONDS:
            self.report(done, text)

    def report(self, done: int, text: str = "") -> float | None:
        """Reports now; returns units per second since the last report, None before the second update."""
        now = time.monotonic()
        before, since = self._counted or (done, now)
        if done > before:
            self._rate = (done - before) / max(now - since, 1e-9)
        self._counted, self._reported = (done, now), now
        parts = [text] if text else []
        if self._rate is not None:
            rate, left = self._rate * self._size, (self._total - done) / self._rate
            parts += [f"{rate:.{2 if rate < 100 else 0}f} {self._unit}/s", f"ETA {duration(left)}"]
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            self._bar.set_postfix_str("  ".join(parts))
        elif self._say is not None:
            self._say("  ".join([f"{self._what} {done}/{self._total}", *parts]))
        return None if self._rate is None else self._rate * self._size

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time inside from the rate."""
        start = time.monotonic()
        yield
        if self._counted is not None:
            self._counted = self._counted[0], self._counted[1] + time.monotonic() - start

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """A duration as text, such as ``1h02m`` or ``2m03s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def byte_size(count: int) -> str:
    """A size as text, such as ``5.2 GB`` or ``0.03 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
