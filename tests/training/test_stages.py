"""A training as a whole: which stages there are, what each leaves for the next call, and what is refused."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.data.images import read_image
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import checkpoint as scoring
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.pretraining import loop as pretraining
from mmnet_jax.training import stages
from mmnet_jax.training.stages import train
from mmnet_jax.weights import save_backbone
from mmnet_jax.workdir.folder import Workdir, load_step
from tests.evaluation.conftest import SIDE, make_split
from tests.training.tiny_training import tiny_config, tiny_dataset


@pytest.fixture(autouse=True)
def stopped_pretraining(monkeypatch):
    monkeypatch.setattr(pretraining, "pretrain", pretrain)


def pretrain(config, workdir, say, dataset):
    """Two calls in a real one's place: the first is stopped with a checkpoint, the second ends."""
    if workdir.backbone_file.exists():
        return
    if (workdir.pretraining / "1").is_dir():
        save_backbone(workdir.backbone_file, config.model.backbone, random_variables("tiny"))
        return
    (workdir.pretraining / "1").mkdir(parents=True)
    raise Stopped("pretraining stopped")


def short_config(**training):
    """A training that is evaluated at its end alone."""
    config = tiny_config(evaluation_episodes=0, **training)
    config.evaluation.update(after_training=True, episodes=6)
    return config


def pretraining_config(seed=321):
    config = short_config()
    config.seed = seed
    config.evaluation.after_training = config.model.random_backbone = False
    config.pretraining.dataset = "crops"
    return config


def test_folds_that_only_the_source_knows_are_checked_before_anything_is_written(tmp_path):
    config, dataset = short_config(), tiny_dataset()
    spec = dataclasses.replace(dataset.spec, folds=1, novel={"contiguous": lambda fold: range(1, 21)})
    dataset = dataclasses.replace(dataset, spec=spec)
    for fold, sentence in {
        1: r"^fold of pascal5i must be 0, but is 1\.$",
        0: r"^pascal5i has no base classes in fold 0, and training needs some; add classes, or divide",
    }.items():
        config.fold = fold
        with pytest.raises(UserError, match=sentence):
            train(config, Workdir(tmp_path / "run"), lambda line: None, dataset)
        assert not (tmp_path / "run" / "config.json").exists()


def test_val_classes_that_the_source_does_not_bring_are_missed_before_anything_is_written(tmp_path):
    config = tiny_config()
    config.training.select_on = "val"
    sentence = r"has no val classes in fold 1, and training needs some; choose novel or base for training\.select_on\.$"
    with pytest.raises(UserError, match=sentence):
        train(config, Workdir(tmp_path / "run"), dataset=tiny_dataset())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("when", ["on its way", "after it"])
