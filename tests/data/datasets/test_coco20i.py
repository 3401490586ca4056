"""Building COCO-20i from COCO's own folders."""

import json
import pickle
import sys

import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.config import load_recipe, resolve
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.datasets.coco20i import NAMES, list_images
from mmnet_jax.data.datasets.coco_masks import draw_mask
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.report import report, result_files
from mmnet_jax.inference.segmentation import segment_images
from mmnet_jax.inference.supports import read_supports
from mmnet_jax.training.stages import train
from mmnet_jax.workdir.folder import Workdir
from tests.data.synthetic import jpeg

pytest.importorskip("pycocotools")
SIZE = HEIGHT, WIDTH = 12, 16
CATEGORIES = {3 * i + 2: name for i, name in enumerate(NAMES)}  # ids with gaps, as COCO's own have
PERSON, BICYCLE = 2, 5
CLASSES = {category: i for i, category in enumerate(CATEGORIES, 1)}


def box(x0, y0, x1, y1):
    """The polygon of a rectangle."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def annotate(number, image, category, *polygons, **more):
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation": polygons} | more


CROWD = {"size": [HEIGHT, WIDTH], "counts": [0, 8 * HEIGHT, 8 * HEIGHT]}  # the left half, column by column
ANNOTATIONS = {
    "train": [
        annotate(1, 30, PERSON, box(0, 0, 4, 4), box(8, 0, 12, 4)),
        annotate(2, 9, BICYCLE, box(2, 2, 6, 6)),
        annotate(3, 30, BICYCLE, box(2, 2, 6, 6)),
        annotate(4, 77, PERSON, box(2, 2, 6, 6)),  # of an image that the file does not list
    ],
    "val": [
        annotate(5, 48044, PERSON, box(0, 0, 4, 4)),
        annotate(6, 7, PERSON, box(0, 0, 4, 4)),
        annotate(7, 429717, PERSON, box(6, 0, 10, 4)),
        annotate(8, 429717, BICYCLE, CROWD, iscrowd=1) | {"segmentation": CROWD},
        annotate(9, 221350, PERSON, CROWD, iscrowd=1) | {"segmentation": CROWD},
    ],
}
IMAGES = {"train": [30, 9, 12], "val": [7, 48044, 221350, 429717]}
PLACES = {
    9: "train2014/COCO_train2014_000000000009.jpg",
    30: "train2017/000000000030.jpg",
    12: "train2014/COCO_train2014_000000000012.jpg",
    7: "val2014/COCO_val2014_000000000007.JPEG",
    48044: "val2014/COCO_val2014_000000048044.jpg",
    221350: "train2017/000000221350.jpg",
    429717: "val2017/000000429717.jpg",
}


def write_annotations(coco, split, **changes):
    images = [{"id": i, "height": HEIGHT, "width": WIDTH} for i in IMAGES[split]]
    categories = [{"id": i, "name": name} for i, name in reversed(CATEGORIES.items())]
    content = {"info": {"year": 2014}, "images": images, "annotations": ANNOTATIONS[split], "categories": categories}
    file = coco / "annotations" / f"instances_{split}2014.json"
    file.write_text(json.dumps(content | changes))
    return file


@pytest.fixture
def coco(tmp_path):
    """A COCO folder whose images lie in all four of its image folders; image 12 has no annotation."""
    coco = tmp_path / "coco"
    for name in ("annotations", "train2014", "val2014", "train2017", "val2017"):
        (coco / name).mkdir(parents=True)
    for number, place in PLACES.items():
        (coco / place).write_bytes(jpeg(np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8)))
    for other in ("notes.txt", "mask_000000000030.jpg", "000000000030.png"):
        (coco / "train2014" / other).touch()
    (coco / "train2014" / "._COCO_train2014_000000000009.jpg").touch()  # of macOS
    for split in ANNOTATIONS:
        write_annotations(coco, split)
    return coco


def filled(*parts):
    """A mask of rectangles (y0, y1, x0, x1, index), later ones over earlier ones."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for y0, y1, x0, x1, index in parts:
        mask[y0:y1, x0:x1] = index
    return mask


