"""The command manifest, which needs no images."""

import json
import subprocess
import sys

import pytest

from mmnet_jax import manifest
from mmnet_jax.data.dataset import listed_dataset
from mmnet_jax.evaluation.manifest import draw_manifest, read_manifest
from tests.cli.call import call


def command(folder, *arguments):
    return call(manifest.define_flags, manifest.main, f"--output={folder}/m.json", *arguments)


def test_episodes_are_written_without_images_and_read_back(tmp_path):
    done = command(tmp_path, "--dataset=pascal5i", "--fold=2", "--shots=5", "--episodes=40", "--seed=8")
    assert done.returncode == 0, done.stderr
    dataset = listed_dataset("pascal5i", "protocol")
    drawn = draw_manifest(dataset, fold=2, shots=5, protocol="pfenet", seeds=(8,), min_pixels=2048, episodes=40)
    assert read_manifest(tmp_path / "m.json") == drawn
    assert done.stdout == f"{tmp_path}/m.json: pfenet, 40 episodes, sha256 {drawn.sha256()[0]}\n"
    assert json.loads((tmp_path / "m.json").read_text())["split"] == "protocol"


def test_unset_flags_come_from_the_protocol_and_the_config(tmp_path):
    assert command(tmp_path, "--dataset=pascal5i").returncode == 0
    written = read_manifest(tmp_path / "m.json")
    assert (written.fold, written.shots, written.protocol, written.seeds, written.per_seed) == (
        0,
        1,
        "pfenet",
        (321,),
        5000,
    )
    done = command(tmp_path, "--dataset=pascal5i", "--protocol=bam", "--episodes=3")
    names = [f"m_seed{seed}.json" for seed in (510, 365, 382, 322, 988)]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [f"{tmp_path}/{name}" for name in names]
    done = command(tmp_path, "--dataset=coco20i", "--protocol=hsnet", "--episodes=3", "--coco_masks=published")
    assert json.loads((tmp_path / "m.json").read_text())["coco_masks"] == "published"


def test_repris_episodes_need_neither_images_nor_a_network(tmp_path):
    done = command(tmp_path, "--dataset=pascal5i", "--folds=coco20i_interleaved", "--fold=3")
    assert done.returncode == 0, done.stderr
    written = read_manifest(tmp_path / "m.json")
    assert list(written.class_ids) == ["bottle", "cat", "cow", "motorbike"] and written.per_seed == 1000
    assert {e.class_name for e in written.episodes} == set(written.class_ids)
    assert written.choices == {"split": "protocol", "folds": "coco20i_interleaved"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--dataset=voc", "unknown dataset voc: use one of pascal5i, coco20i, fss1000, custom, creatures."),
        (
            "--dataset=custom",
            "the package has no lists of custom (folder); give --data_dir=DATA, where it is prepared.",
        ),
        (
            "--dataset=pascal5i --split=folder",
            "the package has no lists of pascal5i (folder); give --data_dir=DATA, where it is prepared.",
        ),
        ("--dataset=pascal5i --coco_masks=all", "--coco_masks does not apply to pascal5i."),
        (
            "--dataset=pascal5i --split=all",
            "pascal5i comes in the variants protocol, trainaug and folder, but not all.",
        ),
        ("--dataset=pascal5i --folds=odd", "data.folds of pascal5i must be contiguous, but is odd."),
        ("--dataset=pascal5i --fold=4", "fold of pascal5i must be 0 to 3, but is 4."),
        ("--dataset=pascal5i --output=m.txt", "--output=m.txt must end in .json or .json.gz."),
        (f"--dataset=pascal5i --output={__file__}/m.json", f"--output={__file__}/m.json cannot be written."),
    ],
)
def test_impossible_manifests_are_refused_in_one_sentence(tmp_path, flags, sentence):
    done = command(tmp_path, *flags.split())
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence + "\n")
    assert not list(tmp_path.iterdir())


CODE = """
import sys
import mmnet_jax.compare, mmnet_jax.evaluation.comparison_table
from mmnet_jax import manifest
from mmnet_jax.cli.command import run
manifest.define_flags()
try:
    run(manifest.main)
finally:
    print(*{"jax", "tensorflow_datasets"} & sys.modules.keys())
"""


def test_manifest_and_compare_import_neither_jax_nor_tfds(tmp_path):
    arguments = [f"--output={tmp_path}/m.json", "--dataset=pascal5i", "--episodes=2"]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[1:] == [""], done.stderr
