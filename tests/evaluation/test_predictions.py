"""Scores of masks from files on a manifest's episodes, against a slow reference and hand-worked numbers."""

import dataclasses

import numpy as np
import pytest

from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.draws import Episode
from mmnet_jax.evaluation.label_files import open_labels
from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.predictions import score_predictions, scored_label
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.saved_masks import mask_names, saved_masks
from mmnet_jax.evaluation.sheet import episode_sheet
from tests.evaluation import reference

CLASSES = {"bus": 6, "car": 7, "cat": 8}


def a_manifest(dataset, protocol="pfenet", episodes=6, seeds=(0,), name="pascal5i", shots=1):
    """A manifest with ``episodes`` random episodes of each seed."""
    random = np.random.default_rng(0)
    asked = []
    for _ in range(episodes * len(seeds)):
        class_name = random.choice([*CLASSES])
        images = np.flatnonzero(dataset.test.counts[:, CLASSES[class_name]])
        query, *supports = (dataset.test.ids[i] for i in random.choice(images, 1 + shots, replace=False))
        asked.append(Episode(query, str(class_name), tuple(supports)))
    about = {"fold": 1, "classes": "novel", "shots": shots, "protocol": protocol, "restricted": None}
    return Manifest(name, {}, **about, seeds=seeds, class_ids=CLASSES, episodes=tuple(asked))


def save_masks(folder, manifest, dataset):
    """Writes random rectangles at the scored size; returns them by file."""
    random, saved = np.random.default_rng(0), {}
    for name, spec in zip(mask_names(manifest.seeds, manifest.per_seed), manifest.specs(dataset), strict=True):
        side = manifest.rules.scoring_side
        shape = (side, side) if side else dataset.test.read_mask(spec.query).shape
        (top, bottom), (left, right) = (np.sort(random.integers(0, length + 1, 2)) for length in shape)
        saved[name] = np.zeros(shape, bool)
        saved[name][top:bottom, left:right] = True
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png_bytes(saved[name].astype(np.uint8) * 255))
    return saved


@pytest.mark.parametrize(
    ("protocol", "name", "seeds", "episodes"),
    [
        ("pfenet", "pascal5i", (321,), 300),
        ("bam", "pascal5i", (510, 365, 382, 322, 988), 60),
        ("hsnet", "pascal5i", (0,), 100),
        ("hsnet", "coco20i", (0,), 100),
    ],
)
def test_the_metric_of_every_protocol_equals_the_slow_reference(dataset, tmp_path, protocol, name, seeds, episodes):
    """HSNet counts ignored pixels as background only on COCO; BAM's number is the mean over its seeds."""
    dataset = dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, name=name))
    manifest = a_manifest(dataset, protocol, episodes, seeds, name)
    saved = save_masks(tmp_path, manifest, dataset)
    result = score_predictions(manifest, dataset, tmp_path)
    side, specs = {"hsnet": 400}.get(protocol), manifest.specs(dataset)
    labels = {
        (query, class_id): reference.scored_label(
            dataset.test.read_mask(query), class_id, side, ignored_is_background=name == "coco20i"
        )
        for query, class_id in {(spec.query, spec.class_id) for spec in specs}
    }
    counts = [
        reference.mask_counts(mask, labels[spec.query, spec.class_id])
        for mask, spec in zip(saved.values(), specs, strict=True)
    ]
    assert list(zip(result.intersection.tolist(), result.union.tolist(), strict=True)) == counts
    parts = [slice(i * episodes, (i + 1) * episodes) for i in range(len(seeds))]
    classes = [spec.class_id for spec in specs]
    mious = [reference.miou(counts[part], classes[part]) for part in parts]
    assert result.scores.miou == pytest.approx(np.mean(mious), abs=1e-6)
    assert result.scores.by_seed == pytest.approx(mious, abs=1e-6)
    assert result.scores.fb_iou == pytest.approx(np.mean([reference.fb_iou(counts[part]) for part in parts]), abs=1e-6)


def test_ignored_pixels_count_as_background_for_hsnet_on_coco_alone(dataset):
    label = np.array([[0, 1, 255], [255, 255, 1]], np.uint8)
    own = a_manifest(dataset)
    np.testing.assert_array_equal(scored_label(label, own), label)
    square = scored_label(label, a_manifest(dataset, "hsnet"))
    assert square.shape == (400, 400) and (square == 255).sum() > 0
    assert square[0, [0, 133, 134, 266, 267]].tolist() == [0, 0, 1, 1, 255]
    coco = scored_label(label, a_manifest(dataset, "hsnet", name="coco20i"))
    np.testing.assert_array_equal(coco, np.where(square == 255, 0, square))


@pytest.mark.parametrize(
    ("protocol", "name", "seeds"),
    [("bam", "pascal5i", (510, 365)), ("hsnet", "pascal5i", (0,)), ("hsnet", "coco20i", (0,))],
)
def test_saved_masks_score_as_the_evaluation_that_saved_them(network, config, dataset, tmp_path, protocol, name, seeds):
    dataset = dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, name=name))
    manifest = a_manifest(dataset, protocol, 9, seeds, name)
    with saved_masks(tmp_path / "masks", manifest.seeds, manifest.per_seed) as save_mask:
        evaluated = evaluate(*network, config, dataset, manifest, save_mask=save_mask)
    scored = score_predictions(manifest, dataset, tmp_path / "masks")
    for field in ("intersection", "union", "area"):
        np.testing.assert_array_equal(getattr(scored, field), getattr(evaluated, field))
    assert scored.scores == evaluated.scores


