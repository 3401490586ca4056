"""Invalid command lines end with one sentence on stderr, status 2 and no traceback."""

import errno
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from absl import flags, logging

from mmnet_jax import train
from mmnet_jax.cli.config_flag import define_config_flag
from mmnet_jax.cli.progress import Printer
from mmnet_jax.config import FIELDS
from mmnet_jax.errors import UserError
from tests.cli.call import call

ROOT = Path(__file__).parents[2]
RECIPES = {
    "good.py": "from mmnet_jax.config import get_config",
    "syntax.py": "x = 1\ndef get_config(:\n",
    "importing.py": "import nothing_of_this_name",
    "empty.py": "x = 1",
    "unknown.py": "from ml_collections import ConfigDict\n\ndef get_config():\n    return ConfigDict({'fool': 1})",
}


def define_flags():
    define_config_flag()
    flags.DEFINE_string("workdir", None, "where to", required=True)
    flags.DEFINE_integer("shots", 1, "how many", lower_bound=1)
    flags.DEFINE_enum("part", "a", ["a", "b"], "which")


def main():
    logging.info("too much")
    logging.warning("class bus is left out")
    workdir = flags.FLAGS.workdir
    if workdir == "missing":
        raise UserError("missing is\nno \x1b workdir.")
    if workdir == "bug":
        raise ValueError("a bug")
    if workdir == "wait":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits none
        os.kill(os.getpid(), signal.SIGINT)
    if workdir == "lost":
        Path(workdir).read_text()
    if workdir == "/":
        Path(workdir).write_text("")
    if config := flags.FLAGS.config:
        print(config.data.dataset, config.fold, config.model.cosine_on, config.model.random_backbone, config.model.bins)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name, text in RECIPES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def command(*arguments):
    return call(define_flags, main, *arguments)


NO_RECIPES = {
    "none.py": "config file none.py cannot be read: No such file or directory.",
    ".": "config file . cannot be read: Is a directory.",
    "coco_1sht": "no recipe coco_1sht is shipped; did you mean coco_1shot?",
    "pfenet:pascal_1shot:2": "configs/pfenet.py:pascal_1shot:2 is not a config;",
    "syntax.py": "config file syntax.py has a syntax error in line 2: invalid syntax.",
    "importing.py": "config file importing.py cannot be used: "
    "ModuleNotFoundError: No module named 'nothing_of_this_name'.",
    "empty.py": "config file empty.py cannot be used: AttributeError: module 'empty' has no attribute 'get_config'.",
    "unknown.py": "unknown config field fool; did you mean fold?",
}
BAD_FIELDS = {
    "fool=2": "unknown config field fool; did you mean fold?",
    "dta.fold=2": "unknown config field dta.fold; did you mean data.folds?",
    "fold.x=2": "config field fold is not a section; --config.fold.x cannot be set.",
    "fold": "Missing value for flag --config.fold.",
    "fold=abc": "config field fold must be a whole number, but is 'abc'.",
    "fold=1.5": "config field fold must be a whole number, but is '1.5'.",
    "optimizer.learning_rate=fast": "config field optimizer.learning_rate must be a number, but is 'fast'.",
    "model.random_backbone=maybe": "config field model.random_backbone must be True or False, but is 'maybe'.",
    "model.bins=large": "config field model.bins must be numbers, as in 60,30,15,8, but is 'large'.",
}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "--workdir is required."),
        ("--workdir=x --wokdir=y", "unknown flag --wokdir; did you mean --workdir?"),
        ("--workdir=x --qqq", "unknown flag --qqq."),
        ("--workdir=x extra", "unexpected argument 'extra'; arguments are given as --flag=value."),
        ("--workdir=x --shots=two", "--shots must be a whole number, but is 'two'."),
        ("--workdir=x --shots=0", "--shots cannot be '0': 0 is not a positive integer."),
        ("--workdir=x --part=c", "--part cannot be 'c': value should be one of <a|b>."),
        ("--workdir=x --config.fold=2", "--config.fold needs --config=FILE before it."),
        ("--workdir=missing", "warning: class bus is left out\nmissing is no ? workdir."),
        ("--workdir=/", "warning: class bus is left out\n/: Is a directory."),
        *[(f"--workdir=x --config={reference}", sentence) for reference, sentence in NO_RECIPES.items()],
        *[(f"--workdir=x --config=good.py --config.{field}", sentence) for field, sentence in BAD_FIELDS.items()],
    ],
)
def test_an_invalid_command_line_ends_in_one_sentence_with_status_2(arguments, sentence):
    done = command(*arguments.split())
    assert done.stderr.startswith(sentence) and (done.stderr == sentence + "\n" or sentence.endswith(";"))
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("--config=good.py", "pascal5i 0 None False None"),
        (f"--config={ROOT}/configs/pfenet.py:coco_1shot", "coco20i 0 None False None"),
        ("--config=coco_1shot --config.fold=2", "coco20i 2 None False None"),
        ("--config.fold=2 --config coco_1shot", "coco20i 2 None False None"),
        ("--config=ablations:fcm_only --config.fold 3", "pascal5i 3 None False None"),
        ("--config=good.py --config.model.random_backbone", "pascal5i 0 None True None"),
        ("--config=good.py --noconfig.model.random_backbone", "pascal5i 0 None False None"),
        ("--config=good.py --config.model.random_backbone=1", "pascal5i 0 None True None"),
        ("--config=good.py --config.model.bins=1.0,0.5", "pascal5i 0 None False (1.0, 0.5)"),
        ("--config=good.py --config.model.bins=9", "pascal5i 0 None False (9,)"),
    ],
)
def test_recipes_and_overrides_are_read(arguments, printed):
    done = command("--workdir=x", *arguments.split())
    assert (done.returncode, done.stdout) == (0, printed + "\n")
    assert done.stderr == "warning: class bus is left out\n"


