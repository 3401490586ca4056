"""``pytest docs`` runs the Python blocks of the pages: one namespace and one empty folder per page."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A page's working folder, with the dataset ``leaves``: six noise images per split, with two of four classes."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        (folder / "leaves" / split).mkdir(parents=True)
        for i, name in enumerate("abcdef"):
            mask = np.zeros((40, 48), np.uint8)
            mask[4:36, 4:20], mask[4:36, 28:44] = (1, 3) if i % 2 else (2, 4)
            Image.fromarray(mask).save(folder / "leaves" / split / f"{name}.png")
            noise = random.integers(0, 255, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "leaves" / split / f"{name}.jpg")
    os.chdir(folder)
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    excludes=["own_data.md"],  # tests/data/datasets/test_own_data_page.py makes what those blocks read
    fixtures=["folder"],
).pytest()
