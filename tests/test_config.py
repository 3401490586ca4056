from __future__ import annotations

import importlib

import pytest

from mmnet_jax import get_config
from mmnet_jax.config import CHOICES, RANGES, READINGS, differences, from_dict, resolve
from mmnet_jax.errors import UserError


def test_an_open_field_follows_the_reading_and_a_set_one_does_not():
    config = get_config()
    config.reading = "released"
    config.model.cosine_on = "activations"
    resolved = resolve(config)
    assert (resolved.model.cosine_on, resolved.model.projection_kernel) == ("activations", 1)
    assert resolve(get_config("paper")).model.projection_kernel == 3


def test_the_readings_choose_the_same_fields_and_differ_in_each():
    paper, released = READINGS["paper"], READINGS["released"]
    assert paper.keys() == released.keys()
    assert all(paper[field] != released[field] for field in paper)


def test_resolving_leaves_its_argument_alone_and_is_idempotent():
    config = get_config()
    resolved = resolve(config)
    assert config.model.cosine_on is None
    assert differences(resolve(resolved), resolved) == []


def test_bins_are_sizes_at_473_px_and_fractions_elsewhere():
    config = get_config()
    assert resolve(config).model.bins == (60, 30, 15, 8)
    config.data.image_size = 321
    assert resolve(config).model.bins == (1.0, 0.5, 0.25, 0.125)


def test_differences_name_the_fields():
    old, new = resolve(get_config()), resolve(get_config())
    new.optimizer.learning_rate = 0.0025
    assert differences(old, new) == ["optimizer.learning_rate: 0.025 -> 0.0025"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"fold": 7}, "fold must be a number from 0 to 3, but is 7."),
        ({"shots": "two"}, "config field shots must be of type int, but is 'two'."),
        ({"model": {"memory_sise": 20}}, "unknown config field model.memory_sise; did you mean model.memory_size?"),
        ({"data": {"image_size": 200}}, "data.image_size must be 8k + 1, but is 200; the nearest are 193 and 201."),
        ({"model": {"backbone": "resnet18"}}, "model.backbone must be one of"),
        ({"model": {"bins": [1.0, "half"]}}, "model.bins must be positive sizes or fractions"),
        ({"data": {"scale": [1.1, 0.9]}}, "data.scale must be a range of two positive numbers"),
        ({"training": {"accumulate": 3}}, "training.accumulate = 3 does not divide training.batch_size = 4."),
        ({"reading": "released", "training": {"accumulate": 2}}, "training.accumulate must be 1"),
        ({"optimizer": {"learning_rate": -1.0}}, "optimizer.learning_rate must be a number from 0"),
        ({"model": {"nodes": "features"}}, "loss.reconstruction_on must be none, since this network has no memory"),
        (
            {"model": {"network": "pfenet", "shot_mask": "last"}},
            "model.shot_mask means nothing with model.network = pfenet; leave it as it is.",
        ),
        (
            {"model": {"fem_input": "confidence", "propagation": "global"}},
            "model.propagation means nothing with model.fem_input = confidence; leave it as it is.",
        ),
        ({"quality": {"module": "mean", "normalise": "mean"}}, "quality.normalise is of eq. 9's sums"),
        ({"training": {"cache_features": True}}, "training.cache_features needs data.augment = False"),
        (
            {"reading": "released", "data": {"augment": False}, "training": {"cache_features": True}},
            "training.cache_features needs model.batch_norm = frozen",
        ),
    ],
)
def test_a_bad_field_is_named(fields, sentence):
    with pytest.raises(UserError) as error:
        resolve(from_dict(fields))
    assert str(error.value).startswith(sentence)


def test_every_checked_field_exists():
    fields = dict.fromkeys([*CHOICES, *RANGES, *READINGS["paper"]])
    for field in fields:
        section = get_config()
        for name in field.split("."):
            assert name in section, field
            section = section[name]


@pytest.mark.parametrize("name", ["pascal_1shot", "pascal_5shot", "coco_1shot", "coco_5shot", "pascal_small"])
@pytest.mark.parametrize("reading", READINGS)
def test_every_config_file_resolves_and_opens_with_its_command(name, reading):
    module = importlib.import_module(f"configs.{name}")
    config = resolve(module.get_config(reading))
    assert config.shots == (5 if "5shot" in name else 1)
    assert config.data.dataset.startswith(name.split("_")[0])
    assert f"python -m mmnet_jax.train --config=configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("name", ["ablations", "backbones", "pfenet", "photographs"])
@pytest.mark.parametrize("reading", READINGS)
def test_every_row_of_a_file_of_rows_resolves_to_what_it_names(name, reading):
    module = importlib.import_module(f"configs.{name}")
    for row in module.ROWS:
        config = module.get_config(row)
        named = dict(module.ROWS[row].fields)
        if reading != "paper" and config.training.cache_features:
            continue  # whose moving statistics cannot be cached
        config.reading = reading
        resolved = resolve(config)
        assert resolved.shots == (5 if "5" in row.split("_") or "5shot" in row else named.get("shots", 1))
        for field, value in named.items():
            section, _, leaf = field.rpartition(".")
            if field != "reading":
                assert (resolved[section] if section else resolved)[leaf] == value, (row, field)
    assert f"python -m mmnet_jax.train --config=configs/{name}.py:" in module.__doc__


@pytest.mark.parametrize("name", ["ablations", "backbones", "pfenet", "photographs"])
def test_a_row_that_is_not_there_is_told_with_those_that_are(name):
    module = importlib.import_module(f"configs.{name}")
    with pytest.raises(UserError) as error:
        module.get_config("nothing")
    assert f"configs/{name}.py:nothing is no configuration" in str(error.value)
    assert all(row in str(error.value) for row in module.ROWS)


def test_pfenets_projections_are_its_own_and_its_statistics_the_readings():
    for reading in READINGS:
        fields = {"reading": reading, "model": {"network": "pfenet"}, "loss": {"reconstruction_on": "none"}}
        config = resolve(from_dict(fields))
        assert (config.model.projection_kernel, config.model.projection_shared) == (1, False)
        assert config.model.support_level4 == "masked_twice"
        assert config.model.batch_norm == READINGS[reading]["model.batch_norm"]


def test_the_pretraining_config_resolves_and_opens_with_its_command():
    module = importlib.import_module("configs.pretrain_imagenet")
    config = resolve(module.get_config())
    assert (config.pretraining.dataset, config.model.backbone) == ("imagenet2012", "resnet50_v2")
    assert abs(config.pretraining.steps * config.pretraining.batch_size / 1_281_167 - 90) < 0.1  # epochs
    assert "python -m mmnet_jax.pretrain --config=configs/pretrain_imagenet.py" in module.__doc__
