"""scripts/prepare_data.py as a user runs it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from mmnet_jax.errors import UserError
from tests.data.synthetic import a_mask, encoded, jpeg, write_many

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module, whose flags are defined in the test process until the module ends."""
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    before = set(flags.FLAGS)
    spec.loader.exec_module(module)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    yield module
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def test_it_logs_progress_and_prints_the_next_command(voc, data):
    arguments = ["pascal5i", f"--source={voc.parent}", f"--data_dir={data}"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"pascal5i is prepared: {data}/pascal5i/protocol/1.0.0\n")
    assert "train: found 3 of 5,953 images\nval: found 2 of 1,449 images\n" in done.stdout
    assert "python -m mmnet_jax.train --config=configs/pascal_1shot.py" in done.stdout.splitlines()[-1]
    assert done.stderr.startswith(f"pascal5i: reading {voc.parent}\n")
    assert "pascal5i: image 5/5 " in done.stderr
    assert [file.name for file in data.iterdir()] == ["pascal5i"]


UNUSED = [("check", "workers"), ("check", "split"), ("check", "folds"), ("fss1000", "folds"), ("pascal5i", "seed")]
UNUSED += [("pascal5i", "coco_masks"), ("creatures", "split")]
MISTAKES = [
    (None, {}, r"give the dataset to prepare first \(pascal5i, coco20i, fss1000, custom or creatures\), or check\."),
    ("coco20i", {"coco_masks": "best"}, r"coco20i comes in the variants all and published, but not best\."),
    *((name, {flag: "3"}, rf"--{flag} does not apply to {name}\.") for name, flag in UNUSED),
]


@pytest.mark.parametrize(("name", "values", "sentence"), MISTAKES)
def test_a_wrong_flag_is_an_error(script, name, values, sentence):
    with flagsaver.as_parsed(**values), pytest.raises(UserError, match=f"^{sentence}$"):
        script.main(name)


def test_a_prepared_dataset_is_not_prepared_again(script, voc, data, capsys):
    with flagsaver.as_parsed(source=str(voc), data_dir=str(data), split="folder"):
        script.main("pascal5i")
        script.main("pascal5i")
    first, again = (line for line in capsys.readouterr().out.splitlines() if line.startswith("pascal5i is"))
    folder = data / "pascal5i" / "folder" / "1.0.0"
    assert first == f"pascal5i is prepared: {folder}"
    assert again == f"pascal5i is already prepared (remove the folder to prepare it again): {folder}"


def test_a_flag_sets_the_folds_of_own_data(script, data, tmp_path, capsys):
    for name in ("ant", "bee", "crow"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "own" / name / f"{i}.jpg").write_bytes(jpeg(a_mask(12, 16, 9)))
            (tmp_path / "own" / name / f"{i}.png").write_bytes(encoded(a_mask(12, 16, 255)))
    with flagsaver.as_parsed(source=str(tmp_path / "own"), data_dir=str(data), folds="3"):
        script.main("custom")
    assert "\nfold 2 holds out crow\n" in capsys.readouterr().out


def test_terminated_it_keeps_finished_shards_and_resumes(voc, data):
    write_many(voc, 1000)
    small = "import runpy, mmnet_jax.data.shards as shards; shards.SIZE = 100; "  # images of a shard
    script = [sys.executable, "-c", f"{small}runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"]
    command = [*script, "pascal5i", f"--source={voc}", f"--data_dir={data}", "--split=folder"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    work = data / "pascal5i" / "folder" / ".1.0.0.unfinished"
    try:
        deadline = time.monotonic() + 120
        while not any(work.glob("notes/*.json")):
            assert process.poll() is None and time.monotonic() < deadline, "it ended, or did not begin"
            time.sleep(0.005)
        while process.poll() is None:  # a signal is lost where it interrupts a callback of the garbage collector
            assert time.monotonic() < deadline, "it does not end"
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        output = process.stderr.read()
        assert process.returncode == 130, output
    finally:
        process.kill()
        process.communicate()
    assert "images are finished and kept; rerun the command to continue.\ninterrupted.\n" in output
    assert os.listdir(work.parent) == [work.name]
    notes, records = ({file.name for file in (work / name).iterdir()} for name in ("notes", "records"))
    assert notes == {f"{name}.json" for name in records}
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "train: found 1,000 of 1,000 images" in again.stdout
    assert "of 1,002 images exist from an earlier run." in again.stderr
    assert os.listdir(work.parent) == ["1.0.0"]
