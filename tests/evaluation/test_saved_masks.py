"""Predicted masks on disk: their names, and all of them or none."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.evaluation.saved_masks import mask_names, saved_masks


def test_several_seeds_have_a_folder_each():
    assert mask_names([510, 365], 2) == [f"seed{seed}/00000{i}.png" for seed in (510, 365) for i in (0, 1)]


def test_an_interrupted_write_of_masks_leaves_nothing(tmp_path):
    folder = tmp_path / "a" / "masks"
    with pytest.raises(RuntimeError), saved_masks(folder, [510, 365], 1) as save:
        save(1, np.ones((2, 3), bool))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with saved_masks(folder, [510, 365], 1) as save:
        save(0, np.zeros((2, 3), bool))
        save(1, np.array([[True, False, True]]))
    assert np.asarray(Image.open(folder / "seed365" / "000000.png")).tolist() == [[255, 0, 255]]
