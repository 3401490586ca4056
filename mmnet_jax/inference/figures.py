"""Figures of a network's intermediate maps on a user's images, after the paper's figures 4, 5 and A."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from mmnet_jax import ops
from mmnet_jax.drawing.images import RGB, fit_image, fit_mask, fit_size, heat, overlay, support_tile
from mmnet_jax.drawing.page import Page, shortened
from mmnet_jax.errors import printable
from mmnet_jax.evaluation.outputs import top_activations
from mmnet_jax.evaluation.sheet import map_tile
from mmnet_jax.inference.segmentation import foreground_margin
from mmnet_jax.inference.segmenter import Segmenter
from mmnet_jax.inference.sheet import foreground_probability
from mmnet_jax.inference.supports import Example, Supports
from mmnet_jax.models.network import grid_masks
from mmnet_jax.ops.resize import resize_on_host

TILE, GAP, MARGIN, LINE = 200, 6, 14, 20
"""Longer side of a tile, gap between tiles, margin of the figure, and line height, pixels."""
EMBEDDINGS = 5
"""Activation maps in a row."""
MARK = (0, 160, 255)

Tiles = list[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]
"""A row's captions and images."""


class Query(NamedTuple):
    """An image and its segmentation with a support set."""

    name: str
    image: RGB
    maps: Any
    """``MMNetPrediction`` as NumPy arrays without the batch axis."""

    @property
    def margin(self) -> Float[np.ndarray, "h w"]:
        """Foreground minus background logit, at the network's resolution, without padding."""
        return foreground_margin(self.maps.logits, self.image.shape[:2])

    def found(self) -> RGB:
        """The image with the predicted mask in red."""
        mask = resize_on_host(self.margin, self.image.shape[:2]) > 0
        return overlay(fit_image(self.image, TILE), fit_mask(mask, TILE))

    def tile(self, values: Float[np.ndarray, "grid grid"]) -> RGB:
        """Draws a map in [0, 1] over the feature grid."""
        return map_tile(values, self.image.shape[:2], TILE)


def predict_maps(segmenter: Segmenter, path: Path) -> Query:
    """Segments one query; raises ``UserError`` naming a file that is missing, broken or not an image."""
    image, encoded = segmenter.encode(path)
    return Query(printable(path.name), image, segmenter.predict(encoded))


def activation_rows(segmenter: Segmenter, paths: Sequence[Path]) -> Iterator[Tiles]:
    """Meta-class activations (eq. 1) of the supports and queries, one image a row (figures 5 and A).

    The ``EMBEDDINGS`` shown are those whose activation on the supports' foreground exceeds that on the background most.
    """
    supports = segmenter.supports
    for number, query in enumerate(predict_maps(segmenter, path) for path in paths):
        shown = _top_embeddings(query, supports, EMBEDDINGS)
        if number == 0:
            logits = np.concatenate(query.maps.support_memory_logits, axis=-1)
            for example, maps in zip(supports.examples, np.asarray(jax.nn.sigmoid(logits)), strict=True):
                tiles = ((f"Act #{n}", map_tile(maps[..., n], example.mask.shape, TILE)) for n in shown)
                yield [_support(example), *tiles]
        yield [(query.name, query.found()), *((f"Act #{n}", query.tile(query.maps.activations[..., n])) for n in shown)]


def propagation_rows(segmenter: Segmenter, paths: Sequence[Path]) -> Iterator[Tiles]:
    """The steps from the support mask to the query's (figure 4), in three blocks of rows for each query.

    The blocks are: supports, prediction, confidence map (eq. 8) and probability; activations before and after
    propagation (eq. 5); and the weights (eq. 3) over each support at the query positions of the highest foreground
    probability, of the median one within the predicted mask, and of the lowest.
    """
    supports = segmenter.supports
    for query in (predict_maps(segmenter, path) for path in paths):
        maps, probability = query.maps, foreground_probability(query.margin)
        yield [
            *map(_support, supports.examples),
            (query.name, query.found()),
            ("confidence C_Q", query.tile(maps.confidence)),
            ("probability", heat(resize_on_host(probability, fit_size(query.image.shape[:2], TILE)))),
        ]
        pairs: Tiles = []
        for n in _top_embeddings(query, supports, 2):
            fused, top = maps.fused[..., n], float(maps.fused[..., n].max())
            pairs += [(f"Act_Q #{n}", query.tile(maps.activations[..., n]))]
            pairs += [(f"propagated #{n}, 0 to {top:.2f}", query.tile(fused / (top or 1)))]
        yield pairs
        inside = np.ceil(np.multiply(query.margin.shape, maps.confidence.shape) / maps.logits.shape[:2])  # no padding
        rows, columns = map(int, inside)
        at_grid = resize_on_host(probability, (rows, columns))
        for position in _positions(at_grid):
            weights = zip(supports.examples, _weights(segmenter, query, position), strict=True)
            caption = f"position, probability {at_grid[position]:.2f}"
            yield [(caption, _marked(query.image, position, at_grid.shape)), *(_weight_tile(*own) for own in weights)]


