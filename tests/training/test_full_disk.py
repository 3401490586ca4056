"""Disks that take no more: the place is named, and what was saved before stays whole."""

import errno
import os
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.training.state import TrainState
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.log import MetricLog
from tests.training.tiny_training import no_file_above, tiny_config

FULL = "/dev/full"


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")
def test_a_log_that_finds_no_room_is_named(tmp_path):
    with MetricLog(tmp_path, 0) as log:
        log.write(1, loss=2.0)
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to(FULL)
        with pytest.raises(OSError) as error:
            log.write(2, loss=1.0)
        assert error.value.errno == errno.ENOSPC and error.value.filename == str(tmp_path / "metrics.jsonl")


def test_events_that_find_no_room_are_told_and_do_not_hang(tmp_path, monkeypatch):
    refuse = mock.Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with MetricLog(tmp_path, 0) as log:
        with monkeypatch.context() as patch, pytest.raises(OSError) as error:
            patch.setattr("tensorboardX.event_file_writer.EventsWriter.flush", refuse)
            log.write(1, loss=2.0)
        assert error.value.errno == errno.ENOSPC and error.value.filename == str(tmp_path)


def state(step):
    values = jax.random.normal(jax.random.key(step), (20_000,))
    return TrainState(jnp.int32(step), {"kernel": values}, {"momentum": values + 1}, {})


def wait_until_still(folder):
    """Until TensorStore's threads have ended the writes that nobody waits for once one has failed."""
    seen = None
    while seen != (seen := sorted(folder.rglob("*"))):
        time.sleep(0.5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's threads
def test_a_checkpoint_that_finds_no_room_is_told_and_the_one_before_is_whole(tmp_path):
    config = tiny_config(keep_latest=1)
    with Checkpoints(tmp_path / "checkpoints", config) as checkpoints:
        checkpoints.save(state(1))
        checkpoints.wait()
        with no_file_above(30_000), pytest.raises(OSError) as error:
            checkpoints.save(state(2))
            checkpoints.wait()
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "checkpoints")
    wait_until_still(tmp_path / "checkpoints")
    with Checkpoints(tmp_path / "checkpoints", config) as checkpoints:
        assert checkpoints.latest() == 1
        found = checkpoints.restore(1, jax.tree.map(jnp.zeros_like, state(1)))
        np.testing.assert_array_equal(found.params["kernel"], state(1).params["kernel"])
        checkpoints.save(state(2))  # there is room again
        checkpoints.wait()
        assert checkpoints.latest() == 2
