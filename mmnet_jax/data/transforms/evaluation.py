"""The test transform (PFENet's): an image resized and padded to S x S, with nearly its aspect ratio."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mmnet_jax.data.images import ImageSource, read_image
from mmnet_jax.data.raw import AnyArray, RawEpisodes
from mmnet_jax.data.transforms.geometry import half_pixel_gather, normalise, resized_taps
from mmnet_jax.episode import Episode
from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

_STEP = 512  # users' images are padded to multiples of it, so that few programs are compiled


def fitted_size(size: Int[AnyArray, "2"], image_size: int) -> Int[AnyArray, "2"]:
    """Height and width, NumPy or traced, scaled to a longer side of S and floored to multiples of 8, at least 8."""
    return (size * image_size // size.max() // 8 * 8).clip(8)


def fit_image(image: UInt8[AnyArray, "m n 3"], size: Int[AnyArray, "2"], image_size: int) -> Float[Array, "s s 3"]:
    """The top left ``size`` part of ``image``, resized to its fitted size, padded with black, and normalised."""
    image, size = jnp.asarray(image), jnp.asarray(size)
    fitted = fitted_size(size, image_size)
    out = jnp.arange(image_size)
    resized = half_pixel_gather(image, *(resized_taps(out, size[axis], fitted[axis]) for axis in (0, 1)))
    inside = (out[:, None] < fitted[0]) & (out[None, :] < fitted[1])
    return normalise(jnp.where(inside[..., None], resized, 0.0))


def fit_label(label: UInt8[AnyArray, "m n"], size: Int[AnyArray, "2"], image_size: int) -> Int[Array, "s s"]:
    """The top left ``size`` part of ``label``, resized to its fitted size by nearest pixels, padded with 255."""
    label, size = jnp.asarray(label), jnp.asarray(size)
    fitted = fitted_size(size, image_size)
    out = jnp.arange(image_size)
    # OpenCV's nearest pixel is floor(out * scale); in integers, since float32 would miss whole numbers.
    row, column = jnp.minimum(out[:, None] * size[None, :] // fitted[None, :], size[None, :] - 1).T
    inside = (out[:, None] < fitted[0]) & (out[None, :] < fitted[1])
    return jnp.where(inside, label[row][:, column].astype(jnp.int32), IGNORE)


class Fit(NamedTuple):
    """An image size rule: resizing of images and labels to S x S."""

    image: Callable[[Any, Any, int], Float[Array, "s s 3"]]
    """Takes an image in the top left corner of a square, its height and width, and S; returns it normalised."""
    label: Callable[[Any, Any, int], Int[Array, "s s"]]
    """Takes a label, its height and width, and S; returns 255 (ignore) in the padding."""

    def images(self, images: UInt8[AnyArray, "b m m 3"], sizes: Int[AnyArray, "b 2"], image_size: int) -> Array:
        """Applies ``image`` to a batch of images."""
        return jax.vmap(lambda image, size: self.image(image, size, image_size))(images, sizes)

    def labels(self, labels: UInt8[AnyArray, "b n m m"], sizes: Int[AnyArray, "b n 2"], image_size: int) -> Array:
        """Applies ``label`` to all labels of a batch of episodes."""
        return jax.vmap(jax.vmap(lambda label, size: self.label(label, size, image_size)))(labels, sizes)


PAD = Fit(fit_image, fit_label)


def test_transform(raw: RawEpisodes, image_size: int, fit: Fit = PAD) -> Episode:
    """Raw episodes -> episodes for evaluation, by PFENet's image size rule or another."""
    image = jax.vmap(lambda images, sizes: fit.images(images, sizes, image_size))(raw.images, raw.sizes)
    label = fit.labels(raw.labels, raw.sizes, image_size)
    return Episode(image[:, 0], image[:, 1:], label[:, 1:], label[:, 0])


def prepare_image(source: ImageSource, image_size: int) -> Float[Array, "s s 3"]:
    """An image of any size and kind, see ``read_image``, as the network's input: fitted to S x S and normalised."""
    image = read_image(source)
    return _fit_image(_pad(image), np.array(image.shape[:2], np.int32), image_size)


def prepare_label(mask: np.ndarray, image_size: int) -> Int[Array, "s s"]:
    """The label of such an image from its mask ``[h, w]`` of bools or 0, 1 and 255 (ignore).

    Raises:
      UserError: the mask has other values or axes, or no foreground.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or 0 in mask.shape:
        raise UserError(f"a label has two axes, but this one's shape is {list(mask.shape)}; take one channel of it.")
    found = np.unique(mask)
    unknown = np.setdiff1d(found, [0, 1, IGNORE])
    if unknown.size:
        advice = "give mask == INDEX for the class of an index, or mask > 0 for all that is not 0"
        raise UserError(f"a label holds 0, 1 and 255, but this one holds {unknown[0]}; {advice}.")
    if 1 not in found:
        values = " and ".join(str(int(value)) for value in found)
        advice = "; give mask > 0 if 255 is the class" if IGNORE in found else ""
        raise UserError(f"this label has no foreground, which is 1: it holds only {values} (255: ignore){advice}.")
    label = mask.astype(np.uint8)
    return _fit_label(_pad(label), np.array(label.shape, np.int32), image_size)


def _pad(array: np.ndarray) -> np.ndarray:
    padding = [(0, -side % _STEP) for side in array.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, padding)


_fit_image = jax.jit(fit_image, static_argnames="image_size")
_fit_label = jax.jit(fit_label, static_argnames="image_size")
