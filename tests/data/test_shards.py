"""Preparation in shards: the result does not depend on workers, interruptions or faults, and is never partial."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mmnet_jax.data import prepare as preparation, shards
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from tests.data.synthetic import a_mask, jpeg, palette_png, prepare_voc, turned, write_image
from tests.training.tiny_training import no_file_above

TRAIN = [f"train_{i}" for i in range(5)]
SPLITS = {"train": TRAIN, "val": ["val_0", "val_1"]}
FILES = [f"pascal5i-train.array_record-0000{i}-of-00003" for i in range(3)]
FILES += ["pascal5i-val.array_record-00000-of-00001"]


@pytest.fixture
def voc(voc, monkeypatch):
    """Five train and two val images, at most two in a shard: four shards."""
    monkeypatch.setattr(shards, "SIZE", 2)
    for part, ids in SPLITS.items():
        (voc / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(ids))
        for i, identity in enumerate(ids):
            write_image(voc, identity, a_mask(12 + i, 16, 1 + i))
    return voc


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every record file."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in sorted(folder.glob("*array_record*"))}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in files(folder).items()}


def unfinished(data: Path) -> Path:
    return data / "pascal5i" / "folder" / ".1.0.0.unfinished"


def image_of(voc: Path, identity: str) -> Path:
    return voc / "JPEGImages" / f"{identity}.jpg"


def mask_of(voc: Path, identity: str) -> Path:
    return voc / "SegmentationClassAug" / f"{identity}.png"


def test_worker_processes_make_what_one_process_makes(voc, data, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "MIN_FOR_WORKERS", 0)
    lines = []
    one = prepare("pascal5i", voc, data, "folder", workers=1)
    two = prepare("pascal5i", voc, tmp_path / "other", "folder", lines.append, workers=2)
    assert list(contents(one)) == FILES and contents(one) == contents(two)
    assert json.loads((one / "metadata.json").read_text()) == json.loads((two / "metadata.json").read_text())
    assert lines[-1].startswith("pascal5i: image 7/7 ")
    assert [len(f) for f in (os.listdir(one.parent), os.listdir(two.parent))] == [1, 1]
    dataset = open_dataset("pascal5i", tmp_path / "other", "folder")
    assert list(dataset.train.ids) == TRAIN and dataset.train.read_mask(4)[0, 0] == 5


def test_finished_shards_are_kept_and_the_next_run_makes_the_rest(voc, data, tmp_path, monkeypatch):
    whole = contents(prepare("pascal5i", voc, tmp_path / "other", "folder"))
    good = image_of(voc, "train_4").read_bytes()
    image_of(voc, "train_4").write_bytes(good[:-50])
    lines = []
    with pytest.raises(UserError, match=r"train_4\.jpg is broken.*; --on_error=skip leaves out such images\.$"):
        prepare("pascal5i", voc, data, "folder", lines.append)
    assert lines[-1] == "pascal5i: 4 of 7 images are finished and kept; rerun the command to continue."
    assert os.listdir(unfinished(data).parent) == [".1.0.0.unfinished"]
    before = files(unfinished(data) / "records")
    assert list(before) == FILES[:2]
    image_of(voc, "train_4").write_bytes(good)
    monkeypatch.chdir(voc.parent)
    folder = prepare("pascal5i", voc.name, data, "folder", lines.append)  # the same source by another path
    assert "pascal5i: 4 of 7 images exist from an earlier run." in lines
    after = files(folder)
    assert {name: after[name] for name in before} == before and contents(folder) == whole
    assert os.listdir(folder.parent) == ["1.0.0"]


@pytest.mark.parametrize("change", ["a mask", "the list"])
def test_finished_shards_are_made_again_if_their_images_have_changed(voc, data, change):
    good = image_of(voc, "val_1").read_bytes()
    image_of(voc, "val_1").write_bytes(b"")
    with pytest.raises(UserError, match="val_1"):
        prepare("pascal5i", voc, data, "folder")
    image_of(voc, "val_1").write_bytes(good)
    if change == "a mask":
        mask_of(voc, "train_2").write_bytes(palette_png(a_mask(14, 16, 20)))
    else:
        (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(TRAIN[:2] + TRAIN[:1:-1]))
    lines = []
    prepare("pascal5i", voc, data, "folder", lines.append)
    made = 1 if change == "a mask" else 2
    remade = f"pascal5i: making {made} files of an earlier run again, since their images changed or were left out."
    assert remade in lines
    dataset = open_dataset("pascal5i", data, "folder")
    if change == "a mask":
        assert dataset.train.counts[2, 20] == 64
    else:
        assert list(dataset.train.ids) == [*TRAIN[:2], *TRAIN[:1:-1]]


WIDE = np.ones((2, 12_000), np.uint8)
FAULTS = {  # the file at fault, its content (None: a dangling link), and the message
    "truncated JPEG": (image_of, lambda content: content[:-50], "is broken and cannot be"),
    "empty image": (image_of, lambda content: b"", "is not an image"),
    "empty mask": (mask_of, lambda content: b"", "is not an image"),
    "missing file": (mask_of, lambda content: None, "cannot be read: No such file or directory"),
    "wide image": (image_of, lambda content: jpeg(WIDE), "is 12,000 x 2 pixels, and every batch is pad"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unusable_image_is_named_and_left_out_on_request(voc, data, fault):
    place, change, sentence = FAULTS[fault]
    file = place(voc, "train_3")
    content = change(file.read_bytes())
    file.unlink()
    file.symlink_to("nowhere") if content is None else file.write_bytes(content)
    if fault == "wide image":
        mask_of(voc, "train_3").write_bytes(palette_png(WIDE))
    with pytest.raises(UserError) as error:
        prepare("pascal5i", voc, data, "folder")
    assert str(error.value).startswith(f"{file} {sentence}")
    lines = []
    prepare("pascal5i", voc, data, "folder", lines.append, on_error="skip")
    assert lines[-1].startswith(f"left out train_3: {file} {sentence}")
    dataset = open_dataset("pascal5i", data, "folder")
    assert list(dataset.train.ids) == [*TRAIN[:3], "train_4"] and dataset.train.max_side == 16
    assert dataset.train.read_mask(3).shape == (16, 16)
    assert "train: found 4 of 5 images (1 more left out)" in summary("pascal5i", data, "folder")


def test_an_image_of_one_pixel_is_prepared(voc, data):
    write_image(voc, "train_3", np.uint8([[7]]))
    dataset = prepare_voc(voc, data)
    image, mask = dataset.train.read_image(3), dataset.train.read_mask(3)
    assert image.shape == (1, 1, 3) and mask.tolist() == [[7]] and dataset.train.counts[3, 7] == 1


def test_a_shard_or_a_split_may_lose_all_its_images(voc, data):
    for identity in ("train_2", "train_3", "val_0", "val_1"):
        mask_of(voc, identity).write_bytes(b"")
    prepare("pascal5i", voc, data, "folder", on_error="skip")
    dataset = open_dataset("pascal5i", data, "folder")
    assert list(dataset.train.ids) == ["train_0", "train_1", "train_4"] and len(dataset.test) == 0
    assert dataset.train.read_mask(2)[0, 0] == 5


def test_nothing_is_prepared_without_any_usable_image(voc, data):
    for ids in SPLITS.values():
        for identity in ids:
            mask_of(voc, identity).write_bytes(b"")
    with pytest.raises(UserError, match=r"^none of the 7 images can be used; the first: .*train_0.png is not an image"):
        prepare("pascal5i", voc, data, "folder", on_error="skip")
    assert not data.exists()


def test_shards_without_all_their_images_are_made_again_unless_skipping(voc, data):
    mask_of(voc, "train_1").write_bytes(b"")
    image_of(voc, "val_1").write_bytes(b"")

    def interrupt(line):
        if line.startswith("left out"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("pascal5i", voc, data, "folder", interrupt, on_error="skip")
    before = files(unfinished(data) / "records")
    assert list(before) == FILES
    with pytest.raises(UserError, match=r"train_1\.png is not an image"):
        prepare("pascal5i", voc, data, "folder")
    assert list(files(unfinished(data) / "records")) == FILES[1:3]
    lines = []
    folder = prepare("pascal5i", voc, data, "folder", lines.append, on_error="skip")
    assert files(folder)[FILES[1]] == before[FILES[1]]
    assert [line.split(":")[0] for line in lines[-2:]] == ["left out train_1", "left out val_1"]


def test_a_full_disk_is_named_and_finished_shards_are_kept(voc, data):
    write_image(voc, "train_3", np.ones((300, 400), np.uint8))  # noise: 200 kB
    with no_file_above(150_000), pytest.raises(OSError) as error:
        prepare("pascal5i", voc, data, "folder")
    assert error.value.errno == errno.EFBIG and error.value.filename == str(unfinished(data))
    assert list(contents(unfinished(data) / "records")) == FILES[:1]
    assert not any(unfinished(data).glob("notes/*.part"))
    assert len(prepare_voc(voc, data).train) == 5  # there is room again


def test_a_second_preparation_into_one_folder_waits_and_finds_it_prepared(voc, data):
    busy, waiting, lines = threading.Event(), threading.Event(), []

    def hold(line):
        if "image" in line:
            busy.set()
            assert waiting.wait(60)

    def second(line):
        lines.append(line)
        if "waiting" in line:
            waiting.set()

    threads = [threading.Thread(target=prepare, args=("pascal5i", voc, data, "folder", say)) for say in (hold, second)]
    threads[0].start()
    assert busy.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    folder = data / "pascal5i" / "folder" / "1.0.0"
    assert lines[1:] == [f"waiting for another process that prepares {folder}"]
    assert os.listdir(folder.parent) == ["1.0.0"] and len(open_dataset("pascal5i", data, "folder").train) == 5


def test_worker_processes_import_no_jax():
    code = "import sys, mmnet_jax.data.shards, mmnet_jax.data.datasets; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_images_that_are_missing_or_turned_are_named(voc, data):
    image_of(voc, "train_0").unlink()
    mask_of(voc, "train_3").unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (13, 16, 3), dtype=np.uint8)
    image_of(voc, "train_1").write_bytes(turned(pixels, 3))
    lines = []
    prepare("pascal5i", voc, data, "folder", lines.append)
    assert "pascal5i: not found, or without a mask, for the train split: train_0, train_3" in lines
    expected = "pascal5i: rotated by EXIF: train_1; make sure that their masks are upright too."
    assert lines[-1] == expected and not any("val split" in line for line in lines)


def test_of_many_missing_ids_the_first_five_are_named(voc, data):
    for i in range(7):
        (voc / "ImageSets/Segmentation/train.txt").open("a").write(f"\nabsent_{i}")
    lines = []
    prepare("pascal5i", voc, data, "folder", lines.append)
    assert lines[1].endswith("train split: absent_0, absent_1, absent_2, absent_3, absent_4 and 2 more")


def test_a_data_folder_that_is_a_file_is_refused(voc, data):
    data.touch()
    with pytest.raises(UserError, match=f"^--data_dir {data} is a file, not a folder"):
        prepare("pascal5i", voc, data, "folder")
