"""Evaluations against a slow float64 reference that starts from the network's logits."""

import csv
import dataclasses
import re

import jax
import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.datasets.hsnet import HSNet, HSNetLists
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.transforms.evaluation import test_transform as fit_episodes  # pytest would collect it
from mmnet_jax.drawing.images import fit_size, heat
from mmnet_jax.episode import IMAGENET_MEAN, IMAGENET_STD
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.outputs import compute_outputs
from mmnet_jax.evaluation.report import episode_table, report, result_json
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.sheet import episode_sheet, spread_over_classes
from mmnet_jax.models.registry import init_head
from mmnet_jax.ops.resize import resize_on_host
from tests.evaluation import reference
from tests.evaluation.conftest import BareNetwork

EPISODES = 19  # the 11 images once and 8 again; no multiple of the batch


@pytest.fixture(scope="module")
def result(network, config, dataset):
    manifest = configured_manifest(dataset, config, episodes=EPISODES)
    return evaluate(*network, config, dataset, manifest, baselines=True, samples=4)


@pytest.fixture(scope="module")
def slow(network, config, dataset, result):
    """For each episode its label and class, both heads' logits, the confidence map, and the query's activations."""
    model, variables = network
    forward = jax.jit(model.apply)
    fresh = {**variables, "params": init_head(model, config.seed)}
    specs = result.manifest.specs(dataset)
    raw = load_episodes(dataset.test, specs)
    episodes = jax.jit(fit_episodes, static_argnums=1)(raw, config.data.image_size)
    prediction, untrained = forward(variables, episodes), forward(fresh, episodes)
    masks = [dataset.test.read_mask(spec.query) for spec in specs]
    labels = [np.where(mask == 255, 255, mask == spec.class_id) for mask, spec in zip(masks, specs, strict=True)]
    maps = prediction.logits, untrained.logits, prediction.confidence, prediction.activations
    return list(zip(labels, [spec.class_id for spec in specs], *map(np.asarray, maps), strict=True))


def undecided(logits, shape):
    """Pixels whose two logits lie so close that another order of additions may decide otherwise."""
    square = [reference.resize_align_corners(logits[..., c], max(shape)) for c in (0, 1)]
    return int((np.abs(square[1] - square[0]) < 1e-4).sum())


def test_counts_and_scores_equal_the_slow_reference(result, slow):
    for i, (label, _, logits, _, _, _) in enumerate(slow):
        intersection, union = reference.episode_counts(logits, label)
        allowed = undecided(logits, label.shape)
        assert allowed < 5
        np.testing.assert_allclose(result.intersection[i], intersection, atol=allowed)
        np.testing.assert_allclose(result.union[i], union, atol=allowed)
        assert result.area[i].tolist() == [(label == 0).sum(), (label == 1).sum()]
    counts = list(zip(result.intersection.tolist(), result.union.tolist(), strict=True))
    assert result.scores.miou == pytest.approx(reference.miou(counts, [episode[1] for episode in slow]), abs=1e-10)
    assert result.scores.fb_iou == pytest.approx(reference.fb_iou(counts), abs=1e-10)


def test_the_untrained_baseline_is_a_fresh_head_on_the_same_episodes(result, slow):
    counts = [reference.episode_counts(episode[3], episode[0]) for episode in slow]
    untrained = result.baselines["untrained"].scores
    assert untrained.miou == pytest.approx(reference.miou(counts, [episode[1] for episode in slow]), abs=0.1)
    assert abs(untrained.miou - result.scores.miou) > 1


def test_the_confidence_baseline_uses_its_best_threshold(result, slow, config):
    labels, classes, _, _, confidences, _ = zip(*slow, strict=True)
    full = [reference.resize_align_corners(confidence, config.data.image_size) for confidence in confidences]
    squares = [reference.resize_align_corners(m, max(label.shape)) for m, label in zip(full, labels, strict=True)]
    maps = [square[: len(label), : label.shape[1]] for square, label in zip(squares, labels, strict=True)]

    def miou(threshold: float) -> float:
        cuts = [reference.mask_counts(m >= threshold, label) for m, label in zip(maps, labels, strict=True)]
        return reference.miou(cuts, list(classes))

    baseline = result.baselines["confidence"]
    assert baseline.scores.miou == pytest.approx(max(miou(t / 100) for t in range(101)), abs=0.1)
    assert baseline.scores.miou == pytest.approx(miou(baseline.threshold), abs=0.1)


def test_batch_size_does_not_change_the_numbers(result, network, config, dataset):
    again = evaluate(*network, config, dataset, result.manifest, batch_size=16)
    assert again.scores == result.scores and again.baselines == {}


