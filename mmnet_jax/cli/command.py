"""Entry point of all commands: parses flags and turns user errors into one sentence on stderr with exit status 2."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from logging import ERROR, Formatter, LogRecord
from typing import NoReturn, TypeVar

from absl import app, flags, logging

from mmnet_jax.cli.compilation import FLAG, cache_compilations, trim_after_compilation
from mmnet_jax.cli.config_flag import load_config, take_overrides
from mmnet_jax.cli.environment import compute_in_float32, missing_platform
from mmnet_jax.cli.progress import discard_if_lost
from mmnet_jax.errors import UserError, printable
from mmnet_jax.storage.files import REFUSED, naming, system_error

Out = TypeVar("Out")

USER_ERROR = 2
INTERRUPTED = 130


def run(main: Callable[..., None], *, positional: bool = False) -> NoReturn:
    """Parses the command line, runs ``main`` and exits; with ``positional``, ``main`` gets the positional arguments.

    Exit status: 0; 2 for a ``UserError``, an invalid flag or config field, a file-system error or a missing device,
    each with one sentence on stderr; 130 when interrupted or when the reader of stdout has closed it. Other exceptions
    keep their traceback.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by ``>&-``
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115

    def start(rest: list[str]) -> None:
        logging.get_absl_handler().setFormatter(_LevelAndMessage())
        logging.get_absl_handler().addFilter(_is_relevant)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as on SIGINT
        sys.unraisablehook = _show_unraisable
        compute_in_float32()
        if FLAG in flags.FLAGS:
            cache_compilations(flags.FLAGS[FLAG].value)
            trim_after_compilation()
        _exit_on_error(lambda: main(rest[1:]) if positional else main())
        _exit_on_error(_flush_stdout)

    try:
        app.run(start, flags_parser=lambda argv: _exit_on_error(lambda: parse(argv, positional)))
    finally:
        discard_if_lost(sys.stdout)
    raise AssertionError("app.run ends the process")


def _flush_stdout() -> None:
    """Flushes stdout; an ``OSError``, such as a full disk, names the stream."""
    with suppress(BrokenPipeError), naming("standard output"):
        sys.stdout.flush()


def take_subcommand() -> str | None:
    """Removes and returns the first argument, a script's subcommand, unless it is a flag."""
    return sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None


def parse(argv: list[str], positional: bool = False) -> list[str]:
    """Parses ``argv`` into ``flags.FLAGS``; raises ``UserError`` naming the invalid flag, config field or recipe.

    Returns the command's name and the positional arguments; without ``positional`` the latter raise ``UserError`` too.
    """
    overrides: list[tuple[str, str]] = []
    argv = [_expand_home(word) for word in argv]
    if "config" in flags.FLAGS:
        argv, overrides = take_overrides(argv)
    try:
        rest = flags.FLAGS(argv)
    except SystemExit as stop:
        # absl exits here after --help and the like, with status 1
        raise SystemExit(0 if stop.code == 1 else stop.code) from None
    except flags.UnrecognizedFlagError as error:
        near = get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        hint = f"; did you mean --{near[0]}?" if near else "."
        raise UserError(f"unknown flag --{error.flagname}{hint}") from error
    except flags.Error as error:
        raise UserError(_rephrase(str(error))) from error
    if len(rest) > 1 and not positional:
        raise UserError(f"unexpected argument {rest[1]!r}; arguments are given as --flag=value.")
    if "config" in flags.FLAGS:
        load_config(overrides)
    verbosity = flags.FLAGS["verbosity"]
    if verbosity.using_default_value:
        # libraries log too much at INFO, to which app.run would raise the default
        verbosity.value, verbosity.using_default_value = logging.WARNING, False
    return rest


def _expand_home(word: str) -> str:
    """Expands ``~`` at the start of an argument or of a flag's value, where shells do not."""
    flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return flag + equals + os.path.expanduser(value)


class _LevelAndMessage(Formatter):
    """Formats log records as ``warning: MESSAGE``."""

    def format(self, record: LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


def _is_relevant(record: LogRecord) -> bool:
    """Drops warnings of Orbax and TFDS about their own settings, and exceptions of Orbax's threads.

    Orbax raises those exceptions again from the next call to it.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error and ("orbax" in record.pathname or (record.name == "asyncio" and system_error(error) is not None)):
        return False
    return record.levelno >= ERROR or not any(name in record.pathname for name in ("orbax", "tensorflow_datasets"))


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Drops errors of TensorStore's threads after a failed write; reports all others as usual.

    Python drops the exception of a signal that arrives inside a callback, such as the garbage collector's; the signal
    is sent again.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _exit_on_error(step: Callable[[], Out]) -> Out:
    """Runs ``step``; exits with a sentence on stderr for the errors that ``run`` lists."""
    try:
        return step()
    except UserError as error:
        sentence, status = " ".join(str(error).split()), USER_ERROR
        sentence = printable(sentence)
    except BrokenPipeError:
        lost = [discard_if_lost(stream) for stream in (sys.stdout, sys.stderr)]
        if not any(lost):
            raise
        sys.exit(INTERRUPTED)
    except OSError as error:
        # any other OSError is a bug and keeps its traceback; only ``print`` on a full disk names no file
        file = error.filename or ("standard output" if error.errno == errno.ENOSPC else None)
        if error.errno not in REFUSED or not file:
            raise
        sentence, status = f"{file}: {error.strerror}.", USER_ERROR
    except KeyboardInterrupt:
        sentence, status = "interrupted.", INTERRUPTED
    except Exception:
        if (missing := missing_platform()) is None:
            raise
        sentence, status = missing, USER_ERROR
    print(sentence, file=sys.stderr)
    sys.exit(status)


def _rephrase(message: str) -> str:
    """Rewords absl's "flag --name=value: reason" as the package's other messages."""
    found = re.fullmatch(r"flag --([\w.]+)=(.*?): (.*)", message, re.DOTALL)
    if not found:
        return f"{message.rstrip('.')}."
    name, value, reason = found.groups()
    if "must have a value other than None" in reason:
        return f"--{name} is required."
    kinds = {"for int": "a whole number", "to float": "a number", "Non-boolean": "True or False"}
    for start, kind in kinds.items():
        if start in reason:
            return f"--{name} must be {kind}, but is {value!r}."
    return f"--{name} cannot be {value!r}: {reason.rstrip('.')}."