def test_records_have_every_polygon_and_crowds_are_ignored(coco, data):
    prepare("coco20i", coco, data)
    dataset = open_dataset("coco20i", data, "all")
    assert list(dataset.train.ids) == ["9", "30"]  # ascending
    assert list(dataset.test.ids) == ["429717", "48044", "221350", "7"]  # as published, then those not in the list
    assert dataset.train.records[0]["image"] == (coco / PLACES[9]).read_bytes()
    masks = [dataset.train.read_mask(i) for i in range(2)] + [dataset.test.read_mask(i) for i in range(4)]
    person = filled((0, 4, 0, 4, 1))
    two = filled((0, 4, 0, 4, 1), (0, 4, 8, 12, 1), (2, 6, 2, 6, 2))
    crowd = filled((0, HEIGHT, 0, 8, 255))
    behind = filled((0, HEIGHT, 0, 8, 255), (0, 4, 6, 10, 1))  # the object wins, though the crowd comes later
    for mask, expected in zip(masks, [filled((2, 6, 2, 6, 2)), two, behind, person, crowd, person], strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert dataset.classes(0, "novel")[:2] == (1, 5)
    assert dataset.choices == {"coco_masks": "all", "folds": "interleaved"}
    contiguous = open_dataset("coco20i", data, "all", "contiguous")
    assert contiguous.classes(0, "novel") == tuple(range(1, 21)) and contiguous.choices["folds"] == "contiguous"
    lines = summary("coco20i", data, "all").splitlines()
    assert lines[:2] == ["train: found 2 of 82,081 images", "val: found 4 of 40,137 images"]
    assert lines[-1].split()[3] == "--config=configs/coco_1shot.py" and "coco_masks" not in lines[-1]


def test_published_masks_have_the_first_polygon_in_whole_pixels_and_no_crowds(coco, data):
    cv2 = pytest.importorskip("cv2")
    prepare("coco20i", coco, data, "published")
    dataset = open_dataset("coco20i", data, "published")
    # OpenCV fills a polygon with its border.
    expected = [filled((2, 7, 2, 7, 2)), filled((0, 5, 0, 5, 1), (2, 7, 2, 7, 2))]
    for i, mask in enumerate(expected):
        np.testing.assert_array_equal(dataset.train.read_mask(i), mask)
    np.testing.assert_array_equal(dataset.test.read_mask(0), filled((0, 5, 6, 11, 1)))
    assert not dataset.test.read_mask(2).any()
    assert " --config.data.coco_masks=published " in summary("coco20i", data, "published")

    mask = draw_mask([annotate(1, 1, BICYCLE, [1.9, 2.9, 9.99, 3.5, 7.2, 10.7])], *SIZE, CLASSES, "published", "m")
    assert mask[2, 1] == mask[3, 9] == mask[10, 7] == 2
    by_hand = np.zeros_like(mask)
    cv2.fillPoly(by_hand, [np.int32([[1, 2], [9, 3], [7, 10]])], 2)
    np.testing.assert_array_equal(mask, by_hand)


@pytest.mark.slow
def test_the_recipe_trains_evaluates_and_predicts_on_the_chosen_masks_and_folds(coco, data, tmp_path):
    pytest.importorskip("cv2")
    prepare("coco20i", coco, data, "published")
    config = load_recipe("coco_1shot")
    config.model.update(backbone="tiny", random_backbone=True, memory_size=7, channels=8, bins=(1.0,))
    config.data.update(data_dir=str(data), coco_masks="published", image_size=33, min_pixels=10)
    config.training.update(steps=2, batch_size=2, evaluation_episodes=0)
    config.evaluation.update(after_training=True, episodes=4)
    workdir, lines = Workdir(tmp_path / "run"), []
    summary = train(resolve(config), workdir, lines.append).summary
    assert (summary["coco_masks"], summary["folds"]) == ("published", "interleaved")
    assert set(summary["class_iou"]) == {"person"} and len(summary["left_out"]) == 19
    assert report(summary).startswith("coco20i (coco_masks=published, folds=interleaved) fold 0, 1-shot, ")
    manifest = json.loads(result_files(workdir.results / "result.json")[1].read_text())
    assert (manifest["coco_masks"], manifest["folds"]) == ("published", "interleaved")
    assert [episode["query"] for episode in manifest["episodes"]] == ["429717", "48044", "7", "429717"]

    model, variables, config = load_model(workdir.path, "latest")
    support, mask, query = (workdir.results / "example" / f"{name}.png" for name in ("support", "mask", "query"))
    supports = read_supports([support], [mask], config)
    (result,) = segment_images(model, variables, config, supports, [query], tmp_path / "found")
    assert all(file.is_file() for file in result.files)


def test_run_length_codes_of_objects_are_read_in_both_forms():
    from pycocotools import mask as codes

    left = filled((0, HEIGHT, 0, 8, 1))
    packed = codes.encode(np.asfortranarray(left))
    for segmentation in (CROWD, packed, {**packed, "counts": packed["counts"].decode()}):
        one = annotate(1, 1, PERSON) | {"segmentation": segmentation}
        np.testing.assert_array_equal(draw_mask([one], *SIZE, CLASSES, "all", "m"), left)


@pytest.mark.parametrize("masks", ["all", "published"])
def test_an_object_without_a_shape_leaves_the_mask_alone(masks):
    pytest.importorskip("cv2")
    nothing = [annotate(1, 1, PERSON), annotate(2, 1, PERSON, []), annotate(3, 1, PERSON) | {"segmentation": None}]
    nothing += [annotate(4, 1, PERSON, [3, 3, 6, 6])] if masks == "all" else []  # two points have no area
    assert not draw_mask(nothing, *SIZE, CLASSES, masks, "m").any()


BROKEN = {
    "a category that is not declared": ({"category_id": 4}, "the file declares no category 4"),
    "an odd polygon": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "cannot reshape"),
    "a number for polygons": ({"segmentation": 5}, "'int' object is not iterable"),
    "a polygon far outside": ({"segmentation": [[0, 0, 1e9, 0, 1e9, 9]]}, "its polygon is outside the image of 16 x"),
    "a run length of another image": ({"segmentation": {"size": [9, 9], "counts": [81]}}, "its run-length code is of"),
    "a short run length": ({"segmentation": CROWD | {"counts": [5]}}, "its run-length code does not fill the image"),
    "no polygon where they are published": ({"segmentation": CROWD}, "published masks need polygons"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_malformed_annotation_is_an_error(fault):
    changes, sentence = BROKEN[fault]
    masks = "published" if "published" in fault else "all"
    with pytest.raises(UserError, match=rf"^the mask of 1 cannot be drawn: annotation 5 is malformed \({sentence}"):
        draw_mask([annotate(5, 1, PERSON) | changes], *SIZE, CLASSES, masks, "the mask of 1")


def test_a_size_that_differs_from_the_image_is_an_error_that_names_the_annotation_file(coco, data):
    images = [{"id": 9, "height": 2 * HEIGHT, "width": WIDTH}]
    file = write_annotations(coco, "train", images=images)
    with pytest.raises(UserError, match=rf"the mask of image 9 in {file} is 16 x 24 pixels, but .* 16 x 12;"):
        prepare("coco20i", coco, data)
    assert not data.exists()


FAULTS = {
    "no categories": ({"categories": []}, "{} has other categories than COCO's 80; unpack COCO's annotations_train"),
    "other names": (
        {"categories": [{"id": i, "name": name.replace("bicycle", "bike")} for i, name in CATEGORIES.items()]},
        "{} has other categories than COCO's 80; unpack COCO's annotations_trainval2014.zip in ",
    ),
    "no size": (
        {"images": [{"id": 9}]},
        "{} is broken or not a COCO annotation file (it lacks 'height'); unpack COCO's",
    ),
    "a negative side": (
        {"images": [{"id": 9, "height": -1, "width": 8}]},
        "{} is broken or not a COCO annotation file (image 9 is 8 x -1 pixels); unpack COCO's",
    ),
    "a side beyond a JPEG's": (
        {"images": [{"id": 9, "height": 8, "width": 65536}]},
        "{} is broken or not a COCO annotation file (image 9 is 65536 x 8 pixels); unpack COCO's",
    ),
    "the same images twice": ({"images": [{"id": 9, "height": 1, "width": 1}]}, "instances_train2014.json and inst"),
    "nothing annotated": ({"annotations": []}, "{} annotates no image; unpack COCO's annotations_trainval2014.zip in "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_annotation_file_is_an_error(coco, fault):
    changes, sentence = FAULTS[fault]
    file = write_annotations(coco, "train", **changes)
    if fault == "the same images twice":
        write_annotations(coco, "val", annotations=ANNOTATIONS["train"], **changes)
    with pytest.raises(UserError) as error:
        list_images(coco, "all")
    assert str(error.value).startswith(sentence.format(file))


def test_a_missing_annotation_file_is_an_error(coco):
    file = coco / "annotations" / "instances_train2014.json"
    file.rename(file.with_name("instances_train2017.json"))
    sentence = f"{file} does not exist; unpack COCO's annotations_trainval2014.zip in {coco}, since those of 2017 "
    with pytest.raises(UserError, match=f"^{sentence}"):
        list_images(coco, "all")


def test_a_folder_without_images_is_an_error(coco, data):
    for place in PLACES.values():
        (coco / place).unlink()
    sentence = rf"^{coco} holds no image of coco20i \(all\) with its mask; put COCO's folders train2014, val2014, "
    with pytest.raises(UserError, match=sentence):
        prepare("coco20i", coco, data)


def test_a_truncated_annotation_file_is_an_error(coco):
    file = coco / "annotations" / "instances_val2014.json"
    whole = file.read_text()
    for length in (0, 30, len(whole) // 2, len(whole) - 1):
        file.write_text(whole[:length])
        with pytest.raises(UserError, match=rf"^{file} is broken or not a COCO annotation file \(.*\); unpack COCO's "):
            list_images(coco, "all")


def test_sources_are_small_and_cross_to_workers(coco):
    listing = list_images(coco, "all")["train"]
    read, sources = pickle.loads(pickle.dumps((listing.read, listing.sources)))
    assert all(len(pickle.dumps(source)) < 2000 for source in sources)
    np.testing.assert_array_equal(read(sources[1]).mask, listing.read(listing.sources[1]).mask)


@pytest.mark.parametrize(("masks", "package"), [("all", "pycocotools"), ("published", "cv2")])
def test_a_missing_package_is_an_error_with_the_command_that_installs_it(coco, monkeypatch, masks, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^preparing coco20i needs {package}: pip install 'mmnet-jax\[coco\]'\.$"):
        list_images(coco, masks)
