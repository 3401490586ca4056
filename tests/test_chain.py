"""The train command killed, and its result compared with that of one left alone."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill_chain import Ended, Moment, draw_moments, result_of

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "tests.tiny_chain"]


def environment(cache):
    return {
        **os.environ,
        "XLA_FLAGS": "",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),  # the same programs are compiled again and again
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def start(folder, cache, *arguments):
    flags = [f"--workdir={folder / 'run'}", f"--config.data.data_dir={folder / 'data'}"]
    return subprocess.Popen(
        [*COMMAND, *flags, *arguments], cwd=ROOT, env=environment(cache), stdout=subprocess.PIPE, text=True
    )


def kill_at(line, folder, cache):
    """Lets a training run to a line of its output, and kills it there."""
    process = start(folder, cache, f"--stop_at={line}")
    said = []
    for text in process.stdout:
        said.append(text)
        if text.startswith(line):
            break
    process.kill()
    assert process.wait() == -signal.SIGKILL, "".join(said)
    return "".join(said)


@pytest.mark.slow
def test_a_chain_killed_in_training_ends_with_the_result_of_one_left_alone(tmp_path):
    cache = tmp_path / "cache"
    alone = start(tmp_path / "alone", cache)
    said = alone.communicate(timeout=300)[0]
    assert alone.returncode == 0, said

    killed = tmp_path / "killed"
    kill_at("step 8/8", killed, cache)  # of training, whose checkpoint of step 6 may or may not be whole
    last = start(killed, cache)
    said = last.communicate(timeout=300)[0]
    assert last.returncode == 0 and "there already" in said and "done before\n" in said, said
    assert re.search(r"resuming .* at step [36] of 8", said), said
    # the checkout may change while this runs
    assert result_of(killed, ["date", "commit", "changes_sha256"]) == result_of(
        tmp_path / "alone", ["date", "commit", "changes_sha256"]
    )


def test_moments_are_drawn_over_all_stages():
    lines = [(2.0, "[1/2] training: MM-Net's head"), (3.0, "step 1/9"), (42.0, "[2/2] evaluation: 9 episodes")]
    whole = Ended(0, lines, seconds=82.0)
    moments = draw_moments(whole, 40, at_writes=0.25, seed=0)
    assert sum(moment.writing for moment in moments) == 10
    assert all(moment.stage in (0, 1) and 0 <= moment.after <= 40 for moment in moments)
    assert 10 < sum(moment.stage for moment in moments) < 30
    assert moments == sorted(moments) and isinstance(moments[0], Moment)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path):
    program = [sys.executable, "-m", "tests.kill_chain", "--kills=2", "--per_chain=2", "--ignore=date,commit", "--"]
    flags = ["--workdir={folder}/run", "--config.data.data_dir={folder}/data"]
    done = subprocess.run(
        [*program, *COMMAND, *flags], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 chains ended with the same result" in done.stdout
