"""Runs a command of the package in this process."""

import io
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

import grain  # noqa: F401 (defines flags when it is imported, which the flag saver would remove)
from absl import logging
from absl.testing import flagsaver

from mmnet_jax.cli import command


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def call(
    define_flags: Callable[[], None], main: Callable[..., None], *arguments: object, positional: bool = False
) -> Done:
    """Runs ``main`` by ``command.run`` with these command-line arguments; raises where a traceback would show.

    Restores flags, signal handlers and streams.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    log = logging.get_absl_handler().python_handler
    try:
        with (
            flagsaver.flagsaver(),
            patch.object(sys, "argv", ["command.py", *map(str, arguments)]),
            patch.object(sys, "unraisablehook"),
            patch.object(log, "stream", err),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            define_flags()
            command.run(main, positional=positional)
    except SystemExit as stop:
        return Done(0 if stop.code is None else int(stop.code), out.getvalue(), err.getvalue())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("command.run ends the process")
