"""scripts/prepare_data.py as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.making import TRAIN, a_mask, write_picture

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_prepares_tells_progress_and_what_comes_next(voc, tmp_path):
    done = run("pascal5i", f"--source={voc.parent}", f"--data_dir={tmp_path / 'data'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"pascal5i is prepared: {tmp_path}/data/pascal5i/protocol/1.0.0\n")
    assert "train: found 3 of 5,953 images\nval: found 2 of 1,449 images\n" in done.stdout
    assert "python -m mmnet_jax.train --config=configs/pascal_1shot.py" in done.stdout.splitlines()[-1]
    assert "pascal5i train: image 3/3 " in done.stderr and "pascal5i val: image 2/2 " in done.stderr
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["pascal5i"]


def mistakes(voc, data):
    broken = voc / "JPEGImages" / f"{TRAIN[0]}.jpg"
    return {
        "no dataset": (
            ["--source=nowhere"],
            "the first argument is the dataset to prepare: pascal5i or creatures.",
        ),
        "broken image": (["pascal5i", f"--source={voc}", f"--data_dir={data}"], f"{broken} is not an image."),
    }


@pytest.mark.parametrize("mistake", ["no dataset", "broken image"])
def test_a_mistake_is_one_sentence_and_status_2(voc, tmp_path, mistake):
    (voc / "JPEGImages" / f"{TRAIN[0]}.jpg").write_text("not a picture")
    arguments, sentence = mistakes(voc, tmp_path / "data")[mistake]
    failed = run(*arguments)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == sentence
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "data").exists()


def test_terminated_it_leaves_nothing_behind(voc, tmp_path):
    for i in range(1000):
        write_picture(voc, f"made_up_{i}", a_mask(60, 80, 1))
    names = "\n".join(f"made_up_{i}" for i in range(1000))
    (voc / "ImageSets/Segmentation/train.txt").write_text(names)
    (tmp_path / "data").mkdir()
    arguments = ["pascal5i", f"--source={voc}", f"--data_dir={tmp_path / 'data'}", "--split=folder"]
    process = subprocess.Popen([sys.executable, SCRIPT, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (
        not any((tmp_path / "data").glob(".unfinished-*/pascal5i/folder/incomplete*")) and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert list((tmp_path / "data").iterdir()) == []
