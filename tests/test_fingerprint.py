"""What changes the fingerprint of the code, and what does not."""

from __future__ import annotations

import shutil

import pytest

from mmnet_jax import fingerprint
from mmnet_jax.config import get_config, resolve


@pytest.fixture
def of_copy(tmp_path, monkeypatch):
    """Fingerprints of a copy of the package, in which files can be changed."""
    shutil.copytree(fingerprint.ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path / "copy")

    def compute(**fields):
        config = get_config()
        config.model.update(fields)
        fingerprint._fingerprint.cache_clear()
        return fingerprint.code_fingerprint(resolve(config))

    yield tmp_path / "copy", compute
    fingerprint._fingerprint.cache_clear()


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_numbers_change_it_words_do_not(of_copy):
    root, compute = of_copy
    before = compute()
    assert before == compute() and len(before) == 16
    change(root / "losses.py", '"""', '"""Other words. ')
    change(root / "losses.py", "\n\n\ndef", "\n\n\n# a remark\n\n\ndef")
    change(root / "training" / "log.py", "import json", "import json, math")
    assert compute() == before
    change(root / "ops" / "memory.py", "import jax", "import jax as jax")
    assert compute() != before


def test_another_backbone_is_another_matter(of_copy):
    root, compute = of_copy
    before = compute(), compute(backbone="efficientnet_lite2")
    change(root / "models" / "backbones" / "resnet.py", "import jax", "import jax as jax")
    after = compute(), compute(backbone="efficientnet_lite2")
    assert before[0] != after[0] and before[1] == after[1]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "models/backbones/__init__.py",
            '"resnet50_v2": lambda: ResNet(depths=(3, 4, 6, 3)',
            '"resnet50_v2": lambda: ResNet(depths=(3, 4, 5, 3)',
        ),
        ("models/backbones/__init__.py", "seed: int = 0", "seed: int = 1"),
        ("training/loop.py", "step - 1", "step - 2"),
        ("training/stages.py", "resumed = ", "again = "),
        ("evaluation/scoring.py", "SAMPLES = 12", "SAMPLES = 13"),
        ("data/dataset.py", "self.records[i]", "self.records[-i]"),
        ("data/records.py", "packed: Sequence", "given: Sequence"),
    ],
)
def test_what_chooses_data_steps_and_depths_changes_it(of_copy, file, old, new):
    root, compute = of_copy
    before = compute()
    change(root / file, '"""', '"""Other words. ')
    assert compute() == before
    change(root / file, old, new)
    assert compute() != before


def test_a_new_backbone_leaves_old_results_alone(of_copy):
    root, compute = of_copy
    before = compute()
    registry = root / "models" / "backbones" / "__init__.py"
    change(registry, '    "resnet50": ', '    "resnet8": lambda: ResNet(depths=(1, 1, 1, 0)),\n    "resnet50": ')
    change(registry, "import jax\n", "import jax\nimport math\n")
    change(registry, '    "BACKBONES",\n', "")
    assert compute() == before


def test_every_file_it_leaves_out_exists():
    for name in fingerprint.WITHOUT_NUMBERS | fingerprint.PRETRAINING:
        assert (fingerprint.ROOT / name).is_file(), name


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("features/computing.py", True),
        ("data/fitting.py", True),
        ("data/images.py", True),
        ("data/geometry.py", True),
        ("ops/resize.py", True),
        ("models/network.py", True),
        ("models/backbones/resnet.py", True),
        ("models/backbones/convolution.py", True),
        ("models/backbones/vgg.py", False),
        ("models/fem.py", False),
        ("losses.py", False),
        ("features/store.py", False),
    ],
)
def test_stored_features_are_those_of_the_code_that_makes_them(of_copy, file, changes):
    root, _ = of_copy
    before = fingerprint.features_fingerprint("resnet50_v2")
    with (root / file).open("a") as text:
        text.write("\nANOTHER = 1\n")
    assert (fingerprint.features_fingerprint("resnet50_v2") != before) == changes
