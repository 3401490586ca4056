"""What the commands share: flags parsed, mistakes told in one sentence on stderr with exit status 2."""

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
from mmnet_jax.cli.environment import absent_platform, compute_in_float32
from mmnet_jax.cli.progress import discard_if_lost
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import REFUSED, naming, system_error

Out = TypeVar("Out")

USER_ERROR = 2
INTERRUPTED = 130


def run(main: Callable[..., None], *, words: bool = False) -> NoReturn:
    """Parses the command line and runs ``main``, with the arguments that are no flags if it takes ``words``; ends the
    process.

    Exit status: 0; 2 for a ``UserError``, a mistake in a flag or config field, a file that the system refuses, or a
    device that is not there, each told in one sentence on stderr; 130 when interrupted, or when nobody reads the output
    any more. Any other exception keeps its traceback.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by ``>&-``
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115

    def guarded(rest: list[str]) -> None:
        logging.get_absl_handler().setFormatter(_Plain())
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that this, too, leaves nothing half-written
        logging.get_absl_handler().addFilter(_worth_reading)
        sys.unraisablehook = _show_unraisable
        compute_in_float32()
        if FLAG in flags.FLAGS:
            cache_compilations(flags.FLAGS[FLAG].value)
            trim_after_compilation()
        _with_sentences(lambda: main(rest[1:]) if words else main())
        _with_sentences(_write_out)

    try:
        app.run(guarded, flags_parser=lambda argv: _with_sentences(lambda: parse(argv, words)))
    finally:
        discard_if_lost(sys.stdout)
    raise AssertionError("app.run ends the process")


def _write_out() -> None:
    """Writes what is printed and still in memory; an ``OSError`` names the stream, as where its disk is full."""
    with suppress(BrokenPipeError), naming("standard output"):
        sys.stdout.flush()


def take_word() -> str | None:
    """The first argument, taken off the command line if it is no flag: what a script is asked to do."""
    return sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None


def parse(argv: list[str], words: bool = False) -> list[str]:
    """Parses ``argv`` into ``flags.FLAGS``; a ``UserError`` names the flag, config field or recipe at fault.

    Returns the command's name, and the arguments that are no flags, which are refused without ``words``.
    """
    overrides: list[tuple[str, str]] = []
    argv = [_with_home(word) for word in argv]
    if "config" in flags.FLAGS:
        argv, overrides = take_overrides(argv)
    try:
        rest = flags.FLAGS(argv)
    except SystemExit as stop:
        # Only --help and its kin end the process here; absl calls that a failure.
        raise SystemExit(0 if stop.code == 1 else stop.code) from None
    except flags.UnrecognizedFlagError as error:
        near = get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        hint = f"; did you mean --{near[0]}?" if near else "."
        raise UserError(f"unknown flag --{error.flagname}{hint}") from error
    except flags.Error as error:
        raise UserError(_illegal(str(error))) from error
    if len(rest) > 1 and not words:
        raise UserError(f"unexpected argument {rest[1]!r}; arguments are given as --flag=value.")
    if "config" in flags.FLAGS:
        load_config(overrides)
    verbosity = flags.FLAGS["verbosity"]
    if verbosity.using_default_value:
        # The libraries below tell too much, and app.run would raise a default to INFO.
        verbosity.value, verbosity.using_default_value = logging.WARNING, False
    return rest


def _with_home(word: str) -> str:
    """An argument with the home folder in the place of a ``~`` at its start or at that of its flag's value.

    Shells do so for the start of a word alone, and not within quotes.
    """
    flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return flag + equals + os.path.expanduser(value)


class _Plain(Formatter):
    """``warning: what happened``, without the date, process and line that only developers want."""

    def format(self, record: LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


def _worth_reading(record: LogRecord) -> bool:
    """Orbax warns of its own settings whenever it opens a folder to read, TFDS of a configuration with a new name.

    Orbax and asyncio also log what its threads raise, which comes out of the next call to it as well.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error and ("orbax" in record.pathname or (record.name == "asyncio" and system_error(error) is not None)):
        return False
    return record.levelno >= ERROR or not any(name in record.pathname for name in ("orbax", "tensorflow_datasets"))


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """As always, but without what TensorStore's threads say of the writes that nobody waits for once one has failed.

    A signal that came inside a callback, of the garbage collector for example, where Python drops its exception, is
    sent once more.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _with_sentences(step: Callable[[], Out]) -> Out:
    try:
        return step()
    except UserError as error:
        sentence, status = " ".join(str(error).split()), USER_ERROR
        sentence = "".join(letter if letter.isprintable() else "?" for letter in sentence)  # a file's names may not be
    except BrokenPipeError:
        lost = [discard_if_lost(stream) for stream in (sys.stdout, sys.stderr)]
        if not any(lost):
            raise
        sys.exit(INTERRUPTED)
    except OSError as error:
        # A file that the system refuses. Any other OSError is a fault of ours and keeps its traceback.
        # Only print names no file where a disk is full.
        file = error.filename or ("standard output" if error.errno == errno.ENOSPC else None)
        if error.errno not in REFUSED or not file:
            raise
        sentence, status = f"{file}: {error.strerror}.", USER_ERROR
    except KeyboardInterrupt:
        sentence, status = "interrupted.", INTERRUPTED
    except Exception:
        if (told := absent_platform()) is None:
            raise
        sentence, status = told, USER_ERROR
    print(sentence, file=sys.stderr)
    sys.exit(status)


def _illegal(message: str) -> str:
    """absl's "flag --name=value: reason" (or another of its messages) in our words."""
    found = re.fullmatch(r"flag --([\w.]+)=(.*?): (.*)", message, re.DOTALL)
    if not found:
        return f"{message.rstrip('.')}."
    name, value, reason = found.groups()
    if "must have a value other than None" in reason:
        return f"--{name} is required."
    kinds = {"invalid literal for int": "a whole number", "could not convert string to float": "a number"}
    kinds["Non-boolean argument"] = "True or False"
    for start, kind in kinds.items():
        if start in reason:
            return f"--{name} must be {kind}, but is {value!r}."
    return f"--{name} cannot be {value!r}: {reason.rstrip('.')}."