def test_episodes_that_cannot_be_drawn_are_refused_before_anything_is_written(tmp_path, when):
    config = tiny_config() if when == "on its way" else short_config()
    config.evaluation.protocol = "hsnet"
    with pytest.raises(UserError, match=r"^protocol hsnet lists 433 test images of pascal5i fold 1, and 433 are miss"):
        train(config, Workdir(tmp_path / "run"), dataset=tiny_dataset())
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with a result, what ``train`` returned, and the lines that were said."""
    workdir, lines = Workdir(tmp_path_factory.mktemp("finished") / "run"), []
    return workdir, train(short_config(), workdir, lines.append, tiny_dataset()), lines


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished[0].path, tmp_path / "copy")
    return Workdir(tmp_path / "copy")


def stage_lines(lines, length=None):
    return [line[:length] for line in lines if line.startswith("[")]


def test_a_training_ends_with_the_result_of_its_checkpoint(finished):
    workdir, scored, _ = finished
    names = ["result.json", "result.manifest.json", "result.episodes.csv", "result.sheet.png", "report.html"]
    assert [file.name for file in scored.files] == names and all(file.stat().st_size for file in scored.files)
    assert "loss: " in scored.files[-1].read_text()  # the training's curve
    summary = json.loads((workdir.results / "result.json").read_text())
    assert summary == scored.summary
    told = {name: summary[name] for name in ("checkpoint", "step", "episodes", "seeds", "classes")}
    assert told == {"checkpoint": "best", "step": 8, "episodes": 6, "seeds": [321], "classes": "novel"}
    assert set(summary["baselines"]) == {"untrained", "confidence"}
    assert workdir.data_sha256() == tiny_dataset().fingerprints() == summary["data_sha256"]


def test_an_episode_to_try_lies_beside_the_result(finished):
    folder = finished[0].results / stages.EXAMPLE
    support, mask, query = (read_image(folder / f"{name}.png") for name in ("support", "mask", "query"))
    assert support.shape == mask.shape and max(support.shape) <= SIDE
    assert set(np.unique(mask)) == {0, 255}
    summary, dataset = finished[1].summary, tiny_dataset()
    manifest = (finished[0].results / "result.manifest.json").read_text()
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    episode = next(e for e in json.loads(manifest)["episodes"] if e["class"] == best)
    place = list(dataset.test.ids).index
    np.testing.assert_array_equal(query, dataset.test.read_image(place(episode["query"])))
    shown, label = dataset.test.read(place(episode["supports"][0]), dataset.class_names.index(best))
    np.testing.assert_array_equal(support, shown)
    np.testing.assert_array_equal(mask[..., 0] > 0, label == 1)


def test_classes_that_cannot_be_tested_are_missed_before_anything_is_written(tmp_path):
    config = short_config()
    config.shots = 2
    dataset = tiny_dataset()
    few = dataclasses.replace(dataset, test=make_split("val", [6, 7, 8, 6, 7], 1))
    with pytest.raises(
        UserError, match=r"no class has 3 images .* in the val split, as 2-shot episodes need: bus \(2\),"
    ):
        train(config, Workdir(tmp_path / "run"), lambda line: None, few)
    assert not list((tmp_path / "run").glob("*.json"))


def test_images_that_have_changed_since_a_training_began_are_noticed(copy):
    other = dataclasses.replace(tiny_dataset(), train=make_split("train", [1, 2, 1, 2, 1, 2, 11, 12], 0))
    for dataset, notes in (tiny_dataset(), 0), (other, 1):
        lines = []
        train(short_config(), copy, lines.append, dataset)
        assert sum(line.startswith("note: the prepared images have changed") for line in lines) == notes


def test_stages_are_announced_numbered_and_timed(finished):
    first, first_end, second, second_end = stage_lines(finished[2])
    assert first == "[1/2] training: MM-Net's head, 1-shot, 15 base classes"
    assert first_end.startswith("[1/2] done in 0m") and second_end.startswith("[2/2] done in 0m")
    assert second.startswith("[2/2] evaluation: 6 episodes, 1-shot, 5 novel classes (bus, car, cat, chair, cow)")


def test_without_evaluation_there_is_one_stage_and_best_is_the_newest_checkpoint(tmp_path):
    config, lines = tiny_config(evaluation_episodes=0, checkpoint_every=1, keep_latest=2), []
    assert train(config, Workdir(tmp_path / "run"), lines.append, tiny_dataset()) is None
    assert stage_lines(lines, 5) == ["[1/1]", "[1/1]"]
    assert not any("mIoU" in line for line in lines)
    (curve,) = (tmp_path / "run" / "results").iterdir()
    assert curve.name == "training.png"
    assert load_step(tmp_path / "run", "best")[3] == 8


def test_a_finished_training_is_not_evaluated_again(finished, copy, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate", lambda *_, **__: pytest.fail("evaluated again"))
    before = (copy.results / "result.json").read_bytes()
    scored = train(short_config(), copy, lambda line: None, tiny_dataset())
    assert not scored.fresh and scored.summary == finished[1].summary
    assert [file.name for file in scored.files] == [file.name for file in finished[1].files]
    assert (copy.results / "result.json").read_bytes() == before


@pytest.mark.parametrize("change", ["episodes", "parameters_sha256", "data_sha256", "sheet", "damage"])
def test_a_result_of_something_else_is_made_anew(copy, change, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate", mock.Mock(side_effect=ArithmeticError("evaluated again")))
    config, result = short_config(), copy.results / "result.json"
    summary = json.loads(result.read_text())
    match change:
        case "episodes":
            config.evaluation.episodes = 7
        case "sheet":
            (copy.results / "result.sheet.png").unlink()
        case "damage":
            result.write_text("{")
        case field:
            other = "0" * 64 if field == "parameters_sha256" else summary[field] | {"val": "0" * 64}
            result.write_text(json.dumps(summary | {field: other}))
    with pytest.raises(ArithmeticError, match="evaluated again"):
        train(config, copy, lambda line: None, tiny_dataset())


def test_a_training_stopped_in_pretraining_goes_on_there(tmp_path):
    workdir, lines = Workdir(tmp_path / "run"), []
    with pytest.raises(Stopped):
        train(pretraining_config(), workdir, lines.append, tiny_dataset())
    assert workdir.load_config() == pretraining_config() and not workdir.backbone_file.exists()
    with pytest.raises(UserError, match=r"holds no checkpoint\.$"):
        load_model(workdir.path)
    with pytest.raises(UserError, match=r"another config \(seed: 321 -> 5\)"):
        train(pretraining_config(5), workdir, dataset=tiny_dataset())
    train(pretraining_config(), workdir, lines.append, tiny_dataset())
    assert stage_lines(lines, 5) == ["[1/2]"] + 2 * ["[1/2]"] + 2 * ["[2/2]"]
    assert load_model(workdir.path)


def test_a_pretrained_backbone_is_kept_for_the_config_it_was_made_with_and_another_is_not_taken_for_it(tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.create(short_config())
    assert workdir.backbone_file.is_file() and not workdir.resumes(pretraining_config())
    workdir.create(pretraining_config())
    assert not workdir.backbone_file.exists()
    assert not workdir.resumes(pretraining_config(5))  # nothing is lost yet
    save_backbone(workdir.backbone_file, "tiny", random_variables("tiny"))
    assert workdir.resumes(pretraining_config())
    with pytest.raises(UserError, match="another config"):
        workdir.resumes(pretraining_config(5))


def test_a_refused_training_leaves_no_folder_and_a_second_one_in_a_workdir_is_refused(tmp_path, monkeypatch):
    config = short_config()
    config.model.weights = str(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match=r"missing\.safetensors does not exist"):
        train(config, Workdir(tmp_path / "new" / "run"), dataset=tiny_dataset())
    monkeypatch.setattr(stages, "open_dataset", mock.Mock(side_effect=UserError("no data.")))
    with pytest.raises(UserError, match="no data"):
        train(short_config(), Workdir(tmp_path / "run"))
    assert not list(tmp_path.iterdir())
    workdir = Workdir(tmp_path / "run")
    with workdir.lock(), pytest.raises(UserError, match=r"run is in use by another training \(process \d+\)\.$"):
        train(short_config(), workdir, dataset=tiny_dataset())


def test_a_training_selects_by_one_of_bams_seeds_and_ends_with_all_five(tmp_path):
    config = short_config(steps=2, log_every=1, checkpoint_every=2, evaluate_every=2)
    config.training.evaluation_episodes = 6
    config.evaluation.protocol = "bam"
    workdir, lines = Workdir(tmp_path / "run"), []
    scored = train(config, workdir, lines.append, tiny_dataset())
    assert [line.split("  ")[0] for line in lines if line.startswith("episode ")] == ["episode 6/6", "episode 30/30"]
    assert len(scored.summary["seeds"]) == len(scored.summary["by_seed"]) == 5
    assert scored.summary["episodes"] == 6 and all(file.is_file() for file in scored.files)
    names = [f"result.manifest_seed{seed}.json" for seed in scored.summary["seeds"]]
    others = ["result.episodes.csv", "result.sheet.png", "report.html"]
    assert [file.name for file in scored.files] == ["result.json", *names, *others]
    # the same call again finds the result of all five
    assert not train(config, workdir, lines.append, tiny_dataset()).fresh