def shot_rows(segmenter: Segmenter, paths: Sequence[Path]) -> Iterator[Tiles]:
    """Each support's weight at the query positions (eq. 9), and the prediction with that support alone."""
    examples = segmenter.supports.examples
    yield [*map(_support, examples)]
    for path in paths:
        image, encoded = segmenter.encode(path)
        query = Query(printable(path.name), image, segmenter.predict(encoded))
        tiles = [(f"weight, mean {weight.mean():.2f}", query.tile(weight)) for weight in query.maps.shot_weights]
        yield [*tiles, (query.name, fit_image(query.image, TILE))]
        alone = []
        for k in range(len(examples)):
            found = query._replace(maps=segmenter.predict(encoded, slice(k, k + 1))).found()
            alone.append(("with this support alone", found))
        yield [*alone, ("with all", query.found())]


FIGURES: dict[str, Callable[[Segmenter, Sequence[Path]], Iterator[Tiles]]] = {
    "activations": activation_rows,
    "propagation": propagation_rows,
    "shots": shot_rows,
}


def draw_figure(parts: Mapping[str, Sequence[Tiles]]) -> RGB:
    """Draws each part's title and its rows of captioned tiles."""
    most = max(len(tiles) for rows in parts.values() for tiles in rows)
    page = Page(2 * MARGIN + most * (TILE + GAP), MARGIN)
    for title, rows in parts.items():
        page.text(MARGIN, shortened(title, page.width - 2 * MARGIN), size=16)
        page.top += LINE + 8
        for tiles in rows:
            for column, (caption, tile) in enumerate(tiles):
                left = MARGIN + column * (TILE + GAP)
                page.text(left, shortened(caption, TILE))
                page.tile(left, tile, down=LINE)
            page.top += LINE + max(len(tile) for _, tile in tiles) + 2 * GAP
        page.top += MARGIN
    return page.pixels()


def _top_embeddings(query: Query, supports: Supports, count: int) -> list[int]:
    batched = jax.tree.map(lambda x: jnp.asarray(x)[None], query.maps)
    return np.asarray(top_activations(batched, jnp.asarray(supports.labels)[None], count)[1])[0].tolist()


def _positions(probability: Float[np.ndarray, "h w"]) -> list[tuple[Any, ...]]:
    """Positions of the highest probability, of the median one within the foreground, and of the lowest."""
    order = np.argsort(probability, axis=None)
    found = order[-max(1, int((probability > 0.5).sum())) :]
    return [np.unravel_index(index, probability.shape) for index in (order[-1], found[len(found) // 2], order[0])]


def _marked(image: RGB, position: tuple[Any, ...], grid: tuple[int, ...]) -> UInt8[np.ndarray, "_ _ 3"]:
    """The image with a square at a grid position."""
    tile = fit_image(image, TILE).copy()
    y, x = (int((at + 0.5) / number * side) for at, number, side in zip(position, grid, tile.shape, strict=False))
    for half, colour in ((5, (255, 255, 255)), (3, MARK)):
        tile[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = colour
    return tile


def _weights(segmenter: Segmenter, query: Query, position: tuple[Any, ...]) -> Float[np.ndarray, "k h w"]:
    """w_qs (eq. 3) of one query position over each support, averaged over memories."""
    model: Any = segmenter.model
    maps, foreground = query.maps, jnp.asarray(segmenter.supports.labels == 1)
    masks = model.shot_masks(grid_masks(foreground, maps.confidence.shape)[None])[0]
    scale = (lambda x: x) if model.cosine_on_logits else jax.nn.sigmoid
    pairs = zip(maps.query_memory_logits, maps.support_memory_logits, strict=True)
    by_memory = [_propagate_identity(scale(q[position]), scale(s), masks) for q, s in pairs]
    return np.mean(by_memory, axis=0)


@jax.jit
def _propagate_identity(
    node: Float[Array, " n"], supports: Float[Array, "k h w n"], masks: Float[Array, "k h w"]
) -> Float[Array, "k h w"]:
    """The weights of ``ops.propagate``: its output when the support values are the identity matrix."""
    height, width = masks.shape[1:]
    identity = jnp.eye(height * width).reshape(height, width, -1)

    def one(pair: tuple[Array, Array]) -> Array:
        support, mask = (x[None] for x in pair)
        return ops.propagate(node[None, None, None], support, identity[None], mask).values.reshape(height, width)

    return jax.lax.map(one, (supports, masks))


def _weight_tile(example: Example, weights: Float[np.ndarray, "h w"]) -> tuple[str, UInt8[np.ndarray, "_ _ 3"]]:
    """Draws weights over a support's foreground, scaled to their range, on the darkened image."""
    inside = weights[weights > 0]
    low, high = (float(inside.min()), float(inside.max())) if len(inside) else (0.0, 0.0)
    image, mask = fit_image(example.image, TILE), fit_mask(example.mask, TILE)
    shown = map_tile(np.maximum(weights - low, 0) / ((high - low) or 1), example.mask.shape, TILE)
    return f"weights {low:.1e} to {high:.1e}", np.where(mask[..., None], shown, image // 3)


def _support(example: Example) -> tuple[str, UInt8[np.ndarray, "_ _ 3"]]:
    return printable(example.lines()[0]), support_tile(example.image, example.mask, TILE)
