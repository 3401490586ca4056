"""The sheet of evaluated episodes by its pixels."""

import numpy as np

from mmnet_jax.drawing.images import fit_size, heat
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.ops.resize import resize_on_host


def test_a_sheet_has_a_row_for_each_sample_and_a_column_for_each_image(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=2, protocol="pfenet", seed=0, min_pixels=20, episodes=8)
    result = evaluate(*network, config, dataset, manifest, samples=3)
    assert len(result.samples) == 3
    sheet = episode_sheet(result, dataset)
    # a row is as high as its highest tile: 150 pixels where one of them is upright, less where all are wide
    episodes = [manifest.episodes[sample.episode] for sample in result.samples]
    shapes = [[dataset.test.read_mask(i).shape for i in (e.query, *e.supports)] for e in episodes]
    heights = [max(fit_size(shape, 150)[0] for shape in row) for row in shapes]
    assert sheet.shape == (22 + sum(heights) + 3 * 6, 96 + (2 + 4 + 3) * 156, 3)
    # the last tile is the heat of the last activation, without the query's padding
    sample = result.samples[-1]
    height, width = fit_size(sample.predicted.shape, 150)
    expected = heat(resize_on_host(sample.activations[-1], (150, 150))[:height, :width])
    left, top = 96 + 8 * 156, sheet.shape[0] - 6 - heights[-1]
    shown = sheet[top : top + height, left : left + width]
    np.testing.assert_array_equal(shown[30:], expected[30:])  # its number stands above
    assert (sheet[top : top + height, left + width :] == 255).all()
