"""The commands evaluate and predict from end to end, on a made-up dataset and a network with a tiny backbone."""

import contextlib
import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mmnet_jax import create_model, evaluate, predict, score
from mmnet_jax.config import get_config, resolve
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.evaluation.transfer import open_transfer
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.cli.call import call
from tests.data.synthetic import voc_folder, write_image

CLASSES = {"bus": 6, "cat": 8, "cow": 10}


def command(folder, module, *arguments):
    with contextlib.chdir(folder):
        return call(module.define_flags, module.main, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/ (12 test images of 3 classes), a workdir ``work`` at step 7, others without checkpoint."""
    folder = tmp_path_factory.mktemp("evaluate")
    voc = voc_folder(folder / "VOCdevkit", ["train_0"], [f"val_{i}" for i in range(12)])
    random = np.random.default_rng(0)
    for i in range(12):
        mask = np.zeros(random.integers(20, 50, size=2), np.uint8)
        mask[4:14, 3:15] = (6, 8, 10)[i % 3]
        write_image(voc, f"val_{i}", mask)
    write_image(voc, "train_0", mask)
    prepare("pascal5i", folder / "VOCdevkit", folder / "data", "folder")
    config = get_config()
    config.update(fold=1, seed=3)
    config.data.update(data_dir=str(folder / "data"), split="folder", image_size=33, min_pixels=30)
    config.model.update(backbone="tiny", random_backbone=True, memory_size=5, channels=8, bins=(1.0, 0.5))
    config.evaluation.update(episodes=9, batch_size=4)
    config = resolve(config)
    for name in ("work", "untrained"):
        Workdir(folder / name).create(config)
    with Checkpoints(folder / "work" / "checkpoints", config) as checkpoints:
        checkpoints.save_model(7, {"params": create_model(config, 8)[1]["params"], "batch_stats": {}})
    config.data.split = "protocol"
    Workdir(folder / "protocol").create(config)
    config.data.update(dataset="coco20i", split=None, folds=None)
    config = resolve(config)
    Workdir(folder / "coco").create(config)
    shutil.copytree(folder / "work/checkpoints", folder / "coco/checkpoints")
    return folder


@pytest.fixture(scope="module")
def evaluated(folder):
    done = command(folder, evaluate, "--workdir=work", "--output=out/result.json")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def result(folder, evaluated):
    return json.loads((folder / "out" / "result.json").read_text())


def test_a_result_describes_its_episodes_and_network(evaluated, result):
    expected = {"dataset": "pascal5i", "fold": 1, "shots": 1, "protocol": "pfenet", "episodes": 9, "seeds": [3]}
    expected |= {"checkpoint": "best", "step": 7, "reading": "paper", "backbone": "tiny", "image_size": 33}
    expected |= {"left_out": ["car", "chair"]}
    assert {name: result[name] for name in expected} == expected
    assert set(result["class_iou"]) == {"bus", "cat", "cow"}
    assert result["miou"] == pytest.approx(np.mean(list(result["class_iou"].values())))
    assert result["interval95"][0] <= result["miou"] <= result["interval95"][1]
    assert set(result["baselines"]) == {"untrained", "confidence"}
    assert 0 <= result["baselines"]["confidence"]["threshold"] <= 1
    assert len(result["weights_sha256"]) == 64
    assert {"mmnet_jax", "jax", "flax", "numpy", "python"} <= set(result["versions"])
    assert f"mIoU {result['miou']:.2f}" in evaluated.stdout and "car, chair" in evaluated.stdout


def test_the_episode_table_adds_up_to_the_result(folder, result):
    manifest = json.loads((folder / "out" / "result.manifest.json").read_text())
    with (folder / "out" / "result.episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    episodes = [{"query": r["query"], "class": r["class"], "supports": r["supports"].split()} for r in rows]
    assert episodes == manifest["episodes"]
    assert {int(r["area"]) for r in rows} == {120}
    hits, unions = ({r["query"]: int(r[name]) for r in rows} for name in ("intersection", "union"))
    for name, iou in result["class_iou"].items():
        own = [r["query"] for r in rows if r["class"] == name]
        assert iou == pytest.approx(100 * sum(map(hits.get, own)) / sum(map(unions.get, own)))
    for row in rows:
        assert float(row["iou"]) == pytest.approx(100 * hits[row["query"]] / unions[row["query"]])
    for baseline, scores in result["baselines"].items():
        for name, iou in scores["class_iou"].items():
            own = [r for r in rows if r["class"] == name]
            hit, union = (sum(int(r[f"{baseline}_{count}"]) for r in own) for count in ("intersection", "union"))
            assert iou == pytest.approx(100 * hit / union)
    # the sheet has one row an episode: only 9 of the 12 requested episodes exist
    assert Image.open(folder / "out" / "result.sheet.png").height == 22 + 9 * 156


def test_a_manifest_repeats_the_number(folder, result):
    same = "--workdir=work", "--manifest=out/result.manifest.json", "--checkpoint=7"
    done = command(folder, evaluate, *same, "--set=evaluation.cache_gb=0")
    assert done.returncode == 0, done.stderr
    (again,) = (folder / "work" / "results").glob("*_step7.json")
    after = json.loads(again.read_text())
    for name in ("miou", "fb_iou", "class_iou", "interval95", "baselines", "episodes", "seeds", "step"):
        assert after[name] == result[name]
    manifest = again.with_suffix(".manifest.json")
    assert manifest.read_text() == (folder / "out" / "result.manifest.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--workdir=nowhere", "nowhere is not a workdir: it has no config.json."),
        ("--workdir=untrained", "untrained holds no checkpoint."),
        ("--workdir=work --fold=7", "fold of pascal5i must be 0 to 3, but is 7."),
        (
            "--workdir=work --manifest=out/result.manifest.json --shots=5",
            "--shots=5 contradicts --manifest=out/result.manifest.json, whose shots is 1.",
        ),
        (
            "--workdir=work --manifest=out/result.manifest.json --restrict",
            "--restrict contradicts --manifest=out/result.manifest.json, whose episodes are already drawn.",
        ),
        # messages do not advise to change fields for which evaluate has no flag
        (
            "--workdir=protocol --data_dir=data",
            "data.data_dir data holds pascal5i of data.split = folder, but not of protocol; "
            "prepare it with: python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=data",
        ),
        (
            "--workdir=work --set=seed=4",
            "=seed=4 must be evaluation.FIELD=VALUE, such as evaluation.batch_size=1.",
        ),
        (
            "--workdir=work --set=evaluation.batch_size=0",
            "evaluation.batch_size must be a number from 1 to 1e+06, but is 0.",
        ),
        ("--workdir=work --output=data", "--output=data is a folder; give the name of a file."),
        ("--workdir=work --output=work/config.json/r.json", "--output=work/config.json/r.json cannot be written."),
    ],
)
def test_impossible_evaluations_are_refused_in_one_sentence(folder, evaluated, arguments, sentence):
    done = command(folder, evaluate, *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    *warnings, message = done.stderr.splitlines()
    assert message.endswith(sentence) and all(line.startswith("warning: left out") for line in warnings)


def test_a_changed_dataset_gives_a_note(folder):
    dataset = open_dataset("pascal5i", folder / "data", "folder")
    changed = Workdir(folder / "changed")
    config = Workdir(folder / "work").load_config()
    for known, lines in (None, 0), (dataset.fingerprints(), 0), (dataset.fingerprints() | {"train": "0" * 64}, 1):
        changed.create(config, known)
        done = command(folder, evaluate, "--workdir=changed", "--fold=7")
        *notes, _ = done.stderr.splitlines()
        assert len(notes) == lines and all(note.startswith("note: the dataset is not the one of") for note in notes)


def test_a_workdir_that_cannot_be_written_is_refused_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(evaluate, "can_be_made", lambda place: "work" not in str(place))
    done = command(folder, evaluate, "--workdir=work", "--data_dir=nowhere")
    sentence = "work/results cannot be written; give another file for the result: --output=FILE.json.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{folder}/{sentence}")


def test_predict_segments_images_with_the_trained_network(folder):
    images, masks = (folder / "VOCdevkit/VOC2012" / part for part in ("JPEGImages", "SegmentationClassAug"))
    arguments = ["--workdir=work", "--output=seen", *(f"--query={images}/val_{i}.jpg" for i in (1, 2))]
    shots = [f"--{kind}" for i in (0, 3) for kind in (f"support={images}/val_{i}.jpg", f"mask={masks}/val_{i}.png")]
    done = command(folder, predict, *arguments, *shots, "--save_logits", "--ignore=255")
    assert done.returncode == 0, done.stderr
    last = "segmented 2 pictures; look first at seen/sheet.png, numbers are in seen/predictions.json.\n"
    assert done.stdout.count("\n") == 3 and done.stdout.endswith(last)
    files = {f"val_{i}{end}" for i in (1, 2) for end in ("_mask.png", "_overlay.png", ".npy")}
    assert {file.name for file in (folder / "seen").iterdir()} == files | {"sheet.png", "predictions.json"}
    refused = command(folder, predict, *arguments, shots[0], f"--mask={masks}/val_1.png")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "pixels, but its image" in refused.stderr


def test_bams_five_seeds_are_scored_together_and_their_masks_saved(folder):
    arguments = ["--workdir=work", "--protocol=bam", "--episodes=4", "--save_masks=masks/bam", "--output=out/bam.json"]
    done = command(folder, evaluate, *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "out/bam.json").read_text())
    assert (result["protocol"], result["episodes"], len(result["seeds"])) == ("bam", 4, 5)
    assert result["miou"] == pytest.approx(np.mean(result["by_seed"])) and result["scoring"] == "label size"
    manifests = [json.loads((folder / f"out/bam.manifest_seed{seed}.json").read_text()) for seed in result["seeds"]]
    assert [manifest["sha256"] for manifest in manifests] == result["episodes_sha256"]
    with (folder / "out/bam.episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        mask = np.asarray(Image.open(folder / f"masks/bam/seed{row['seed']}/{number % 4:06d}.png")) > 0
        label = np.asarray(Image.open(folder / f"VOCdevkit/VOC2012/SegmentationClassAug/{row['query']}.png"))
        truth = label == CLASSES[row["class"]]
        assert int(row["intersection"]) == (mask & truth).sum() and int(row["union"]) == (mask | truth).sum()
    again = command(folder, evaluate, *arguments)
    assert (again.returncode, again.stderr) == (2, "--save_masks=masks/bam already exists; give a new folder.\n")
    inside = command(folder, evaluate, "--workdir=work", "--save_masks=out/bam.json/masks")
    assert (inside.returncode, inside.stderr) == (2, "--save_masks=out/bam.json/masks cannot be written.\n")


def test_a_checkpoint_is_scored_under_every_possible_protocol(folder):
    arguments = ["--workdir=work", "--protocol=all", "--episodes=3", "--save_masks=masks/all", "--output=out/all.json"]
    done = command(folder, evaluate, *arguments)
    assert done.returncode == 0, done.stderr
    names = [f"all{end}" for end in (".json", ".md", "_pfenet.json", "_bam.json")]
    assert all((folder / "out" / name).is_file() for name in names)
    table, pfenet, bam = (json.loads((folder / "out" / name).read_text()) for name in names if name.endswith("json"))
    assert [row["protocol"] for row in table["rows"]] == ["pfenet", "bam"]
    assert table["range"] == pytest.approx(abs(pfenet["miou"] - bam["miou"]))
    assert table["refused"]["hsnet"].startswith("protocol hsnet lists ")
    assert done.stdout.startswith((folder / "out/all.md").read_text())
    assert f"| pfenet | padded | label size | 3 | {pfenet['miou']:.2f} [" in done.stdout
    assert "| bam | padded | label size | 5 x 3 | " in done.stdout and "Not scored: protocol hsnet" in done.stdout
    assert {path.name for path in (folder / "masks/all").iterdir()} == {"pfenet", "bam"}
    refused = command(folder, evaluate, "--workdir=work", "--protocol=all", "--manifest=out/all_pfenet.manifest.json")
    assert refused.returncode == 2 and refused.stderr.startswith("--protocol=all contradicts --manifest=out/all_")


def test_another_dataset_is_scored_on_classes_unseen_in_training(folder):
    """The network was trained on PASCAL-5i without bus, car, cat, chair and cow."""
    own = folder / "own"
    for name, picture in ("Cow", 2), ("Dog", 0), ("mug", 1):
        (own / name).mkdir(parents=True)
        for i in (picture, picture + 3, picture + 6):
            for part, end in ("JPEGImages", "jpg"), ("SegmentationClassAug", "png"):
                content = Image.open(folder / f"VOCdevkit/VOC2012/{part}/val_{i}.{end}")
                content = content.point(lambda value: 255 * (value > 0)).convert("L") if end == "png" else content
                content.save(own / name / f"{i}.{end}")
    prepare("custom", own, folder / "data", "folder")
    other = ["--dataset=custom", "--episodes=6", "--save_masks=masks/own", "--output=out/own.json"]
    done = command(folder, evaluate, "--workdir=work", *other)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "out/own.json").read_text())
    assert set(result["class_iou"]) == {"Cow", "mug"} and result["left_out"] == []
    assert (result["dataset"], result["folds"], result["fold"]) == ("custom", "pascal5i_contiguous", 1)
    assert (result["trained_dataset"], result["trained_fold"]) == ("pascal5i", 1)
    assert result["notes"] == ["left out of custom, since the network was trained on them: Dog"]
    assert f"note: {result['notes'][0]}." in done.stdout
    own_masks = "--manifest=out/own.manifest.json --predictions=masks/own --data_dir=data --output=out/masks.json"
    assert command(folder, score, *own_masks.split()).returncode == 0
    assert json.loads((folder / "out/masks.json").read_text())["class_iou"] == result["class_iou"]
    # the same episodes are repeated by name, and none may be of class dog
    manifest = json.loads((folder / "out/own.manifest.json").read_text())
    again = "--workdir=work --dataset=custom --manifest=out/own.manifest.json --output=out/again.json"
    assert command(folder, evaluate, *again.split()).returncode == 0
    assert json.loads((folder / "out/again.json").read_text())["miou"] == result["miou"]
    del manifest["sha256"]
    manifest["class_ids"]["Dog"] = 1
    (folder / "out/dog.json").write_text(json.dumps(manifest))
    for arguments, sentence in [
        (
            "--dataset=custom --manifest=out/dog.json",
            "the network was trained on Dog, as classes of pascal5i; test on other classes.",
        ),
        ("--dataset=mugs", "unknown dataset mugs: use one of pascal5i, coco20i, fss1000, custom, creatures."),
        ("--split=folder", "--split=folder needs another --dataset; the training's dataset keeps its variant."),
    ]:
        refused = command(folder, evaluate, "--workdir=work", *arguments.split())
        assert (refused.returncode, refused.stderr) == (2, sentence + "\n")


def test_a_training_on_coco_is_scored_on_pascal_by_repris_rule(folder):
    """COCO's bus is novel in fold 1, its cat was trained on."""
    voc = voc_folder(folder / "large", "a", "bcdef")
    for name in "abcdef":
        write_image(voc, name, np.pad(np.full((50, 50), 8 if name in "ef" else 6, np.uint8), 5))
    prepare("pascal5i", folder / "large", folder / "large", "folder")
    arguments = ["--workdir=coco", "--dataset=pascal5i", "--data_dir=large"]
    config = Workdir(folder / "coco").load_config()
    config.data.data_dir = str(folder / "large")
    assert open_transfer(config, "pascal5i").config.evaluation.episodes is None  # the protocol's, which is 1,000
    done = command(folder, evaluate, *arguments, "--episodes=20", "--output=out/repri.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "out/repri.json").read_text())
    expected = {"split": "folder", "folds": "coco20i_interleaved", "fold": 1, "protocol": "pfenet", "episodes": 20}
    expected |= {"trained_dataset": "coco20i", "left_out": ["bicycle", "horse", "sofa"]}
    assert {name: result[name] for name in expected} == expected and set(result["class_iou"]) == {"bus"}
    assert "417 px" in done.stdout and result["notes"][1].endswith("they are not comparable")
    refused = command(folder, evaluate, *arguments, "--fold=3")
    sentence = "the network was trained on bottle, cat, cow, motorbike, as classes of coco20i; test on other classes.\n"
    assert (refused.returncode, refused.stderr.splitlines(True)[-1]) == (2, sentence)