def test_a_small_cache_encodes_some_images_again_and_gives_the_same_numbers(network, config, dataset):
    manifest, lines = configured_manifest(dataset, config, episodes=EPISODES, seed=3), []
    small = config.copy_and_resolve_references()
    small.evaluation.cache_gb = 0.0
    everything = evaluate(*network, config, dataset, manifest)
    assert evaluate(*network, small, dataset, manifest, say=lines.append).scores == everything.scores
    assert re.match(r"features: 19 episodes use 11 images 38 times; \d\d% of the uses are cached, at most", lines[0])


def test_a_mixture_of_sizes_compiles_once(network, config, dataset, result):
    before = compute_outputs._cache_size()
    small = dataclasses.replace(result.manifest, episodes=result.manifest.episodes[3:6])
    evaluate(*network, config, dataset, small, batch_size=8, baselines=True)
    assert compute_outputs._cache_size() == before


def test_samples_are_the_networks_predictions(result, slow):
    assert len(result.samples) == 4
    for sample in result.samples:
        label, _, logits, _, confidence, activations = slow[sample.episode]
        wrong = sample.predicted != reference.predicted_labels(logits, label.shape)
        assert wrong.sum() <= undecided(logits, label.shape)
        np.testing.assert_allclose(sample.confidence, confidence, atol=1e-4)
        assert sorted(sample.embeddings) == [0, 1, 2]
        shown = activations[..., sample.embeddings].transpose(2, 0, 1)
        np.testing.assert_allclose(sample.activations, shown, atol=1e-4)


def test_a_head_without_confidence_or_memory_is_evaluated(network, config, dataset, result):
    bare = evaluate(BareNetwork(), network[1], config, dataset, result.manifest, baselines=True, samples=2)
    assert bare.scores == result.scores and set(bare.baselines) == {"untrained"}
    assert [(s.confidence, len(s.activations), len(s.embeddings)) for s in bare.samples] == [(None, 0, 0)] * 2
    # support, query, truth and prediction
    assert episode_sheet(bare, dataset).shape[1] == 96 + 4 * 156