def test_a_tilde_is_expanded_in_every_flag_and_path_field(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "home.py").write_text(
        "from mmnet_jax.config import get_config as base\n"
        "def get_config():\n"
        "    config = base()\n"
        "    config.pretraining.data_dir = '~/imagenet'\n"
        "    return config\n"
    )

    def define():
        define_flags()
        flags.DEFINE_multi_string("query", [], "several")

    def show():
        config = flags.FLAGS.config
        print(flags.FLAGS.workdir, *flags.FLAGS.query)
        print(config.data.data_dir, config.model.weights, config.pretraining.data_dir)

    fields = ["--config.data.data_dir", "~", "--config.model.weights=~/w.safetensors"]
    done = call(define, show, "--workdir=~/x", "--query", "~/a.jpg", "--query=./~b.jpg", "--config=home.py", *fields)
    printed = "/home/ann/x /home/ann/a.jpg ./~b.jpg\n/home/ann /home/ann/w.safetensors /home/ann/imagenet\n"
    assert done == (0, printed, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command("--workdir=x", "--config=~/good.py").returncode == 0


def test_a_bug_keeps_its_traceback_and_an_interrupt_exits_with_130():
    with pytest.raises(ValueError, match="a bug"):
        command("--workdir=bug")
    with pytest.raises(FileNotFoundError):
        command("--workdir=lost")
    done = command("--workdir=wait")
    assert done.returncode == 130 and done.stderr.endswith("interrupted.\n")


def test_a_signal_inside_a_callback_of_the_garbage_collector_is_sent_again():
    def callback(phase, info):
        gc.callbacks.remove(callback)
        signal.raise_signal(signal.SIGTERM)

    def collect():
        gc.callbacks.append(callback)
        gc.collect()
        assert callback not in gc.callbacks
        time.sleep(10)

    assert call(lambda: None, collect) == (130, "", "interrupted.\n")


@pytest.mark.parametrize(
    ("say", "status"),
    [(print, 0), (lambda line: print(line, flush=True), 130), (lambda line: Printer()(line), 130)],
    ids=["at the end", "at once", "progress"],
)
def test_a_command_whose_output_nobody_reads_ends_silently(unread, say, status):
    def main():
        sys.stdout = unread  # until ``call`` restores its own
        say("done")

    assert call(lambda: None, main) == (status, "", "")
    unread.write("more")  # is discarded


def print_more_than_the_buffer(line):
    print(line)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    "say",
    [print, lambda line: Printer()(line), print_more_than_the_buffer],
)
def test_output_to_a_full_disk_ends_in_one_sentence(say):
    with open("/dev/full", "w") as full:

        def main():
            sys.stdout = full
            say("done")

        assert call(lambda: None, main) == (2, "", "standard output: No space left on device.\n")
        full.write("more")  # is discarded


def test_a_broken_pipe_that_is_not_stdout_is_a_bug():
    def main():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        call(lambda: None, main)


def test_commands_compute_in_float32(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    jax.config.update("jax_enable_x64", True)
    try:
        done = call(lambda: None, lambda: print(jnp.zeros(1).dtype, os.environ["JAX_ENABLE_X64"]))
    finally:
        jax.config.update("jax_enable_x64", False)
    assert done == (0, "float32 0\n", "")


def test_a_missing_platform_is_named(monkeypatch):
    devices, before = jax.devices, jax.config.jax_platforms

    def absent():
        assert jax.config.jax_platforms != "cuda"  # jax's own error
        return devices()

    monkeypatch.setattr(jax, "devices", absent)
    jax.config.update("jax_platforms", "cuda")
    try:
        done = call(lambda: None, jax.devices)
    finally:
        jax.config.update("jax_platforms", before)
    sentence = "JAX_PLATFORMS=cuda names no device of this machine; unset it or set it to cpu.\n"
    assert done == (2, "", sentence)


def shell(*arguments, **environment):
    """Runs Python in a new process."""
    environment |= {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_a_process_reads_the_environment():
    command = "import jax; from mmnet_jax.cli import command; command.run(lambda: print(jax.numpy.zeros(1).dtype))"
    done = shell("-c", command, JAX_PLATFORMS="cpu", JAX_ENABLE_X64="1")
    assert (done.returncode, done.stdout) == (0, "float32\n")
    done = shell("-c", command, JAX_PLATFORMS="abacus")
    assert done.returncode == 2 and done.stderr.startswith("JAX_PLATFORMS=abacus names no device of this machine")


def test_help_config_lists_every_field():
    done = call(train.define_flags, train.main, "--help-config")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(FIELDS)
    assert "  --config.quality.module=qmm|mean|attention (default: qmm)" in lines
    assert "  --config.shots=1 to 100 (default: 1)" in lines
    assert all(any(field.help == line.strip() for line in lines) for field in FIELDS.values())
    (where,) = (at for at, line in enumerate(lines) if line.startswith("  --config.model.cosine_on="))
    assert "(default: activations in the paper's reading, logits in the released)" in lines[where]


def test_a_process_exits_with_0_after_help_and_1_after_a_bug():
    done = shell("-m", "mmnet_jax.train", "--help")
    assert done.returncode == 0
    assert all(f"--{flag}:" in done.stdout for flag in ("config", "workdir")) and "--[no]help-config:" in done.stdout
    done = shell("-c", "from mmnet_jax.cli import command; command.run(lambda: int('x'))")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ValueError: invalid literal" in done.stderr
