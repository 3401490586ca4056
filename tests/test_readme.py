"""Commands, links, names and messages in the README and the pages of docs/ are valid."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from mmnet_jax.config import FIELDS, READING_FIELDS, load_recipe, resolve
from mmnet_jax.config.values import dataset_choice, network_settings, sgd
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.creatures.builder import creatures
from mmnet_jax.data.prepare import ensure_dataset
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
TEXT = "\n".join(PAGES.values())


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with what the quickstart writes, ``runs/quickstart`` and ``data``, of a small network and dataset."""
    monkeypatch.setitem(DATASETS, "creatures", creatures(train=4, val=24))
    monkeypatch.chdir(tmp_path)
    config = load_recipe("quickstart")
    config.pretraining.dataset, config.model.random_backbone, config.model.backbone = "none", True, "tiny"
    config, workdir = resolve(config), Workdir(tmp_path / "runs" / "quickstart")
    ensure_dataset(*dataset_choice(config)[:3], lambda line: None)
    workdir.create(config)
    model = build_model(network_settings(config))
    variables = workdir.frozen(model, config)
    variables["params"] = init_head(model, 0)
    with Checkpoints(workdir.checkpoints, config) as checkpoints:
        checkpoints.save(create_state(variables, create_optimizer(sgd(config, 1)), model.batch_statistics))


@pytest.mark.usefixtures("trained")
def test_the_library_example_runs():
    (example,) = blocks("python")
    names = {}
    exec(example, names)
    size = names["config"].data.image_size
    assert names["found"].shape == (1, size, size)
    assert (names["label"] == 1).mean() > 0.1  # the image has the class that the example names
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["prediction"]))


COMMANDS = [line for block in blocks("bash", TEXT) for line in block.replace("\\\n", " ").splitlines()]


def test_every_file_that_a_command_names_exists():
    for name in {word for line in COMMANDS for word in re.findall(r"(?:configs|scripts)/\w+\.py", line)}:
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_every_flag_of_a_command_exists(command):
    lines = [line for line in COMMANDS if f"-m mmnet_jax.{command}" in line]
    assert lines
    with flagsaver.flagsaver():
        before = set(flags.FLAGS)
        importlib.import_module(f"mmnet_jax.{command}").define_flags()
        known = set(flags.FLAGS) - before
    for word in (word for line in lines for word in shlex.split(line) if word.startswith("--")):
        assert re.split(r"[=.]", word[2:])[0] in known, word


def test_every_link_to_a_file_is_valid():
    links = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text)]
    links = [(page, link) for page, link in links if "://" not in link]
    assert len(links) >= 20
    assert [link for page, link in links if not (page.parent / link).is_file()] == []


def test_every_config_field_that_is_named_exists():
    named = re.findall(r"--config\.([\w.]+)=", TEXT) + re.findall(r"`((?:model|loss|quality)\.\w+)`", TEXT)
    assert named and set(named) <= FIELDS.keys()


def test_the_table_of_readings_names_every_choice():
    table = README[README.index("## The two readings") :]
    assert all(f"`{field}`" in table for field in READING_FIELDS)


def strings_of_the_code():
    """Every string of the package and the scripts, values of f-strings as ``…``."""
    for path in [*(ROOT / "mmnet_jax").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)


def test_every_message_in_troubleshooting_is_a_message_of_the_code():
    quoted = re.findall(r"^\*\*`(.+)`\*\*$", PAGES[ROOT / "docs" / "troubleshooting.md"], re.MULTILINE)
    known = "\n".join(strings_of_the_code())
    assert len(quoted) > 20
    assert [message for message in quoted if message not in known] == []
