import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.weights import CONVOLUTION, DENSE, Rule, port

RULES = [
    Rule(r"block(\d)\.weight", r"blocks_\1/kernel", CONVOLUTION),
    Rule(r"block(\d)\.bias", r"blocks_\1/bias"),
    Rule(r"(old|new)\.weight", "dense/kernel", DENSE),
]
COUNTERS = [r".*\.count"]
TARGETS = {"blocks_0/kernel": (5, 4, 3, 2), "blocks_0/bias": (2,), "dense/kernel": (3, 2)}


def source() -> dict[str, np.ndarray]:
    return {
        "block0.weight": np.arange(120.0).reshape(2, 3, 5, 4),
        "block0.bias": np.array([1.0, 2.0]),
        "new.weight": np.arange(6.0).reshape(2, 3),
        "block0.count": np.array(3),
    }


def test_tensors_are_renamed_and_transposed():
    ported = port(source(), RULES, TARGETS, COUNTERS)
    assert set(ported) == set(TARGETS)
    assert all(tensor.dtype == np.float32 for tensor in ported.values())
    assert ported["blocks_0/kernel"][4, 3, 2, 1] == 119  # the last element
    assert ported["blocks_0/kernel"][1, 2, 0, 1] == source()["block0.weight"][1, 0, 1, 2]
    np.testing.assert_array_equal(ported["dense/kernel"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(ported["blocks_0/bias"], [1, 2])


@pytest.mark.parametrize(
    ("changes", "ignored", "sentence"),
    [
        (
            {"block0.weight": (2, 3, 4, 4), "block0.bias": None, "block1.bias": (2,), "old.weight": (2, 3)},
            [],
            "unexpected: block0.count, block1.bias; missing: blocks_0/bias (block0.bias); "
            "filled twice: dense/kernel by new.weight and old.weight; "
            "wrong shape: block0.weight is 2 x 3 x 4 x 4, not 2 x 3 x 5 x 4.",
        ),
        (
            {"new.weight": (2, 3, 1, 1), "block0.bias": ()},
            COUNTERS,
            "wrong shape: block0.bias is a scalar, not 2, new.weight is 2 x 3 x 1 x 1, not 2 x 3.",
        ),
        ({"ema.block0.bias": (2,)}, COUNTERS, "unexpected: ema.block0.bias."),  # a pattern matches whole names
        (
            {f"x{i}": (1,) for i in range(13)},
            COUNTERS,
            "unexpected: x0, x1, x2, x3, x4, x5, x6, x7, x8, x9 and 3 more.",
        ),
    ],
)
def test_all_errors_are_reported_together(changes, ignored, sentence):
    wrong = source() | {name: np.zeros(shape) for name, shape in changes.items() if shape is not None}
    wrong = {name: tensor for name, tensor in wrong.items() if changes.get(name, ()) is not None}
    with pytest.raises(UserError) as error:
        port(wrong, RULES, TARGETS, ignored, what="a.pth does not fit")
    assert str(error.value) == f"a.pth does not fit: {sentence}"


@pytest.mark.parametrize(
    ("rule", "target", "reported"),
    [
        (Rule(r"a([1-4])\.(\d+)\.w", r"s\1_\2/kernel"), "s3_11/kernel", "s3_11/kernel (a3.11.w)"),
        (Rule(r"(?:f\.24|l3\.0)\.w", "block/kernel"), "block/kernel", "block/kernel (f.24 or l3.0.w)"),
        (Rule(r"(old|new)\.w", "dense/kernel"), "dense/kernel", "dense/kernel"),  # ambiguous
        (Rule(r"(.+)", r"\1"), "dense/kernel", "dense/kernel"),
        (Rule(r"a\.w", "other/kernel"), "dense/kernel", "dense/kernel"),
    ],
)
def test_an_unfilled_target_is_reported_with_its_source_name(rule, target, reported):
    with pytest.raises(UserError) as error:
        port({}, [rule], {target: (1,)})
    assert str(error.value) == f"the weights: missing: {reported}."
