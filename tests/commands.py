"""Commands run in the tests' own process, which saves the seconds that a new one takes to import jax."""

from __future__ import annotations

import signal
import sys
from typing import NamedTuple

from absl import app, flags, logging

from mmnet_jax.cli.command import run


class Done(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def run_command(module, *arguments, capsys, monkeypatch):
    """Runs a module's ``define_flags`` and ``main`` with these arguments, as ``python -m`` does."""
    app.define_help_flags()
    known = set(flags.FLAGS)
    handler = logging.get_absl_handler()
    formatter, filters = handler.formatter, list(handler.filters)
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    capsys.readouterr()
    module.define_flags()
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    try:
        run(module.main)
    except SystemExit as end:
        status = end.code or 0
    finally:
        signal.signal(signal.SIGTERM, before[0])
        sys.unraisablehook = before[1]
        handler.setFormatter(formatter)
        handler.filters[:] = filters
        flags.FLAGS.unparse_flags()
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
    return Done(status, *capsys.readouterr())
