from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.models.backbones.convolution import centred_padding, convolve, max_pool_2x2, max_pool_3x3, same_padding


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation", "expected"),
    [
        (260, 3, 2, 1, (0, 1)),  # an even side leaves one zero, at the end
        (65, 3, 2, 1, (1, 1)),
        (65, 5, 2, 1, (2, 2)),
        (33, 5, 2, 1, (2, 2)),
        (25, 5, 1, 4, (8, 8)),
        (7, 1, 2, 1, (0, 0)),
    ],
)
def test_same_padding_worked_by_hand(size, kernel_size, stride, dilation, expected):
    assert same_padding(size, kernel_size, stride, dilation) == expected


@pytest.mark.parametrize(("kernel_size", "dilation", "expected"), [(7, 1, 3), (3, 4, 4), (1, 2, 0)])
def test_centred_padding_is_half_the_dilated_kernel(kernel_size, dilation, expected):
    assert centred_padding(kernel_size, dilation) == (expected, expected)


def test_depthwise_convolutions_are_shifted_products_on_a_cpu():
    x, kernel = jnp.zeros((1, 5, 5, 4)), jnp.zeros((3, 3, 1, 4))

    def lowered(platform):
        traced = jax.jit(lambda x, k: convolve(x, k, padding=((1, 1), (1, 1)))).trace(x, kernel)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.convolution" not in lowered("cpu")
    assert "feature_group_count = 4" in lowered("cuda")


@pytest.mark.parametrize(
    ("shape", "kernel_shape", "stride", "dilation", "padding"),
    [
        ((2, 7, 6, 5), (1, 1, 5, 3), 1, 1, (0, 0, 0, 0)),
        ((2, 7, 6, 5), (1, 1, 5, 3), 2, 1, (0, 0, 0, 0)),
        ((2, 4, 3, 5), (3, 3, 5, 6), 2, 1, (1, 1, 1, 1)),  # to 2 x 2 pixels
        ((2, 2, 1, 5), (3, 3, 5, 6), 1, 1, (1, 1, 1, 1)),
        ((2, 9, 8, 3), (7, 7, 3, 4), 2, 1, (3, 3, 3, 3)),  # an RGB image and few channels
        ((2, 9, 8, 3), (7, 7, 3, 33), 2, 1, (3, 3, 3, 3)),
        ((2, 9, 12, 6), (3, 3, 1, 6), 1, 1, (1, 1, 1, 1)),  # depthwise
        ((2, 10, 9, 6), (3, 3, 1, 6), 2, 1, (0, 1, 1, 1)),
        ((2, 11, 8, 6), (5, 5, 1, 6), 2, 1, (2, 2, 1, 2)),
        ((2, 7, 7, 6), (5, 5, 1, 6), 1, 4, (8, 8, 8, 8)),
        ((2, 9, 9, 6), (3, 3, 1, 6), 2, 2, (2, 2, 2, 2)),
        ((2, 1, 1, 6), (3, 3, 1, 6), 1, 1, (1, 1, 1, 1)),
    ],
)
def test_values_and_gradients_equal_xlas_convolution(shape, kernel_shape, stride, dilation, padding):
    random = np.random.default_rng(0)
    x, kernel = (jnp.asarray(random.standard_normal(s), jnp.float32) for s in (shape, kernel_shape))
    paddings = (padding[:2], padding[2:])

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            paddings,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=shape[3] // kernel_shape[2],
        )

    @partial(jax.jit, static_argnums=0)
    def pull(function, x, kernel, direction):
        y, gradient_of = jax.vjp(function, x, kernel)
        return y, *gradient_of(direction)

    direction = jnp.asarray(random.standard_normal(jax.eval_shape(plain, x, kernel).shape), jnp.float32)
    ours = pull(partial(convolve, stride=stride, dilation=dilation, padding=paddings), x, kernel, direction)
    theirs = pull(plain, x, kernel, direction)
    for mine, their, tolerance in zip(ours, theirs, (1e-5 if kernel_shape[2] == 1 else 1e-4, 1e-4, 1e-4), strict=True):
        np.testing.assert_allclose(mine, their, atol=tolerance)


@pytest.mark.parametrize("side", [1, 3])
def test_convolutions_are_inlined(side):
    """Gradients of convolutions in functions that XLA calls are 8 times slower on a CPU."""
    primitives = jax.make_jaxpr(convolve)(jnp.ones((1, 8, 8, 8)), jnp.ones((side, side, 8, 8))).eqns
    assert "jit" not in [equation.primitive.name for equation in primitives]


def test_max_pool_3x3_worked_by_hand():
    x = -jnp.arange(16.0).reshape(1, 4, 4, 1) - 1
    np.testing.assert_array_equal(max_pool_3x3(x)[0, :, :, 0], [[-1, -2], [-5, -6]])


def test_max_pool_3x3_gradient_worked_by_hand():
    x = jnp.array([[1.0, 2.0, 3.0, 0.0], [0.0, 5.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]]).reshape(1, 3, 4, 1)
    weights = jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: jnp.sum(weights * max_pool_3x3(x)))(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0, 0, 0], [0, 1111, 0, 0], [0, 0, 0, 0]])


def test_max_pool_2x2_of_odd_sides_worked_by_hand():
    x = -jnp.arange(15.0).reshape(1, 3, 5, 1) - 1
    np.testing.assert_array_equal(max_pool_2x2(x)[0, :, :, 0], [[-1, -3, -5], [-11, -13, -15]])
    np.testing.assert_array_equal(max_pool_2x2(x[:, :2, :4])[0, :, :, 0], [[-1, -3]])
    np.testing.assert_array_equal(max_pool_2x2(x[:, :1, :1]), [[[[-1]]]])
    weights = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weights * max_pool_2x2(x))))(x)
    expected = [[1, 0, 2, 0, 3], [0, 0, 0, 0, 0], [4, 0, 5, 0, 6]]
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)
