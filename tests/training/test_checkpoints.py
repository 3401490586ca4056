"""Checkpoints: which are kept, and logs and checkpoints on a full disk or damaged."""

import errno
import os
import shutil
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.errors import UserError
from mmnet_jax.training.state import TrainState
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.log import MetricLog
from tests.training.tiny_training import no_file_above, tiny_config, train_tiny

FULL = "/dev/full"


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")
def test_a_log_on_a_full_disk_is_named(tmp_path):
    with MetricLog(tmp_path, 0) as log:
        log.write(1, loss=2.0)
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to(FULL)
        with pytest.raises(OSError) as error:
            log.write(2, loss=1.0)
        assert error.value.errno == errno.ENOSPC and error.value.filename == str(tmp_path / "metrics.jsonl")


def test_events_on_a_full_disk_raise_an_error_with_their_folder(tmp_path, monkeypatch):
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
    """Waits for the writes that TensorStore's threads have not ended, since one has failed."""
    seen = None
    while seen != (seen := sorted(folder.rglob("*"))):
        time.sleep(0.5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's threads
def test_a_checkpoint_on_a_full_disk_raises_and_the_one_before_is_whole(tmp_path):
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


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path):
    with Checkpoints(tmp_path, tiny_config(keep_latest=1, keep_best=1)) as checkpoints:
        for step, miou in {2: 1.0, 4: 9.0, 6: 2.0, 8: 3.0}.items():
            checkpoints.save(state(step), miou)
        checkpoints.wait()
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == [4, 8]
        assert [checkpoints.find(which) for which in ("best", "latest", "4")] == [4, 8, 4]
        with pytest.raises(UserError, match="no checkpoint of step 6; it has 4, 8"):
            checkpoints.find("6")
        with pytest.raises(UserError, match="best, latest or a step, but is 'newest'"):
            checkpoints.find("newest")


def test_a_damaged_checkpoint_is_refused(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.workdir.path, copy)
    for path in (copy / "checkpoints" / "8" / "model").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    for use in (lambda path: load_model(path, "latest"), train_tiny):
        with pytest.raises(UserError, match="cannot be read"):
            use(copy)
