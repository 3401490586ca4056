"""Every mistake on a command line: one sentence on stderr, status 2, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMMAND = """
import os, signal
from absl import flags, logging
from ml_collections import config_flags
from mmnet_jax.cli import command
from mmnet_jax.errors import UserError

config_flags.DEFINE_config_file("config", None, "what to train")
flags.DEFINE_string("workdir", None, "where to", required=True)
flags.DEFINE_integer("shots", 1, "how many", lower_bound=1)
flags.DEFINE_enum("part", "a", ["a", "b"], "which")

def main():
    logging.info("too much")
    logging.warning("class bus is left out")
    workdir = flags.FLAGS.workdir
    if workdir == "missing":
        raise UserError("missing is\\nno workdir.")
    if workdir == "bug":
        raise ValueError("a bug")
    if workdir == "wait":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits none
        os.kill(os.getpid(), signal.SIGINT)
    if workdir == "lost":
        open(workdir)
    if workdir == "/":
        open(workdir, "w")
    print("fold", flags.FLAGS.config.fold if flags.FLAGS.config else None)

command.run(main)
"""

CONFIGS = {
    "good.py": "from mmnet_jax.config import get_config",
    "syntax.py": "x = 1\ndef get_config(:\n",
    "importing.py": "import nothing_of_this_name",
    "empty.py": "x = 1",
    "raising.py": "def get_config():\n    return int('x')",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "do.py").write_text(COMMAND)
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return folder


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, "do.py", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "--workdir is required."),
        ("--workdir", "Missing value for flag --workdir."),
        ("--workdir=x --wokdir=y", "unknown flag --wokdir; did you mean --workdir?"),
        ("--workdir=x --qqq", "unknown flag --qqq."),
        ("--workdir=x extra", "unexpected argument 'extra'; arguments are given as --flag=value."),
        ("--workdir=x --shots=two", "--shots must be a whole number, but is 'two'."),
        ("--workdir=x --shots=0", "--shots cannot be '0': 0 is not a positive integer."),
        ("--workdir=x --part=c", "--part cannot be 'c': value should be one of <a|b>."),
        ("--workdir=x --config=none.py", "config file none.py cannot be read: No such file or directory."),
        (
            "--workdir=x --config=none.py --config.fold=1",
            "config file none.py cannot be read: No such file or directory.",
        ),
        ("--workdir=x --config=.", "config file . cannot be read: Is a directory."),
        ("--workdir=x --config=syntax.py", "config file syntax.py has a syntax error in line 2: invalid syntax."),
        (
            "--workdir=x --config=importing.py",
            "config file importing.py cannot be used: ModuleNotFoundError: No module named 'nothing_of_this_name'.",
        ),
        (
            "--workdir=x --config=empty.py",
            "config file empty.py cannot be used: "
            "AttributeError: module 'config_config' has no attribute 'get_config'.",
        ),
        (
            "--workdir=x --config=raising.py",
            "raising.py cannot be used as a config file: ValueError: invalid literal for int() with base 10: 'x'",
        ),
        ("--workdir=x --config.fold=2", "--config.fold needs --config=FILE before it."),
        ("--workdir=x --config=good.py --config.fool=2", "unknown config field fool; did you mean fold?"),
        ("--workdir=x --config=good.py --config.dta.fold=2", "unknown config field dta.fold; did you mean fold?"),
        (
            "--workdir=x --config=good.py --config.fold.x=2",
            "config field fold is no section; --config.fold.x cannot be set.",
        ),
        ("--workdir=x --config=good.py --config.fold=abc", "config field fold must be a whole number, but is 'abc'."),
        ("--workdir=x --config=good.py --config.fold=1.5", "config field fold must be a whole number, but is '1.5'."),
        (
            "--workdir=x --config=good.py --config.training.steps=ten",
            "config field training.steps must be a whole number, but is 'ten'.",
        ),
        (
            "--workdir=x --config=good.py --config.optimizer.learning_rate=fast",
            "config field optimizer.learning_rate must be a number, but is 'fast'.",
        ),
        (
            "--workdir=x --config=good.py --config.model.random_backbone=maybe",
            "config field model.random_backbone must be True or False, but is 'maybe'.",
        ),
        ("--workdir=missing", "warning: class bus is left out\nmissing is no workdir."),
        ("--workdir=/", "warning: class bus is left out\n/: Is a directory."),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_status_2(folder, arguments, sentence):
    done = call(folder, *arguments.split())
    assert done.stderr == sentence + "\n"
    assert done.returncode == 2
    assert done.stdout == ""


def test_what_is_right_runs_with_warnings_alone(folder):
    done = call(folder, "--workdir=x", "--config=good.py", "--config.fold=2")
    assert (done.returncode, done.stdout) == (0, "fold 2\n")
    assert done.stderr == "warning: class bus is left out\n"


def test_a_bug_keeps_its_traceback(folder):
    for workdir, error in (("bug", "ValueError: a bug"), ("lost", "FileNotFoundError")):
        done = call(folder, f"--workdir={workdir}")
        assert done.returncode == 1
        assert "Traceback" in done.stderr and error in done.stderr


def test_an_interrupt_ends_with_130(folder):
    done = call(folder, "--workdir=wait")
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted.\n") and "Traceback" not in done.stderr


def test_help_is_no_failure(folder):
    done = call(folder, "--help")
    assert done.returncode == 0
    assert "--workdir" in done.stdout
