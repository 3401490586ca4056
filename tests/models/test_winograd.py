import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.models.backbones.convolution import convolve
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.winograd import CHANNELS, SIDE, pays, winograd


@pytest.mark.parametrize(("shape", "dilation"), [((2, 7, 8, 5), 1), ((1, 9, 7, 5), 2), ((2, 10, 11, 5), 4)])
def test_values_and_gradients_equal_a_direct_convolution(shape, dilation):
    random = np.random.default_rng(0)
    x, kernel, direction = (
        jnp.asarray(random.standard_normal(s), jnp.float32) for s in (shape, (3, 3, 5, 4), (*shape[:3], 4))
    )

    def direct(x, kernel):
        padding, dilations = [(dilation, dilation)] * 2, (dilation, dilation)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, None, dilations, ("NHWC", "HWIO", "NHWC"))

    def pull(function):
        y, gradients = jax.vjp(function, x, kernel)
        return y, *gradients(direction)

    for ours, expected in zip(pull(lambda x, k: winograd(x, k, dilation)), pull(direct), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_only_on_a_cpu_large_convolutions_become_matrix_products():
    x, kernel = jnp.zeros((1, SIDE, SIDE, CHANNELS)), jnp.zeros((3, 3, CHANNELS, CHANNELS))
    layer = convolution(CHANNELS, 3)

    def lowered(platform, dtype=jnp.float32):
        def both(x, kernel):
            head = layer.apply({"params": {"kernel": kernel}}, x)
            return head, convolve(x, kernel.astype(dtype), dilation=2, padding=((2, 2), (2, 2)))

        return jax.jit(both).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()

    assert lowered("cpu").count("stablehlo.convolution") == 0
    assert lowered("cpu", jnp.bfloat16).count("stablehlo.convolution") == 1
    assert lowered("cuda").count("stablehlo.convolution") == 2
    assert "stablehlo.dot_general" not in lowered("cuda")


@pytest.mark.parametrize(
    ("side", "channels", "expected"), [(SIDE, CHANNELS, True), (SIDE - 1, CHANNELS, False), (SIDE, CHANNELS - 1, False)]
)
def test_small_grids_and_few_channels_are_convolved_directly(side, channels, expected):
    assert pays(jnp.zeros((1, side, SIDE, CHANNELS)), jnp.zeros((3, 3, CHANNELS, channels))) == expected
