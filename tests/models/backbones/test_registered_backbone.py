"""A registered backbone of another family: 14-pixel patches, without normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model
from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import BACKBONES
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.backbones.convolution import convolve
from mmnet_jax.models.backbones.frozen import random_kernel
from mmnet_jax.weights import port_backbone
from tests.tiny import draw_episode, tiny_config


class Patches(Backbone):
    output_stride: int = 14

    SIDES = (14, 0)

    @property
    def channels(self):
        return {"level2": 6, "level3": 6, "level4": 6}

    @nn.compact
    def __call__(self, images, batch_statistics=False):
        kernel = self.variable("backbone", "kernel", lambda: random_kernel(self, (14, 14, 3, 6))).value
        patches = convolve(images, kernel, stride=14)
        return {"level2": patches, "level3": jnp.tanh(patches), "level4": jnp.cos(patches)}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(BACKBONES, "patches", Patches)


def test_mm_net_runs_on_it():
    model, variables = create_model(tiny_config(size=56, **{"model.backbone": "patches"}))
    assert (variables["batch_stats"], variables["backbone"]["backbone"]["kernel"].shape) == ({}, (14, 14, 3, 6))
    prediction = jax.jit(model.apply)(variables, draw_episode(1, 2, 56))
    assert (prediction.logits.shape, prediction.fused.shape) == ((1, 56, 56, 2), (1, 4, 4, 7))
    assert np.isfinite(prediction.logits).all() and np.ptp(prediction.logits) > 0


def test_its_sides_and_grid_are_checked():
    for side, grid in ((518, 37), (14, 1)):
        resolve(tiny_config(size=side, **{"model.backbone": "patches"}))
        assert Patches().grid(side) == grid
    with pytest.raises(UserError, match=r"^data\.image_size must be 14k, but is 473; the nearest are 462 and 476\.$"):
        tiny_config(size=473, **{"model.backbone": "patches"})


def test_unsupported_settings_are_refused():
    message = r"^model\.support_level4 must be masked with patches, which does not .*, but is masked_twice\.$"
    with pytest.raises(UserError, match=message):
        tiny_config("released", size=56, **{"model.backbone": "patches"})
    with pytest.raises(UserError, match=r"^patches has no weights to port; those that have: resnet50, "):
        port_backbone("patches", {})
