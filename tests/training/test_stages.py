"""A whole training: its stages, what each leaves for the next call, and what is refused."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.config import apply
from mmnet_jax.data.images import read_image
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import checkpoint as scoring
from mmnet_jax.evaluation.checkpoint import restore, score_checkpoint
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.pretraining import loop as pretraining
from mmnet_jax.training import stages
from mmnet_jax.training.stages import train
from mmnet_jax.weights import save_backbone
from mmnet_jax.workdir.folder import Workdir, load_step
from tests.evaluation.conftest import SIDE, make_split
from tests.training.tiny_training import (
    assert_same_bits,
    evaluated_config,
    final_parameters,
    tiny_config,
    tiny_dataset,
)


def changed_config(**fields):
    """A training that is evaluated only at its end, with fields of ``training`` or other ones changed."""
    config = evaluated_config()
    config.training.evaluation_episodes = 0
    return apply(config, fields)


def pretraining_config(seed=321):
    fields = {"evaluation.after_training": False, "model.random_backbone": False, "pretraining.dataset": "crops"}
    return changed_config(seed=seed, **fields)


def without_base_classes(dataset):
    spec = dataclasses.replace(dataset.spec, folds=1, novel={"contiguous": lambda fold: range(1, 21)})
    return dataclasses.replace(dataset, spec=spec)


def with_few_images(dataset):
    return dataclasses.replace(dataset, test=make_split("val", [6, 7, 8, 6, 7], 1))


WHILE_TRAINING = {"training.evaluation_episodes": 6}
MISSING = r"^protocol hsnet lists 433 test images of pascal5i fold 1, and 433 are missing"


@pytest.mark.parametrize(
    ("fields", "change", "sentence"),
    [
        ({}, without_base_classes, r"^fold of pascal5i must be 0, but is 1\.$"),
        ({"fold": 0}, without_base_classes, r"no base classes in fold 0, but training needs them; add classes, or div"),
        (
            {"training.select_on": "val", **WHILE_TRAINING},
            None,
            r"no val classes in fold 1, but training needs them; choose novel or base for training\.select_on\.$",
        ),
        ({"evaluation.protocol": "hsnet"}, None, MISSING),
        ({"evaluation.protocol": "hsnet", "evaluation.after_training": False, **WHILE_TRAINING}, None, MISSING),
        (
            {"shots": 2},
            with_few_images,
            r"no class has 3 images .* in the val split, as 2-shot episodes need: bus \(2\),",
        ),
        ({"model.weights": "missing.safetensors"}, None, r"missing\.safetensors does not exist"),
    ],
)
def test_a_refused_training_leaves_no_folder(tmp_path, fields, change, sentence):
    dataset = change(tiny_dataset()) if change else tiny_dataset()
    with pytest.raises(UserError, match=sentence):
        train(changed_config(**fields), Workdir(tmp_path / "new" / "run"), dataset=dataset)
    assert not list(tmp_path.iterdir())


def test_missing_data_leave_no_folder_and_a_second_training_in_a_workdir_is_refused(tmp_path, monkeypatch):
    workdir = Workdir(tmp_path / "run")
    monkeypatch.setattr(stages, "open_dataset", mock.Mock(side_effect=UserError("no data.")))
    with pytest.raises(UserError, match="no data"):
        train(changed_config(), workdir)
    assert not list(tmp_path.iterdir())
    with workdir.lock(), pytest.raises(UserError, match=r"run is in use by another training \(process \d+\)\.$"):
        train(changed_config(), workdir, dataset=tiny_dataset())


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished.workdir.path, tmp_path / "copy")
    return Workdir(tmp_path / "copy")


def stage_lines(lines, length=None):
    return [line[:length] for line in lines if line.startswith("[")]


def test_a_training_ends_with_the_result_of_its_checkpoint(finished):
    workdir, _, scored = finished
    names = ["result.json", "result.manifest.json", "result.episodes.csv", "result.sheet.png", "report.html"]
    assert [file.name for file in scored.files] == names and all(file.stat().st_size for file in scored.files)
    assert "loss: " in scored.files[-1].read_text()  # the training's curve
    summary = json.loads((workdir.results / "result.json").read_text())
    assert summary == scored.summary
    found = {name: summary[name] for name in ("checkpoint", "step", "episodes", "seeds", "classes")}
    best = load_step(workdir.path, "best")[3]
    assert found == {"checkpoint": "best", "step": best, "episodes": 6, "seeds": [321], "classes": "novel"}
    assert set(summary["baselines"]) == {"untrained", "confidence"}
    assert workdir.data_sha256() == tiny_dataset().fingerprints() == summary["data_sha256"]


def test_an_example_episode_is_written_beside_the_result(finished):
    folder = finished.workdir.results / stages.EXAMPLE
    support, mask, query = (read_image(folder / f"{name}.png") for name in ("support", "mask", "query"))
    assert support.shape == mask.shape and max(support.shape) <= SIDE
    assert set(np.unique(mask)) == {0, 255}
    summary, dataset = finished.scored.summary, tiny_dataset()
    manifest = (finished.workdir.results / "result.manifest.json").read_text()
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    episode = next(e for e in json.loads(manifest)["episodes"] if e["class"] == best)
    place = list(dataset.test.ids).index
    np.testing.assert_array_equal(query, dataset.test.read_image(place(episode["query"])))
    shown, label = dataset.test.read(place(episode["supports"][0]), dataset.class_names.index(best))
    np.testing.assert_array_equal(support, shown)
    np.testing.assert_array_equal(mask[..., 0] > 0, label == 1)


def test_images_that_have_changed_since_a_training_began_are_noted(copy):
    other = dataclasses.replace(tiny_dataset(), train=make_split("train", [1, 2, 1, 2, 1, 2, 11, 12], 0))
    lines = []
    train(evaluated_config(), copy, lines.append, other)
    assert any(line.startswith("note: the prepared images have changed") for line in lines)


def test_stages_are_announced_numbered_and_timed(finished):
    first, first_end, second, second_end = stage_lines(finished.lines)
    assert first == "[1/2] training: MM-Net's head, 1-shot, 15 base classes"
    assert first_end.startswith("[1/2] done in 0m") and second_end.startswith("[2/2] done in 0m")
    assert second.startswith("[2/2] evaluation: 6 episodes, 1-shot, 5 novel classes (bus, car, cat, chair, cow)")


def test_without_evaluation_there_is_one_stage_and_best_is_the_newest_checkpoint(tmp_path):
    config, lines = tiny_config(evaluation_episodes=0), []
    assert train(config, Workdir(tmp_path / "run"), lines.append, tiny_dataset()) is None
    assert stage_lines(lines, 5) == ["[1/1]", "[1/1]"]
    assert not any("mIoU" in line for line in lines)
    (curve,) = (tmp_path / "run" / "results").iterdir()
    assert curve.name == "training.png"
    assert load_step(tmp_path / "run", "best")[3] == 8


def test_a_finished_training_is_neither_trained_nor_evaluated_again(finished, copy, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate", lambda *_, **__: pytest.fail("evaluated again"))
    before, lines = (copy.results / "result.json").read_bytes(), []
    scored = train(evaluated_config(), copy, lines.append, tiny_dataset())
    assert f"done before: {copy.path} at step 8 of 8" in lines and not any(line.startswith("note:") for line in lines)
    assert_same_bits(final_parameters(copy), final_parameters(finished.workdir))
    assert not scored.fresh and scored.summary == finished.scored.summary
    assert [file.name for file in scored.files] == [file.name for file in finished.scored.files]
    assert (copy.results / "result.json").read_bytes() == before


def test_a_result_of_something_else_is_computed_again(copy, monkeypatch):
    monkeypatch.setattr(scoring, "evaluate", mock.Mock(side_effect=ArithmeticError("evaluated again")))
    dataset, network, result = tiny_dataset(), restore(copy), copy.results / "result.json"
    before = json.loads(result.read_text())
    other = {"parameters_sha256": "0" * 64, "data_sha256": before["data_sha256"] | {"val": "0" * 64}}

    def score(episodes=6):
        manifest = configured_manifest(dataset, network.config, episodes=episodes)
        return score_checkpoint(network, network.config, dataset, manifest, output=result, keep=True)

    assert not score().fresh
    for field, value in other.items():
        result.write_text(json.dumps(before | {field: value}))
        with pytest.raises(ArithmeticError):
            score()
    result.write_text("{")
    with pytest.raises(ArithmeticError):
        score()
    result.write_text(json.dumps(before))
    with pytest.raises(ArithmeticError):
        score(episodes=7)
    (copy.results / "result.sheet.png").unlink()
    with pytest.raises(ArithmeticError):
        score()


def test_a_training_stopped_in_pretraining_resumes_there(tmp_path, monkeypatch):
    def pretrain(config, workdir, say, dataset):
        """The first call is stopped with a checkpoint, the second ends."""
        checkpoint = workdir.pretraining / "1"
        if not checkpoint.is_dir():
            checkpoint.mkdir(parents=True)
            raise Stopped("pretraining stopped")
        save_backbone(workdir.backbone_file, config.model.backbone, random_variables("tiny"))

    monkeypatch.setattr(pretraining, "pretrain", pretrain)
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


def test_a_pretrained_backbone_is_reused_only_with_its_own_config(tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.create(changed_config())
    assert workdir.backbone_file.is_file() and not workdir.resumes(pretraining_config())
    workdir.create(pretraining_config())
    assert not workdir.backbone_file.exists()
    assert not workdir.resumes(pretraining_config(5))  # nothing is lost yet
    save_backbone(workdir.backbone_file, "tiny", random_variables("tiny"))
    assert workdir.resumes(pretraining_config())
    with pytest.raises(UserError, match="another config"):
        workdir.resumes(pretraining_config(5))


def test_a_training_selects_by_one_of_bams_seeds_and_ends_with_all_five(tmp_path):
    config = evaluated_config()
    config.training.evaluate_every = 8
    config.evaluation.protocol = "bam"
    workdir, lines = Workdir(tmp_path / "run"), []
    scored = train(config, workdir, lines.append, tiny_dataset())
    assert [line.split("  ")[0] for line in lines if line.startswith("episode ")] == ["episode 6/6", "episode 30/30"]
    assert len(scored.summary["seeds"]) == len(scored.summary["by_seed"]) == 5
    assert scored.summary["episodes"] == 6 and all(file.is_file() for file in scored.files)
    names = [f"result.manifest_seed{seed}.json" for seed in scored.summary["seeds"]]
    others = ["result.episodes.csv", "result.sheet.png", "report.html"]
    assert [file.name for file in scored.files] == ["result.json", *names, *others]
    assert not train(config, workdir, lines.append, tiny_dataset()).fresh
