import pytest

from mmnet_jax.config import (
    FIELDS,
    READING_FIELDS,
    READINGS,
    differences,
    from_dict,
    get_config,
    get_field,
    load_recipe,
    recipe_rows,
    resolve,
    shipped_recipes,
)
from mmnet_jax.config.fields import ByReading, Range
from mmnet_jax.config.recipes import find_recipe
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.errors import UserError


def test_an_unset_field_follows_the_reading_and_a_set_one_does_not():
    resolved = resolve(from_dict({"reading": "released", "model": {"cosine_on": "activations"}}))
    assert (resolved.model.cosine_on, resolved.model.projection_kernel) == ("activations", 1)
    assert resolve(get_config("paper")).model.projection_kernel == 3


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_allows_its_default_and_has_a_help(name):
    field = FIELDS[name]
    assert field.help.endswith(".") and get_field(get_config(), name) == field.default
    for reading in READINGS:
        field.check(name, field.default_in(reading))
    if isinstance(field.allowed, ByReading):
        assert field.default_in("paper") != field.default_in("released") and field.default is None
    if isinstance(field.allowed, Range):
        assert field.allowed.low < field.allowed.high
    if field.choices and field.default is not None:
        assert len(set(field.choices)) == len(field.choices) > 0


def test_resolving_copies_and_is_idempotent_and_differences_name_the_fields():
    config = get_config()
    resolved = resolve(config)
    assert config.model.cosine_on is None
    assert differences(resolve(resolved), resolved) == []
    changed = resolve(config)
    changed.optimizer.learning_rate = 0.0025
    assert differences(resolved, changed) == ["optimizer.learning_rate: 0.025 -> 0.0025"]


def test_the_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    config = get_config()
    config.data.data_dir, config.model.weights = "~/data", "~/w.safetensors"
    resolved = resolve(config)
    assert (resolved.data.data_dir, resolved.model.weights) == ("/home/ann/data", "/home/ann/w.safetensors")
    assert resolved.pretraining.data_dir is None


def test_bins_are_sizes_at_473_px_and_fractions_elsewhere():
    config = get_config()
    assert resolve(config).model.bins == (60, 30, 15, 8)
    config.data.image_size = 321
    assert resolve(config).model.bins == (1.0, 0.5, 0.25, 0.125)


def test_min_pixels_default_to_the_datasets():
    def resolved(**data):
        return resolve(from_dict({"data": data})).data.min_pixels

    assert resolved() == resolved(dataset="coco20i") == 2048
    assert resolved(dataset="creatures") == 200
    assert resolved(dataset="creatures", min_pixels=2048) == 2048
    with pytest.raises(UserError, match=r"^data\.min_pixels must be a number from 1 to 1e\+09, but is 0\.$"):
        resolved(min_pixels=0)


def test_variant_and_folds_default_to_the_datasets_first():
    def choice(dataset, **fields):
        return dataset_choice(resolve(from_dict({"data": {"dataset": dataset, **fields}})))

    assert choice("pascal5i") == ("pascal5i", "data", "protocol", "contiguous")
    assert choice("pascal5i", split="trainaug").variant == "trainaug"
    assert choice("coco20i") == ("coco20i", "data", "all", "interleaved")
    assert choice("coco20i", coco_masks="published", folds="contiguous")[2:] == ("published", "contiguous")
    assert choice("creatures", generator_seed=3) == ("creatures", "data", "seed3", "contiguous")


@pytest.mark.parametrize("dataset", ["pascal5i", "creatures"])
def test_a_stored_config_without_folds_resolves_to_the_defaults(dataset):
    fields = get_config().to_dict()
    fields["data"] = {**fields["data"], "dataset": dataset, "split": "protocol"}
    del fields["data"]["folds"], fields["data"]["coco_masks"]
    assert differences(resolve(from_dict(fields)), resolve(from_dict({"data": {"dataset": dataset}}))) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data": {"split": "thirds"}}, "data.split must be one of protocol, trainaug, folder, but is 'thirds'."),
        (
            {"data": {"dataset": "kitti"}},
            "data.dataset must be one of pascal5i, coco20i, fss1000, custom, creatures, but is 'kitti'.",
        ),
        ({"data": {"folds": "interleaved"}}, "data.folds of pascal5i must be contiguous, but is interleaved."),
        ({"data": {"folds": "random"}}, "data.folds must be one of contiguous, interleaved, own, but is 'random'."),
        ({"fold": 7}, "fold of pascal5i must be 0 to 3, but is 7."),
        ({"shots": "two"}, "config field shots must be of type int, but is 'two'."),
        ({"model": {"memory_sise": 20}}, "unknown config field model.memory_sise; did you mean model.memory_size?"),
        ({"data": {"image_size": 200}}, "data.image_size must be 8k + 1, but is 200; the nearest are 193 and 201."),
        ({"model": {"backbone": "resnet18"}}, "model.backbone must be one of"),
        ({"model": {"projection_kernel": 5}}, "model.projection_kernel must be one of 3, 1, but is 5."),
        ({"model": {"bins": [1.0, "half"]}}, "model.bins must be positive sizes or fractions"),
        ({"data": {"scale": [1.1, 0.9]}}, "data.scale must be a range of two positive numbers"),
        ({"training": {"accumulate": 3}}, "training.accumulate = 3 does not divide training.batch_size = 4."),
        ({"reading": "released", "training": {"accumulate": 2}}, "training.accumulate must be 1"),
        (
            {"training": {"select_on": "val"}},
            "training.select_on must be novel or base: pascal5i has no val classes.",
        ),
        ({"optimizer": {"learning_rate": -1.0}}, "optimizer.learning_rate must be a number from 0"),
        ({"model": {"nodes": "features"}}, "loss.reconstruction_on must be none, since this network has no memory"),
        (
            {"model": {"network": "pfenet", "shot_mask": "last"}},
            "model.shot_mask has no effect with model.network = pfenet; leave it at its default.",
        ),
        (
            {"model": {"fem_input": "confidence", "propagation": "global"}},
            "model.propagation has no effect with model.fem_input = confidence; leave it at its default.",
        ),
        ({"quality": {"module": "mean", "normalise": "mean"}}, "quality.normalise applies to eq. 9's sums"),
        ({"training": {"cache_features": True}}, "training.cache_features needs data.augment = False"),
        (
            {"reading": "released", "data": {"augment": False}, "training": {"cache_features": True}},
            "training.cache_features needs model.batch_norm = frozen",
        ),
    ],
)
def test_an_invalid_field_is_refused(fields, sentence):
    with pytest.raises(UserError) as error:
        resolve(from_dict(fields))
    assert str(error.value).startswith(sentence)


