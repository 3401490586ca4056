"""The train command's last lines and exit status, with a fake for the training itself."""

import errno
import os
import shlex
from pathlib import Path

import pytest

from mmnet_jax import train
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.evaluation.checkpoint import Scored
from mmnet_jax.training import stages
from tests.cli.call import call

ARGUMENTS = ["--config=pascal_small", "--workdir=my run"]
RESUME = f"to resume: python -m mmnet_jax.train {ARGUMENTS[0]} '--workdir=my run'\n"
NOT_USED = "cannot be written or read"
INTACT = "; earlier checkpoints are intact, and the same command resumes from them.\n"


def os_error(number, *place):
    return OSError(number, os.strerror(number), *place)


def command(monkeypatch, stage, *arguments):
    monkeypatch.setattr(stages, "train", stage)
    return call(train.define_flags, train.main, *arguments)


@pytest.mark.parametrize(
    ("event", "status", "output", "error"),
    [
        (Stopped("stopped at step 3."), 130, "stopped at step 3.\n" + RESUME, ""),
        (KeyboardInterrupt(), 130, "interrupted.\n" + RESUME, ""),
        (os_error(errno.ENOSPC, "run/log"), 2, "", f"run/log {NOT_USED}: No space left on device{INTACT}"),
        (os_error(errno.EDQUOT), 2, "", f"my run {NOT_USED}: Disk quota exceeded{INTACT}"),
    ],
)
def test_an_interrupt_or_a_full_disk_is_reported_with_how_to_resume(monkeypatch, event, status, output, error):
    def stage(config, workdir, say):
        say("[1/1] training")
        raise event

    assert command(monkeypatch, stage, *ARGUMENTS) == (status, "[1/1] training\n" + output, error)


def test_a_finished_training_prints_its_result_and_a_predict_command(monkeypatch):
    scores = {"miou": 41.0, "interval95": [40.0, 42.0], "fb_iou": 60.0, "class_iou": {"bus": 41.0}}
    summary = scores | {"dataset": "creatures", "fold": 0, "shots": 1, "protocol": "pfenet", "episodes": 9}
    summary |= {"seeds": [3], "left_out": [], "baselines": {"confidence": scores | {"threshold": 0.5}}}
    files = [
        Path("my run/results").absolute() / name for name in ("result.json", "b", "result.sheet.png", "report.html")
    ]
    done = command(monkeypatch, lambda config, workdir, say: Scored(summary, files, fresh=True), *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert "mIoU 41.00 [40.00, 42.00]" in done.stdout and "figures: my run/results/result.sheet.png and" in done.stdout
    last = done.stdout.splitlines()[-1]
    words = shlex.split(last[last.index("python -m") :])
    assert words[:4] == ["python", "-m", "mmnet_jax.predict", "--workdir=my run"]
    images = [f"--{name}=my run/results/example/{name}.png" for name in ("support", "mask", "query")]
    assert words[4:] == [*images, "--output=my run/results/found"]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["--config.reading=released", "--config=pascal_small"], ("batch", "logits", 1)),
        (["--config=pascal_small", "--config.model.cosine_on=activations", "--config.reading=released"], None),
        (["--config=photographs:released", "--config.model.cosine_on=activations"], None),
        (["--config=ablations:fcm_only", "--config.reading=released"], ("batch", "logits", 1)),
    ],
)
def test_the_reading_is_applied_first_in_any_order_of_flags(monkeypatch, arguments, fields):
    seen = []
    command(monkeypatch, lambda config, workdir, say: seen.append(config), *arguments, "--workdir=x")
    (config,) = seen
    model = config.model
    assert config.reading == "released"
    assert (model.batch_norm, model.cosine_on, model.projection_kernel) == (fields or ("batch", "activations", 1))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workdir=x"], "--config is missing: give a file of configs/, as in --config=configs/pascal_1shot.py.\n"),
        (["--config=pascal_1shot"], "--workdir is missing: give the folder to train in.\n"),
        ([*ARGUMENTS, "--config.fold=4"], "fold of pascal5i must be 0 to 3, but is 4.\n"),
    ],
)
def test_missing_flags_and_fields_out_of_range_are_named(monkeypatch, arguments, sentence):
    assert command(monkeypatch, pytest.fail, *arguments) == (2, "", sentence)
