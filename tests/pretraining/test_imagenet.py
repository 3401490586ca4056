import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmnet_jax.errors import UserError
from mmnet_jax.pretraining.imagenet import central_box, open_imagenet, random_box
from mmnet_jax.pretraining.labelled import ordered_batches, shuffled_batches
from tests.data.synthetic import jpeg

CLASSES = 5
IMAGES = {"train": 7, "validation": 4}


class Imagenet2012(tfds.core.GeneratorBasedBuilder):
    """A few uniform images with the features of TFDS's own; image i is of class i % 5 and of grey value 30 i."""

    VERSION = tfds.core.Version("5.1.0")
    code_path = None

    def _info(self):
        image, label = tfds.features.Image(encoding_format="jpeg"), tfds.features.ClassLabel(num_classes=CLASSES)
        features = {"image": image, "label": label, "file_name": tfds.features.Text()}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in IMAGES.items()}

    def _generate_examples(self, count):
        for i in range(count):
            image = np.full((30 + i, 40, 3), 30 * i, np.uint8)
            image[:, :2] = image[:, -2:] = 255  # outside the central crops
            yield i, {"image": jpeg(image), "label": i % CLASSES, "file_name": f"{i}.JPEG"}


def make_imagenet(folder):
    tfds.disable_progress_bar()
    Imagenet2012(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_imagenet(tmp_path_factory.mktemp("data"))


def test_both_splits_are_read_with_their_labels(prepared):
    train, validation = open_imagenet(prepared, side=16, seed=0)
    assert (train.classes, len(train), len(validation)) == (CLASSES, 7, 4)
    (first, second), labels = zip(*ordered_batches(validation, 2), strict=True)
    np.testing.assert_array_equal(labels, [[0, 1], [2, 3]])
    pixels = np.concatenate([first, second])
    assert pixels.shape == (4, 16, 16, 3)
    expected = np.broadcast_to(30 * np.arange(4)[:, None, None, None], pixels.shape)
    np.testing.assert_allclose(pixels, expected, atol=6)
    np.testing.assert_array_equal(np.sort(next(shuffled_batches(train, 0, 7))[1]), [0, 0, 1, 1, 2, 3, 4])


def test_a_batch_of_random_crops_is_a_function_of_the_seed_and_its_number(prepared):
    def batches(seed):
        return shuffled_batches(open_imagenet(prepared, side=16, seed=seed)[0], seed, 4)

    *_, fourth = itertools.islice(batches(1), 4)
    resumed = shuffled_batches(open_imagenet(prepared, side=16, seed=1)[0], 1, 4, start=3)
    for mine, their in zip(next(resumed), fourth, strict=True):
        np.testing.assert_array_equal(mine, their)
    assert (next(batches(1))[0] != next(batches(2))[0]).any()


def test_a_missing_dataset_is_reported_with_the_command_that_prepares_it(tmp_path):
    with pytest.raises(UserError) as error:
        open_imagenet(tmp_path / "my data", 16, 0)
    assert str(error.value) == (
        f"pretraining.data_dir {tmp_path}/my data holds no prepared imagenet2012; prepare it with: tfds build "
        "imagenet2012 --file_format=array_record --manual_dir=FOLDER_OF_THE_TAR_FILES "
        f"--data_dir='{tmp_path}/my data'"
    )


def test_the_newest_version_is_read_and_another_format_or_damage_refused(prepared, tmp_path):
    folder = tmp_path / "imagenet2012" / "5.1.0"
    shutil.copytree(prepared / "imagenet2012" / "5.1.0", folder)
    (folder.parent / "5.0.0").mkdir()
    (folder.parent / "5.0.0" / "dataset_info.json").write_text("{")
    assert len(open_imagenet(tmp_path, 16, 0)[0]) == 7
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(UserError, match=r"5\.1\.0 is of the format tfrecord, not array_record; prepare it with: tfds"):
        open_imagenet(tmp_path, 16, 0)
    (folder / "dataset_info.json").write_text(json.dumps({**info, "splits": []}))
    with pytest.raises(UserError, match=r"the prepared imagenet2012 in .*5\.1\.0 is damaged, prepare it again"):
        open_imagenet(tmp_path, 16, 0)


def test_random_boxes_are_inside_of_the_wanted_area_and_shape():
    boxes = np.array([random_box((500, 375), 0, draw) for draw in range(300)])
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 500 and boxes[:, 3].max() <= 375
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = width * height / (500 * 375), width / height
    assert 0.078 < area.min() < 0.11 and 0.85 < area.max() <= 1
    assert 0.74 < aspect.min() < 0.78 and 1.29 < aspect.max() < 1.345
    assert (boxes[:, 2] == 500).any() and (boxes[:, 0] == 0).any()  # both edges are reached
    assert random_box((500, 375), 0, 5) == tuple(boxes[5]) != random_box((500, 375), 1, 5)


def test_the_central_box_by_hand_and_as_fallback_if_no_random_box_fits():
    assert central_box((100, 50)) == (28.125, 3.125, 71.875, 46.875)
    assert random_box((1000, 10), 0, 0) == central_box((1000, 10))
