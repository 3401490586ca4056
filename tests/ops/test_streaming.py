import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops.streaming import block_size, split_blocks


@pytest.mark.parametrize(
    ("positions", "size", "blocks"), [(1, 1, 1), (441, 441, 1), (625, 320, 2), (3600, 456, 8), (6561, 512, 13)]
)
def test_blocks_share_the_positions_evenly(positions, size, blocks):
    split = split_blocks(jnp.arange(1.0, positions + 1)[None, :, None])
    assert block_size(positions) == size and split.shape == (1, blocks, size, 1)
    np.testing.assert_array_equal(split.ravel()[:positions], np.arange(1, positions + 1))
    assert not split.ravel()[positions:].any()
