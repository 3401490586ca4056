"""A training killed at several moments ends with the result of an uninterrupted one."""

import sys

import pytest

from tests.kill_chain import Ended, Moment, draw_moments, result_of, run, run_chain

COMMAND = [sys.executable, "-m", "tests.tiny_chain", "--workdir={folder}/run", "--config.data.data_dir={folder}/data"]
IGNORED = ["date", "commit", "changes_sha256"]  # the checkout may change while this runs


def test_moments_are_drawn_over_all_stages():
    lines = [(2.0, "[1/2] training: MM-Net's head"), (3.0, "step 1/9"), (42.0, "[2/2] evaluation: 9 episodes")]
    whole = Ended(0, lines, seconds=82.0)
    moments = draw_moments(whole, 40, at_writes=0.25, seed=0)
    assert sum(moment.writing for moment in moments) == 10
    assert all(moment.stage in (0, 1) and 0 <= moment.after <= 40 for moment in moments)
    assert 10 < sum(moment.stage for moment in moments) < 30
    assert moments == sorted(moments) and isinstance(moments[0], Moment)


@pytest.mark.slow
def test_kills_while_checkpoints_are_written_change_nothing(tmp_path, monkeypatch):
    for name, value in {
        "XLA_FLAGS": "",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),  # each process compiles the same programs
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }.items():
        monkeypatch.setenv(name, value)
    whole = run(COMMAND, tmp_path / "whole")
    assert [stage for _, stage in whole.stages()] == ["data", "pretraining", "training", "evaluation"], whole.lines
    moments = [Moment(stage, 0.0, writing=True) for stage in (1, 2)]
    rows = run_chain(COMMAND, tmp_path / "killed", moments, result_of(tmp_path / "whole", IGNORED), IGNORED)
    assert [row[0] for row in rows] == ["pretraining", "training"] and rows[-1][-1] == "yes", rows
