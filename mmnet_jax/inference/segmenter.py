"""Segmentation of queries with one support set."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mmnet_jax.data.images import read_image
from mmnet_jax.data.transforms.evaluation import prepare_image
from mmnet_jax.drawing.images import RGB
from mmnet_jax.inference.supports import Supports
from mmnet_jax.models.encoded import EncodedImage, decode_images, encode_levels, mask_supports, stack_images
from mmnet_jax.models.network import FewShotNetwork, grid_masks


class Segmenter:
    """A network and a support set; each image file is encoded once, even if it is both support and query."""

    def __init__(
        self, model: FewShotNetwork, variables: Mapping[str, Any], config: ConfigDict, supports: Supports
    ) -> None:
        self.model, self.config, self.supports = model, config, supports
        self._variables = {"trained": variables}
        files = [os.path.abspath(example.source) for example in supports.examples]
        images = dict(zip(files, supports.images, strict=True))
        self._encoded = {file: _encode(model, self._variables, image) for file, image in images.items()}
        shots = tuple(self._encoded[file] for file in files)
        self._shots = _stack_supports(model, self._variables, shots, supports.labels)

    def encode(self, path: Path) -> tuple[RGB, EncodedImage]:
        """Reads and encodes a query; raises ``UserError`` naming a file that is missing, broken or not an image."""
        image = read_image(path)
        if (encoded := self._encoded.get(os.path.abspath(path))) is None:
            fitted = prepare_image(image, self.config.data.image_size)
            encoded = _encode(self.model, self._variables, fitted)
        return image, encoded

    def predict(self, query: EncodedImage, shots: slice = slice(None)) -> Any:
        """The prediction with all supports or a slice of them, as NumPy arrays without the batch axis."""
        supports, masks = jax.tree.map(lambda x: x[:, shots], self._shots)
        size = self.supports.labels.shape[1:]
        return jax.tree.map(np.asarray, _predict(self.model, self._variables, query, supports, masks, size))


@functools.partial(jax.jit, static_argnames="model")
def _encode(model: FewShotNetwork, variables: Mapping[str, Any], image: Float[Array, "s s 3"]) -> EncodedImage:
    levels: Any = model.apply(variables["trained"], image[None], method="levels")
    return jax.tree.map(lambda x: x[0], encode_levels(model, variables, *levels))


@functools.partial(jax.jit, static_argnames="model")
def _stack_supports(
    model: FewShotNetwork,
    variables: Mapping[str, Any],
    shots: tuple[EncodedImage, ...],
    labels: Int[Array, "k s s"],
) -> tuple[EncodedImage, Float[Array, "1 k h w"]]:
    """The support set as ``decode_images`` takes it, with the foreground on the grid."""
    masks = grid_masks(labels == 1, shots[0].high.shape[:2])[None]
    return mask_supports(model, variables, stack_images([stack_images(shots)]), masks), masks


@functools.partial(jax.jit, static_argnames=("model", "size"))
def _predict(
    model: FewShotNetwork,
    variables: Mapping[str, Any],
    query: EncodedImage,
    supports: EncodedImage,
    masks: Float[Array, "1 k h w"],
    size: tuple[int, ...],
) -> Any:
    queries = jax.tree.map(lambda x: x[None], query)
    return jax.tree.map(lambda x: x[0], decode_images(model, variables, queries, supports, masks, size)["trained"])
