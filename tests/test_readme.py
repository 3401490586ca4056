"""What the README tells people to type works as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from mmnet_jax.config import READINGS, from_dict, resolve
from mmnet_jax.training import loop
from mmnet_jax.training.checkpoints import Checkpoints
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.workdir import Workdir
from tests.training.tiny_training import tiny_config, tiny_parts

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with a workdir at runs/fold1 and the pictures that the README names."""
    patches = tiny_parts()
    for patch in patches:
        patch.start()
    config, workdir = tiny_config(), Workdir(tmp_path / "runs" / "fold1")
    workdir.create(config)
    model, variables = loop.build_model(config), workdir.frozen(config)
    variables["params"] = loop.init_head(model, 0)
    with Checkpoints(workdir.checkpoints, config) as checkpoints:
        checkpoints.save(create_state(variables, create_optimizer(config, 1), config))
    draw = np.random.default_rng(0)
    for name in ("cow", "meadow"):
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"{name}.jpg")
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:30] = 200
    Image.fromarray(mask).save(tmp_path / "cow_mask.png")
    monkeypatch.chdir(tmp_path)
    yield
    for patch in patches:
        patch.stop()


@pytest.mark.usefixtures("trained")
def test_the_library_example_runs():
    (example,) = blocks("python")
    names = {}
    exec(example, names)
    assert names["mask"].shape == (1, 33, 33)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["prediction"]))


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def test_every_file_that_a_command_names_exists():
    for name in {word for line in COMMANDS for word in re.findall(r"(?:configs|scripts)/\w+\.py", line)}:
        assert (Path(__file__).parents[1] / name).is_file(), name


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_every_flag_of_a_command_exists(command):
    lines = [line for line in COMMANDS if f"-m mmnet_jax.{command}" in line]
    assert lines
    run = subprocess.run([sys.executable, "-m", f"mmnet_jax.{command}", "--help"], capture_output=True, text=True)
    assert run.returncode == 0
    known = set(re.findall(r"--(?:\[no\])?(\w+)", run.stdout))
    for word in (word for line in lines for word in shlex.split(line) if word.startswith("--")):
        assert re.split(r"[=.]", word[2:])[0] in known, word


def test_every_config_field_it_names_exists():
    for field in set(re.findall(r"--config\.([\w.]+)=", README)) | set(
        re.findall(r"`((?:model|loss|quality)\.\w+)`", README)
    ):
        section = resolve(from_dict({}))
        for name in field.split("."):
            assert name in section, field
            section = section[name]


def test_the_table_of_readings_names_every_choice():
    table = README[README.index("## The two readings") :]
    assert all(f"`{field}`" in table for field in READINGS["paper"])
