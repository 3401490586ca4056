"""Building PASCAL-5i from a VOCdevkit folder."""

import io
import shutil

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from mmnet_jax.cli.progress import Printer
from mmnet_jax.data.datasets.pascal5i import find_voc, list_ids
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from tests.data.synthetic import TRAIN, VAL, a_mask, jpeg, palette_png, prepare_voc, write_image


def test_records_keep_list_order_jpeg_bytes_and_mask_indices(voc, data):
    dataset = prepare_voc(voc.parent, data)
    assert list(dataset.train.ids) == TRAIN and list(dataset.test.ids) == VAL
    assert (dataset.name, dataset.test.max_side, len(dataset.class_names)) == ("pascal5i", 20, 21)
    for i, identity in enumerate(TRAIN):
        record = dataset.train.records[i]
        assert record["id"] == identity.encode()
        assert record["image"] == (voc / "JPEGImages" / f"{identity}.jpg").read_bytes()
        image, mask = dataset.train.read_image(i), dataset.train.read_mask(i)
        assert image.shape == (12, 16, 3)
        np.testing.assert_array_equal(mask, a_mask(12, 16, 6 + i))
        # Four rows of 16 pixels hold the class, one is unknown and not counted, seven are background.
        expected = np.zeros(21, int)
        expected[[0, 6 + i]] = 112, 64
        np.testing.assert_array_equal(record["counts"], expected)
        np.testing.assert_array_equal(dataset.train.counts[i], expected)
        assert Image.open(io.BytesIO(record["mask"])).mode == "L"  # OpenCV would read a palette PNG as colours


def test_source_may_be_voc2012_vocdevkit_or_the_folder_above(voc):
    assert find_voc(voc) == find_voc(voc.parent) == find_voc(voc.parent.parent) == voc


def test_protocol_keeps_the_order_of_its_lists_and_counts_the_images_found(voc, data):
    (voc / "SegmentationClassAug" / f"{VAL[0]}.png").unlink()
    dataset = prepare_voc(voc, data, "protocol")
    assert list(dataset.train.ids) == ["2008_000008", "2008_000015", "2007_000032"]
    assert list(dataset.test.ids) == ["2007_000033"]
    lines = summary("pascal5i", data, "protocol").splitlines()
    assert "train: found 3 of 5,953 images" in lines
    assert "val: found 1 of 1,449 images (1 more without a mask)" in lines


def test_one_split_may_be_empty(voc, data):
    for identity in TRAIN:
        (voc / "JPEGImages" / f"{identity}.jpg").unlink()
    dataset = prepare_voc(voc, data, "protocol")
    assert (len(dataset.train), len(dataset.test)) == (0, 2)
    assert dataset.train.counts.shape == (0, 21)


def test_summary_counts_images_of_each_class_and_names_the_next_command(voc, data):
    write_image(voc, TRAIN[0], a_mask(192, 40, 6))  # 64 rows of 40 pixels: more than 2,048
    prepare_voc(voc, data)
    text = summary("pascal5i", data, "folder")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["bus"] == ["1", "1", "0", "0"]
    assert rows["car"] == ["1", "0", "0", "0"]
    assert rows["aeroplane"] == ["0", "0", "2", "0"]
    assert f"--config=configs/pascal_small.py --workdir=WORKDIR --config.data.data_dir={data} " in text


def test_a_prepared_dataset_is_not_prepared_again(voc, data, capsys):
    folder = prepare("pascal5i", voc, data, "folder", Printer())
    assert capsys.readouterr().out.splitlines()[-1].startswith("pascal5i: image 5/5  ")
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert prepare("pascal5i", voc, data, "folder") == folder
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