def test_all_masks_that_do_not_fit_are_named_at_once(dataset, tmp_path):
    manifest = a_manifest(dataset, episodes=9)
    save_masks(tmp_path, manifest, dataset)
    height, width = dataset.test.read_mask(manifest.specs(dataset)[4].query).shape
    (tmp_path / "000004.png").write_bytes(png_bytes(np.zeros((width + 1, 7), np.uint8)))
    for name in ("000001.png", "000002.png"):
        (tmp_path / name).unlink()
    (tmp_path / "000006.png").write_bytes(b"no image")
    (tmp_path / "7.PNG").write_bytes(b"")
    for other in ("notes.txt", ".000003.png"):  # none of a predictor's masks
        (tmp_path / other).write_bytes(b"")
    with pytest.raises(UserError) as error:
        score_predictions(manifest, dataset, tmp_path)
    assert str(error.value) == (
        f"the masks in {tmp_path} do not fit the manifest's 9 episodes: 1 surplus (7.PNG); "
        "2 missing (000001.png, 000002.png); "
        f"1 of the wrong size (000004.png has 7 x {width + 1} pixels instead of {width} x {height}); "
        "1 unreadable (000006.png is not an image)."
    )


def test_masks_that_look_like_probabilities_give_a_note(dataset, tmp_path):
    manifest = a_manifest(dataset, episodes=9)
    saved = save_masks(tmp_path, manifest, dataset)
    expected, mask = score_predictions(manifest, dataset, tmp_path), saved["000003.png"]
    (tmp_path / "000003.png").write_bytes(png_bytes((mask * mask.cumsum(1)).astype(np.uint8)))
    lines = []
    assert score_predictions(manifest, dataset, tmp_path, say=lines.append).scores == expected.scores
    note = "note: 1 masks have several values besides 0 (000003.png); all of them count as foreground."
    assert [line for line in lines if line.startswith("note")] == [note]


def test_only_the_first_faults_of_a_kind_are_named(dataset, tmp_path):
    with pytest.raises(UserError, match=r"none is not a folder; give one with a mask for each episode: 000000\.png"):
        score_predictions(a_manifest(dataset), dataset, tmp_path / "none")
    with pytest.raises(UserError, match=r"episodes: 40 missing \(000000\.png, .*, 000004\.png and 35 more\)\.$"):
        score_predictions(a_manifest(dataset, episodes=40), dataset, tmp_path)
    seeds = a_manifest(dataset, "bam", 2, (510, 365))
    with pytest.raises(UserError, match=r"4 missing \(seed510/000000\.png, seed510/000001\.png, seed365/000000\.png, "):
        score_predictions(seeds, dataset, tmp_path)


def test_labels_from_a_folder_give_the_same_result_and_a_sheet_without_images(dataset, tmp_path):
    manifest = a_manifest(dataset, episodes=9, shots=2)
    labels, masks = tmp_path / "labels", tmp_path / "masks"
    save_masks(masks, manifest, dataset)
    expected = score_predictions(manifest, dataset, masks)
    labels.mkdir()
    for i, name in enumerate(dataset.test.ids):
        (labels / f"{name}.png").write_bytes(dataset.test.records[i]["mask"])
    own = open_labels(manifest, labels)
    result = score_predictions(manifest, own, masks, samples=3)
    np.testing.assert_array_equal(result.intersection, expected.intersection)
    assert result.scores == expected.scores
    assert episode_sheet(result, own).shape[1] == 96 + (2 + 3) * 156
    for i in (0, 3):
        (labels / f"{manifest.episodes[i].query}.png").unlink()
    gone = sorted({f"{manifest.episodes[i].query}.png" for i in (0, 3)})
    with pytest.raises(UserError, match=rf"lacks {len(gone)} of the \d+ masks that the manifest needs: val_"):
        open_labels(manifest, labels)
    (labels / gone[0]).write_bytes(b"no image")
    (labels / gone[-1]).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"of an unreadable label \(.*\.png is not an image"):
        score_predictions(manifest, own, masks)


def test_label_files_of_one_class_images_mark_the_class_with_1(tmp_path):
    asked = (Episode("a/1", "a", ("a/2",)), Episode("b/1", "b", ("b/2",)))
    about = {"fold": 0, "classes": "novel", "shots": 1, "protocol": "hsnet", "seeds": (0,), "restricted": None}
    manifest = Manifest("fss1000", {}, **about, class_ids={"a": 1, "b": 1}, episodes=asked)
    mask = np.array([[1, 0], [0, 255]], np.uint8)
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(png_bytes(mask))
    dataset = open_labels(manifest, tmp_path)
    for spec in manifest.specs(dataset):
        np.testing.assert_array_equal(dataset.test.read_label(spec.query, spec.class_id), mask)
