"""Figures of intermediate maps against values computed by hand, and errors of the command."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmnet_jax import figures
from mmnet_jax.config import apply
from mmnet_jax.data.transforms.evaluation import prepare_image
from mmnet_jax.episode import Episode
from mmnet_jax.evaluation.sheet import map_tile
from mmnet_jax.inference.figures import (
    EMBEDDINGS,
    TILE,
    activation_rows,
    draw_figure,
    predict_maps,
    propagation_rows,
    shot_rows,
)
from mmnet_jax.inference.segmenter import Segmenter
from mmnet_jax.models.network import grid_masks
from tests.cli.call import call
from tests.inference.conftest import SIZE


@pytest.fixture
def shown(folder, config, network, supports_of):
    """The network with both supports, a query, and the prediction by the network itself."""
    supports, path = supports_of("ab"), folder / "queries" / "two.JPEG"
    episode = Episode(prepare_image(path, SIZE)[None], supports.images[None], supports.labels[None])
    prediction = jax.jit(network[0].apply)(network[1], episode)
    return Segmenter(*network, config, supports), [path], prediction


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def masks_on_grid(segmenter, value):
    return np.asarray(grid_masks(jnp.asarray(segmenter.supports.labels == value), 5))


def test_the_shown_activations_are_highest_on_the_foreground(shown):
    segmenter, paths, prediction = shown
    first, second, query = activation_rows(segmenter, paths)
    activations = sigmoid(prediction.support_memory_logits[0][0])
    weights = [
        np.asarray(grid_masks(jnp.asarray(segmenter.supports.labels == value), 5))[..., None] for value in (1, 0)
    ]
    foreground, background = ((activations * w).sum((0, 1, 2)) / w.sum() for w in weights)
    order = np.argsort(background - foreground)[:EMBEDDINGS]
    for row in (first, second, query):
        assert [caption for caption, _ in row[1:]] == [f"Act #{n}" for n in order]
    assert (first[0][0], second[0][0], query[0][0]) == ("a.jpg", "b.png", "two.JPEG")
    for maps, size, row in ((activations[1], (50, 30), second), (prediction.activations[0], (70, 50), query)):
        expected = map_tile(np.asarray(maps[..., order[0]], np.float32), size, TILE)
        np.testing.assert_allclose(row[1][1].astype(int), expected, atol=1)


def test_the_weights_of_a_position_are_a_softmax_of_cosines(shown):
    segmenter, paths, prediction = shown
    overview, pairs, *positions = propagation_rows(segmenter, paths)
    assert [caption for caption, _ in overview] == ["a.jpg", "b.png", "two.JPEG", "confidence C_Q", "probability"]
    assert [caption[:3] for caption, _ in pairs] == ["Act", "pro", "Act", "pro"] and len(positions) == 3
    query = sigmoid(prediction.query_memory_logits[0][0])
    supports = sigmoid(prediction.support_memory_logits[0][0])
    masks = masks_on_grid(segmenter, 1)
    ranges = set()
    for node in query.reshape(-1, query.shape[-1]):
        for support, mask in zip(supports, masks, strict=True):
            cosine = support @ node / (np.linalg.norm(support, axis=-1) * np.linalg.norm(node) + 1e-7) * mask
            weights = np.exp(cosine[cosine != 0])
            ranges.add(f"weights {weights.min() / weights.sum():.1e} to {weights.max() / weights.sum():.1e}")
    assert all(caption in ranges for row in positions for caption, _ in row[1:])
    probabilities = [float(re.search(r"[\d.]+$", row[0][0])[0]) for row in positions]
    assert probabilities == sorted(probabilities, reverse=True)


def test_shots_show_weights_and_predictions_with_one_support(shown, network, config, supports_of):
    segmenter, paths, prediction = shown
    examples, weights, alone = shot_rows(segmenter, paths)
    assert [caption for caption, _ in examples] == ["a.jpg", "b.png"]
    means = [f"weight, mean {mean:.2f}" for mean in np.asarray(prediction.shot_weights[0]).mean((1, 2))]
    assert [caption for caption, _ in weights] == [*means, "two.JPEG"]
    second = Segmenter(*network, config, supports_of("b"))
    np.testing.assert_array_equal(alone[1][1], predict_maps(second, paths[0]).found())
    assert draw_figure({"a": [examples], "b": [weights, alone]}).shape[1] == 2 * 14 + 3 * 206


@pytest.fixture
def command(folder, config, network, monkeypatch):
    """The command, run in ``folder`` with the tiny network; the workdirs pfenet/ and global/ hold other heads."""
    others = {"pfenet": {"model.network": "pfenet"}, "global": {"model.propagation": "global"}}
    monkeypatch.setattr(
        "mmnet_jax.workdir.folder.Workdir.load_config",
        lambda self: apply(config.copy_and_resolve_references(), others.get(self.path.name, {})),
    )
    monkeypatch.setattr("mmnet_jax.workdir.folder.load_step", lambda *_: (*network, config, 7))
    monkeypatch.chdir(folder)

    def run(words):
        return call(figures.define_flags, figures.main, *words.split(), positional=True)

    return run


SUPPORT = "--support=a.jpg --mask=a_label.png "
QUERY = "--query=queries/one.jpg "


def test_activations_of_several_networks_are_drawn_in_one_figure(folder, command):
    one, two = ("--workdir=w ", "--workdir=w --workdir=v ")
    for name, workdirs in {"one": one, "two": two}.items():
        done = command(f"activations {workdirs}{SUPPORT}{QUERY}--output={name}.png")
        assert (done.returncode, done.stdout) == (0, f"written: {name}.png\n"), done.stderr
    heights = [Image.open(folder / f"{name}.png").height for name in ("one", "two")]
    assert heights[1] == 2 * heights[0] - 14


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--workdir=w",
            "give one figure: activations, propagation or shots, as in python -m mmnet_jax.figures activations ...",
        ),
        ("shots --workdir=w", "shots compares supports; give at least two --support, each with a --mask."),
        ("propagation --workdir=w --workdir=v", "propagation shows one network; give a single --workdir."),
        ("activations --workdir=w --output=f.jpg", "--output=f.jpg is not a PNG; give a name that ends in .png."),
        (
            "activations --workdir=w --output=a_label.png",
            "a_label.png would be overwritten by the figure; choose another --output.",
        ),
        (
            "activations --workdir=pfenet",
            "pfenet holds a network without memory; the figures need an MM-Net with memory.",
        ),
        (
            "propagation --workdir=global",
            "global holds a network without APM (model.propagation); draw another figure.",
        ),
        ("activations --workdir=w --query=gone.jpg", "gone.jpg does not exist."),
    ],
)
def test_invalid_arguments_end_in_one_sentence(folder, command, words, sentence):
    before = set(folder.rglob("*"))
    done = command(f"{words} {SUPPORT}{QUERY}" + ("" if "--output" in words else "--output=f.png"))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence + "\n")
    assert set(folder.rglob("*")) == before
