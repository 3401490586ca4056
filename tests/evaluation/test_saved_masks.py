"""Predicted masks on disk: all of them or none, and to the pixel what was counted."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.saved_masks import mask_names, saved_masks
from tests.evaluation import reference


def test_the_masks_of_an_evaluation_are_those_that_it_counted(network, config, dataset, tmp_path):
    manifest = configured_manifest(dataset, config, episodes=13)
    with saved_masks(tmp_path / "masks", [321], 13) as save:
        result = evaluate(*network, config, dataset, manifest, save_mask=save)
    files = sorted((tmp_path / "masks").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(13)]
    for i, (file, spec) in enumerate(zip(files, manifest.specs(dataset), strict=True)):
        mask = np.asarray(Image.open(file))
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
        label = dataset.test.read_label(spec.query, spec.class_id)
        intersection, union = reference.mask_counts(mask == 255, label)
        assert (result.intersection[i].tolist(), result.union[i].tolist()) == (intersection, union)


def test_several_seeds_have_a_folder_each():
    assert mask_names([510, 365], 2) == [f"seed{seed}/00000{i}.png" for seed in (510, 365) for i in (0, 1)]


def test_masks_that_are_cut_off_leave_nothing(tmp_path):
    folder = tmp_path / "a" / "masks"
    with pytest.raises(RuntimeError), saved_masks(folder, [510, 365], 1) as save:
        save(1, np.ones((2, 3), bool))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with saved_masks(folder, [510, 365], 1) as save:
        save(0, np.zeros((2, 3), bool))
        save(1, np.array([[True, False, True]]))
    assert np.asarray(Image.open(folder / "seed365" / "000000.png")).tolist() == [[255, 0, 255]]