@pytest.mark.parametrize(("name", "ignored"), [("pascal5i", 255), ("coco20i", 0)])
def test_hsnet_squashes_images_and_scores_at_400_px_whatever_their_shape(network, config, dataset, name, ignored):
    """Ignored pixels do not count on PASCAL, and are background on COCO."""
    queries = [
        (i, c) for i, pixels in zip(dataset.test.ids, dataset.test.counts, strict=True) for c in (6, 7, 8) if pixels[c]
    ]
    lists = HSNetLists({c: [i for i, own in queries if own == c] for c in (6, 7, 8)}, queries)
    hsnet = HSNet(lambda *_: lists, "contiguous")
    own = dataclasses.replace(dataset, spec=dataclasses.replace(PASCAL5I, name=name, hsnet=hsnet))
    manifest = configured_manifest(own, config, protocol="hsnet", episodes=6)
    assert manifest.seeds == (0,)
    assert configured_manifest(own, config, protocol="hsnet", episodes=6, seed=5).seeds == (5,)
    result, side = evaluate(*network, config, own, manifest, samples=6), config.data.image_size
    for sample, spec in zip(result.samples, manifest.specs(own), strict=True):
        image, label = own.test.read(spec.query, spec.class_id)
        assert (label == 255).any()
        label = np.where(label == 255, ignored, label)
        rows_first = Image.fromarray(image).resize((side, len(image)), Image.Resampling.BILINEAR)
        colours = np.asarray(rows_first.resize((side, side), Image.Resampling.BILINEAR)) / 255 - IMAGENET_MEAN
        logits = (colours / IMAGENET_STD)[..., :2] * np.asarray(network[1]["params"]["weights"])
        rows, columns = (np.arange(400) * n // 400 for n in label.shape)
        intersection, union = reference.episode_counts(logits, label[rows][:, columns])
        allowed = undecided(logits, (400, 400))
        assert allowed < 50 and sample.predicted.shape == (400, 400)
        np.testing.assert_allclose(result.intersection[sample.episode], intersection, atol=allowed)
        np.testing.assert_allclose(result.union[sample.episode], union, atol=allowed)
    # on the sheet the prediction has the query's shape again
    sample = result.samples[0]
    sheet = episode_sheet(dataclasses.replace(result, samples=(sample,)), own)
    height, width = fit_size(own.test.read_mask(manifest.specs(own)[sample.episode].query).shape, 150)
    assert height != width
    left, expected = 96 + 5 * 156, heat(resize_on_host(sample.activations[0], (height, width)))
    np.testing.assert_array_equal(sheet[22 + 30 : 22 + height, left : left + width], expected[30:])


def test_samples_spread_over_the_classes():
    classes = np.array([1] * 50 + [2] * 3 + [3] * 50)
    taken = spread_over_classes(classes, 7)
    assert {0, 49, 50, 52} <= taken and sorted(classes[sorted(taken)].tolist()) == [1, 1, 1, 2, 2, 3, 3]
    assert spread_over_classes(np.array([4, 4]), 12) == {0, 1}


def test_progress_shows_the_running_miou(network, config, dataset, result, monkeypatch):
    monkeypatch.setattr("mmnet_jax.cli.progress.SECONDS", -1.0)
    lines = []
    evaluate(*network, config, dataset, result.manifest, say=lines.append)
    features = "features: 19 episodes use 11 images 38 times; each is encoded once, at most 11 in memory"
    assert lines[0] == f"{features} (0.29 MB)"
    assert [line.split("  ")[0] for line in lines[1:]] == ["episode 8/19", "episode 16/19", "episode 19/19"]
    assert f"  mIoU {result.scores.miou:.2f}  " in lines[-1] and lines[-1].endswith(" episodes/s  ETA 0m00s")


class Device:
    """A simulated device that takes 5 seconds for each batch; ``now`` is the time.

    With the first batch, it compiles for 60 seconds, and the host works for 7 seconds on the outputs.
    """

    def __init__(self):
        self.now, self.idle_from, self.host = 0.0, 0.0, 7

    def monotonic(self):
        return self.now

    def run(self, *arguments):
        outputs = compute_outputs(*arguments)
        self.now += 0 if self.idle_from else 60
        self.idle_from = max(self.now, self.idle_from) + 5
        return jax.tree.map(lambda x: OnDevice(self, np.asarray(x)), outputs)


class OnDevice:
    """An array that is ready when the device has finished all earlier work."""

    def __init__(self, device, values):
        self.device, self.values, self.done = device, values, device.idle_from

    def __array__(self, *_, **__):
        self.device.now = max(self.device.now, self.done) + self.device.host
        self.device.host = 0
        return self.values

    def __getitem__(self, index):
        return OnDevice(self.device, self.values[index])


def test_the_rate_is_that_of_batches_which_arrive_one_by_one(network, config, dataset, result, monkeypatch):
    """No other batch is computed while the first one waits for the compiler or the host."""
    device, lines = Device(), []
    monkeypatch.setattr("mmnet_jax.evaluation.runner.compute_outputs", device.run)
    monkeypatch.setattr("mmnet_jax.cli.progress.time", device)
    monkeypatch.setattr("mmnet_jax.cli.progress.SECONDS", -1.0)
    evaluate(*network, config, dataset, result.manifest, samples=4, say=lines.append)
    rates = [line.split("  ")[2:] for line in lines[1:]]
    assert rates == [[], ["1.60 episodes/s", "ETA 0m02s"], ["0.60 episodes/s", "ETA 0m00s"]]


def test_bam_is_the_mean_over_its_seeds(network, config, dataset):
    manifest = configured_manifest(dataset, config, protocol="bam", episodes=12)
    assert len(manifest.episodes) == 60
    result = evaluate(*network, config, dataset, manifest, baselines=True)
    own = [evaluate(*network, config, dataset, part) for part in manifest.by_seed()]
    assert result.scores.by_seed == pytest.approx([one.scores.miou for one in own])
    assert result.scores.miou == pytest.approx(np.mean(result.scores.by_seed))
    low, high = result.scores.interval95
    # the seeds use the same images, so all of them together add little information to one
    widths = [one.scores.interval95[1] - one.scores.interval95[0] for one in own]
    assert high - low > 0.7 * np.mean(widths)
    summary = result_json(result, dataset, {})
    assert summary["by_seed"] == list(result.scores.by_seed) and len(summary["baselines"]["untrained"]["by_seed"]) == 5
    assert (summary["episodes"], summary["seeds"]) == (12, [510, 365, 382, 322, 988])
    assert "12 episodes, for each of the seeds 510, 365, 382, 322 and 988" in report(summary)
    assert f"\nmIoU of each seed: 510 {own[0].scores.miou:.2f}  365 " in report(summary)
    rows = list(csv.DictReader(episode_table(result).splitlines()))
    assert [row["seed"] for row in rows[::12]] == ["510", "365", "382", "322", "988"]
    assert summary["episodes_sha256"] == [part.sha256()[0] for part in manifest.by_seed()]
