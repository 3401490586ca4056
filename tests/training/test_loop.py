from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.errors import UserError
from mmnet_jax.training import loop
from mmnet_jax.training.stages import train
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_training import tiny_config, tiny_parts

ENVIRONMENT = {
    **os.environ,
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as in the tests' own process
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    patches = tiny_parts()
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir trained without interruption, and the lines that were said."""
    patches = tiny_parts()
    for patch in patches:
        patch.start()
    workdir, lines = Workdir(tmp_path_factory.mktemp("finished") / "run"), []
    train(tiny_config(), workdir, lines.append)
    for patch in patches:
        patch.stop()
    return workdir, lines


def final_parameters(workdir):
    return jax.tree.map(np.asarray, load_model(workdir.path, "latest")[1]["params"])


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_training_leaves_a_workdir_that_loads(finished):
    workdir, lines = finished
    model, variables, config = load_model(workdir.path)
    assert config.fold == 1 and model.memory_size == 7
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))
    assert {path.name for path in workdir.path.iterdir()} == {
        ".lock",
        "config.json",
        "backbone.safetensors",
        "checkpoints",
        "log",
        "results",
    }
    assert (workdir.results / "training.png").stat().st_size > 1000
    assert any(re.search(r"step 8/8 +loss [\d.]+ \(main .* episodes/s  ETA 0m00s", line) for line in lines)


def test_the_log_has_every_term_as_lines_and_as_tensorboard_events(finished):
    workdir, _ = finished
    records = [json.loads(line) for line in (workdir.log / "metrics.jsonl").read_text().splitlines()]
    losses = [r for r in records if "total" in r]
    assert [r["step"] for r in losses] == [1, 2, 4, 6, 8]
    for r in losses:
        np.testing.assert_allclose(r["total"], r["main"] + r["auxiliary"] + 0.1 * r["reconstruction"], rtol=1e-5)
    assert [r["step"] for r in records if "miou" in r] == [4, 8]
    np.testing.assert_allclose(losses[0]["learning_rate"], 0.025 * (1 - 1 / 8) ** 0.9, rtol=1e-6)
    assert list(workdir.log.glob("events.out.tfevents*"))


def test_kill_9_and_resume_ends_at_the_same_parameters_bit_for_bit(finished, tmp_path):
    workdir = Workdir(tmp_path / "run")
    command = [sys.executable, "-m", "tests.training.tiny_training", str(workdir.path), "step 6/8"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    for line in process.stdout:
        if line.startswith("step 6/8"):
            break
    wait_for(workdir.checkpoints / "4")  # written in the background
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    lines = []
    train(tiny_config(), workdir, lines.append)
    assert f"resuming {workdir.path} at step 4 of 8" in lines
    assert_same_bits(final_parameters(workdir), final_parameters(finished[0]))
    steps = [json.loads(line)["step"] for line in (workdir.log / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps.count(6) == 1


def test_two_processes_train_what_one_does(finished, tmp_path):
    workdir = Workdir(tmp_path / "run")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.tiny_training", str(workdir.path), "never"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **ENVIRONMENT,
                "XLA_FLAGS": "",
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(number),
            },
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert ", 2 cpu device(s)" in outputs[0][0] and "step" not in outputs[1][0]
    result = json.loads((workdir.results / "result.json").read_text())
    assert result["hardware"] == "2 x cpu" and result["step"] in (4, 8)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        final_parameters(workdir),
        final_parameters(finished[0]),
    )
    losses = [
        [
            r["total"]
            for line in (place.log / "metrics.jsonl").read_text().splitlines()
            if "total" in (r := json.loads(line))
        ]
        for place in (workdir, finished[0])
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_an_interrupt_saves_a_checkpoint_and_resuming_ends_at_the_same_parameters(finished, tmp_path):
    workdir = Workdir(tmp_path / "run")

    def interrupt(line):
        if line.startswith("step 2/8"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped at step 3 of 8; a checkpoint is saved"):
        train(tiny_config(), workdir, interrupt)
    train(tiny_config(), workdir, lambda line: None)
    assert_same_bits(final_parameters(workdir), final_parameters(finished[0]))


def test_an_interrupt_at_an_evaluating_step_does_not_lose_the_evaluation(finished, tmp_path):
    workdir = Workdir(tmp_path / "run")

    def interrupt(line):
        if line.startswith("step 2/8"):
            os.kill(os.getpid(), signal.SIGINT)

    config = tiny_config(evaluate_every=3, checkpoint_every=3)
    with pytest.raises(Stopped, match="stopped at step 3"):
        train(config, workdir, interrupt)
    with Checkpoints(workdir.checkpoints, config, read_only=True) as checkpoints:
        assert checkpoints.find("best") == 3
    records = [json.loads(line) for line in (workdir.log / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "miou" in r] == [3]


def test_a_workdir_without_a_checkpoint_may_begin_anew_with_another_config(tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.create(tiny_config())
    config = tiny_config(steps=1, batch_size=2)
    train(config, workdir, lambda line: None)
    assert workdir.load_config().training.batch_size == 2


def test_resuming_with_other_weights_is_refused(finished, tmp_path):
    config = tiny_config()
    config.model.weights = str(tmp_path / "other.safetensors")
    Path(config.model.weights).write_bytes(b"other")
    with pytest.raises(UserError, match=r"other weights than model\.weights = "):
        train(config, finished[0])


def test_a_finished_training_is_not_trained_again(finished):
    before = final_parameters(finished[0])
    train(tiny_config(), finished[0], lambda line: None)
    assert_same_bits(final_parameters(finished[0]), before)


def test_resuming_with_another_config_is_refused_by_field(finished):
    config = tiny_config()
    config.optimizer.learning_rate = 0.01
    config.training.log_every = 7  # changes nothing that is computed
    with pytest.raises(UserError, match=r"another config \(optimizer.learning_rate: 0.025 -> 0.01\); choose a new one"):
        train(config, finished[0])


def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(tmp_path):
    config = tiny_config(evaluate_every=0, log_every=4)
    config.optimizer.learning_rate = 1e6
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(UserError, match=r"(loss of|parameters after) step [1-8] .*there is no checkpoint yet"):
        train(config, workdir, lambda line: None)
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_model(workdir.path)


def test_the_newest_and_the_best_checkpoints_are_kept(tmp_path, monkeypatch):
    scores = iter([1.0, 9.0, 2.0, 3.0])
    monkeypatch.setattr(loop, "evaluate_now", lambda *arguments: next(scores))
    config = tiny_config(checkpoint_every=2, evaluate_every=2, keep_latest=1, keep_best=1)
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, lambda line: None)
    checkpoints = Checkpoints(workdir.checkpoints, config, read_only=True)
    assert sorted(int(p.name) for p in workdir.checkpoints.iterdir() if p.name.isdigit()) == [4, 8]
    assert [checkpoints.find(which) for which in ("best", "latest", "4")] == [4, 8, 4]
    with pytest.raises(UserError, match="no checkpoint of step 6; it has 4, 8"):
        checkpoints.find("6")
    with pytest.raises(UserError, match="best, latest or a step, but is 'newest'"):
        checkpoints.find("newest")


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a workdir: it has no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not a config of this package"):
        load_model(tmp_path)


def test_a_damaged_checkpoint_is_told(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0].path, copy)
    for path in Path(copy / "checkpoints" / "8" / "model").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        load_model(copy, "latest")
    with pytest.raises(UserError, match="cannot be read"):
        train(tiny_config(), Workdir(copy), lambda line: None)