def test_pfenet_has_its_own_presets_in_both_readings():
    for reading in READINGS:
        fields = {"reading": reading, "model": {"network": "pfenet"}, "loss": {"reconstruction_on": "none"}}
        config = resolve(from_dict(fields))
        assert (config.model.projection_kernel, config.model.projection_shared) == (1, False)
        assert config.model.support_level4 == "masked_twice"
        assert config.model.batch_norm == FIELDS["model.batch_norm"].default_in(reading)


@pytest.mark.parametrize(
    "name", ["pascal_1shot", "pascal_5shot", "coco_1shot", "coco_5shot", "pascal_small", "fss1000"]
)
@pytest.mark.parametrize("reading", READINGS)
def test_recipes_resolve_in_both_readings(name, reading):
    config = resolve(load_recipe(f"{name}:{reading}"))
    assert config.reading == reading
    assert config.shots == (5 if "5shot" in name else 1)
    assert config.data.dataset.startswith(name.split("_")[0])


@pytest.mark.parametrize("name", ["ablations", "backbones", "pfenet", "photographs"])
def test_rows_of_recipes_resolve_in_both_readings(name):
    rows = recipe_rows(name)
    for row in rows:
        config = load_recipe(f"{name}:{row}")
        named = dict(rows[row].fields)
        for reading in READINGS:
            if reading != "paper" and config.training.cache_features:
                continue  # moving statistics cannot be cached
            config.reading = reading
            resolved = resolve(config)
            assert resolved.shots == (5 if "5" in row.split("_") or "5shot" in row else named.get("shots", 1))
            for field in named.keys() - {"reading"}:
                assert get_field(resolved, field) == named[field], (row, field)
    with pytest.raises(UserError) as error:
        load_recipe(f"{name}:nothing")
    assert str(error.value).startswith(f"configs/{name}.py:nothing is not a config;")
    assert all(row in str(error.value) for row in rows)


def test_shipped_recipes_are_listed_and_open_with_their_command():
    references = dict(shipped_recipes())
    assert {"coco_1shot", "ablations:fcm_only", "quickstart"} <= references.keys()
    for reference, about in references.items():
        assert about and not about.endswith(".")
        text = find_recipe(reference.partition(":")[0]).read_text()
        command = "pretrain" if reference == "pretrain_imagenet" else "train"
        assert f"python -m mmnet_jax.{command} --config=configs/{reference.partition(':')[0]}.py" in text


def test_the_pretraining_recipe_is_90_epochs():
    config = resolve(load_recipe("pretrain_imagenet"))
    assert (config.pretraining.dataset, config.model.backbone) == ("imagenet2012", "resnet50_v2")
    assert abs(config.pretraining.steps * config.pretraining.batch_size / 1_281_167 - 90) < 0.1


def test_a_recipe_is_found_by_name_or_path(tmp_path, monkeypatch):
    shipped = find_recipe("coco_1shot")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs.py").write_text("raise AssertionError")  # a user's own module, never imported
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from mmnet_jax.config import apply, load_recipe\n\n"
        "def get_config(shots='1'):\n    return apply(load_recipe('coco_1shot'), {'shots': int(shots)})\n"
    )
    for reference in (f"{shipped}", "coco_1shot", "mine.py:1"):
        assert load_recipe(reference).data.dataset == "coco20i"
    assert load_recipe("./mine.py:3").shots == 3
    with pytest.raises(UserError, match=r"^no recipe coco_1shto is shipped; did you mean coco_1shot\?$"):
        load_recipe("coco_1shto")
    with pytest.raises(UserError, match=r"^no recipe zzz is shipped; there are ablations, .*quickstart\.$"):
        load_recipe("zzz")


def test_readings_differ_in_exactly_eight_fields():
    paper, released = resolve(get_config("paper")), resolve(get_config("released"))
    named = {line.partition(":")[0] for line in differences(paper, released)}
    assert named == {*READING_FIELDS, "reading"} and len(READING_FIELDS) == 8