LIST = "ImageSets/Segmentation/{}.txt".format
MASKS = "SegmentationClassAug"
FAULTS = {  # files with new contents (None: it is gone), and the message
    "a mask of another size": (
        {f"{MASKS}/{TRAIN[1]}.png": palette_png(a_mask(10, 20, 1))},
        f"{{VOC}}/{MASKS}/{TRAIN[1]}.png is 20 x 10 pixels, but its image ",
    ),
    "no list": ({LIST("val"): None}, "{VOC}/ImageSets/Segmentation/val.txt does not exist"),
    "lists that leak": (
        {LIST("val"): f"{VAL[0]}\n{TRAIN[1]}".encode()},
        "train.txt and val.txt of {VOC} share 1 images, such as 2008_000008.",
    ),
    "unknown ids": (
        {LIST("val"): b"x", LIST("train"): b"y"},
        "{SOURCE} holds no image of pascal5i (folder) with its mask; the lists name other images than JPEGImages",
    ),
    "no masks": ({MASKS: None}, f"{{VOC}} has no masks; add {MASKS} (the masks of VOC 2012 and SBD as PNG files)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_source_is_an_error_that_leaves_no_dataset(voc, data, fault):
    changes, sentence = FAULTS[fault]
    for name, content in changes.items():
        if content is None:
            (voc / name).rename(voc / f"{name}_away")
        else:
            (voc / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        prepare_voc(voc, data)
    assert str(error.value).startswith(sentence.format(VOC=voc, SOURCE=voc))
    assert not data.exists()


def test_wrong_arguments_are_errors(voc, data, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").touch()
    for (name, source, variant), sentence in {
        ("kitti", voc, None): "unknown dataset kitti: use one of pascal5i",
        ("pascal5i", voc, "thirds"): "pascal5i comes in the variants protocol, trainaug and folder, but not thirds",
        ("pascal5i", tmp_path / "nowhere", None): r"--source .*nowhere is not a folder",
        ("pascal5i", tmp_path / "empty", None): "empty is an empty folder",
        ("pascal5i", tmp_path / "other", None): "other holds no VOC2012/JPEGImages; give the VOCdevkit folder",
        ("pascal5i", None, None): r"^--source is missing: give the folder that pascal5i is prepared from",
    }.items():
        with pytest.raises(UserError, match=sentence):
            prepare(name, source, data, variant)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error:
        prepare("pascal5i", voc, tmp_path / "file" / "data", "folder")
    assert error.value.filename == str(tmp_path / "file" / "data")


def write_sbd(root, masks):
    """SBD's original archive: an image and a MATLAB file for each id."""
    sbd = root / "benchmark_RELEASE" / "dataset"
    for folder in ("cls", "img", "inst"):
        (sbd / folder).mkdir(parents=True)
    for identity, mask in masks.items():
        cells = np.empty((2, 1), object)
        cells[:, 0] = [scipy.sparse.csc_matrix(mask == c, dtype=bool) for c in (1, 2)]
        content = {"Boundaries": cells, "Segmentation": mask, "CategoriesPresent": np.unique(mask)[1:]}
        scipy.io.savemat(sbd / "cls" / f"{identity}.mat", {"GTcls": content}, do_compression=True)
        pixels = np.full((*mask.shape, 3), 77, np.uint8)
        (sbd / "img" / f"{identity}.jpg").write_bytes(jpeg(pixels))
    return sbd


@pytest.mark.parametrize("place", ["in the source folder", "beside VOCdevkit", "in VOCdevkit"])
def test_sbd_is_read_from_its_original_archive_wherever_it_lies(voc, data, place):
    shutil.rmtree(voc / "SegmentationClassAug")
    roots = {"in the source folder": voc, "beside VOCdevkit": voc.parent.parent, "in VOCdevkit": voc.parent}
    new = "2008_000019"  # of SBD's train_noval, and not among VOC's images here
    mask = a_mask(12, 16, 3) % 255  # SBD's hold no 255
    write_sbd(roots[place], {new: mask, TRAIN[1]: mask})
    dataset = prepare_voc(voc, data, "protocol")
    assert set(dataset.train.ids) == {new, TRAIN[1]}
    for i in range(2):
        np.testing.assert_array_equal(dataset.train.read_mask(i), mask)
    image = dict(zip(dataset.train.ids, (record["image"] for record in dataset.train.records), strict=True))
    assert image[TRAIN[1]] == (voc / "JPEGImages" / f"{TRAIN[1]}.jpg").read_bytes()
    assert image[new] == (roots[place] / "benchmark_RELEASE/dataset/img" / f"{new}.jpg").read_bytes()


def test_vocs_own_mask_wins_over_both_forms_of_sbds(voc, data):
    own, sbd = a_mask(12, 16, 1), a_mask(12, 16, 3) % 255
    (voc / "SegmentationClass").mkdir()
    (voc / "SegmentationClass" / f"{TRAIN[0]}.png").write_bytes(palette_png(own))
    write_sbd(voc.parent, {TRAIN[0]: sbd, TRAIN[1]: sbd})
    dataset = prepare_voc(voc, data)
    np.testing.assert_array_equal(dataset.train.read_mask(0), own)
    np.testing.assert_array_equal(dataset.train.read_mask(1), a_mask(12, 16, 7))  # SegmentationClassAug's


def test_trainaug_is_all_of_sbd_and_voc_train_less_voc_val(voc, data):
    ids = list_ids(voc, "trainaug")
    assert (len(ids["train"]), len(set(ids["train"])), len(ids["val"])) == (10_582, 10_582, 1_449)
    assert not set(ids["train"]) & set(ids["val"]) and set(ids["train"]) > set(list_ids(voc, "protocol")["train"])
    prepare_voc(voc, data, "trainaug")
    text = summary("pascal5i", data, "trainaug")
    assert "train: found 3 of 10,582 images\nval: found 2 of 1,449 images\n" in text
    assert "--config=configs/pascal_1shot.py" in text and " --config.data.split=trainaug " in text


def test_published_lists_need_the_masks_of_sbd(voc, data):
    (voc / "SegmentationClassAug").rename(voc / "SegmentationClass")
    for variant, missing, wanted in (("protocol", "7,397", "7,402"), ("trainaug", "12,026", "12,031")):
        with pytest.raises(UserError) as error:
            prepare("pascal5i", voc, data, variant)
        lacking = f"{missing} of the {wanted} masks of --split={variant} are missing: {voc} has SegmentationClass alone"
        assert str(error.value).startswith(lacking)
        assert "Get SBD's, the folder SegmentationClassAug or the archive benchmark_RELEASE beside" in str(error.value)
    assert len(prepare_voc(voc, data).train) == 3


def test_a_broken_archive_of_sbd_is_an_error(voc, data):
    sbd = write_sbd(voc, {"2008_000019": a_mask(12, 16, 3) % 255})
    mat = sbd / "cls" / "2008_000019.mat"
    whole = mat.read_bytes()
    for content in (b"", whole[:-20], b"text"):
        mat.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{mat} is broken or holds no mask of SBD's, GTcls\.Segmentation \("):
            prepare("pascal5i", voc, data, "protocol")
    scipy.io.savemat(mat, {"GTinst": {"Segmentation": 1}})
    with pytest.raises(UserError, match=r"holds no mask of SBD's"):
        prepare("pascal5i", voc, data, "protocol")
    shutil.rmtree(sbd / "cls")
    with pytest.raises(UserError, match=rf"^{sbd.parent} has no folder dataset/cls, SBD's masks; unpack the whole"):
        prepare("pascal5i", voc, data, "protocol")
