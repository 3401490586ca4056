"""Every field of a configuration: its meaning, its default and what the two readings make of it.

A config is an ``ml_collections.ConfigDict``. ``get_config`` gives the defaults, a file under ``configs/`` changes some
of them, the command line changes others (``--config.fold=2``), and ``resolve`` fills what was left open, checks every
field and returns the configuration that a run is made with and stores.

Fields of type ``placeholder`` are open (``None``) until then: the seven choices on which the paper's equations and the
authors' released code disagree follow ``config.reading`` unless set one by one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mmnet_jax.errors import UserError

READINGS: dict[str, dict[str, Any]] = {
    "paper": {
        "model.projection_kernel": 3,
        "model.projection_shared": True,
        "model.cosine_on": "activations",
        "model.support_level4": "masked",
        "model.shot_mask": "own",
        "model.batch_norm": "frozen",
        "loss.reconstruction_softmax_on": "activations",
        "loss.reconstruction_shots": "mean",
    },
    "released": {
        "model.projection_kernel": 1,
        "model.projection_shared": False,
        "model.cosine_on": "logits",
        "model.support_level4": "masked_twice",
        "model.shot_mask": "last",
        "model.batch_norm": "batch",
        "loss.reconstruction_softmax_on": "logits",
        "loss.reconstruction_shots": "first",
    },
}

NETWORKS = {"mmnet": "MM-Net", "pfenet": "PFENet"}
"""By the value of ``model.network``."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "reading": tuple(READINGS),
    "data.dataset": ("pascal5i", "coco20i", "creatures"),
    "data.split": ("protocol", "folder"),
    "model.network": tuple(NETWORKS),
    "model.backbone": (
        "resnet50",
        "resnet50_v2",
        "resnet101",
        "resnet101_v2",
        "vgg16",
        "vgg16_plain",
        "resnet14_half",
        "efficientnet_lite2",
    ),
    "model.nodes": ("memory", "features"),
    "model.levels": ("2+3", "2", "3", "2,3"),
    "model.propagation": ("apm", "global"),
    "model.fem_input": ("both", "confidence", "activations"),
    "model.projection_kernel": (1, 3),
    "model.cosine_on": ("activations", "logits"),
    "model.support_level4": ("masked", "masked_twice"),
    "model.shot_mask": ("own", "last"),
    "model.batch_norm": ("frozen", "batch"),
    "model.confidence_dtype": ("auto", "float32", "bfloat16"),
    "quality.module": ("qmm", "mean", "attention"),
    "quality.normalise": ("none", "mean"),
    "loss.reconstruction_on": ("none", "support", "query", "both"),
    "loss.reconstruction_softmax_on": ("activations", "logits"),
    "loss.reconstruction_shots": ("mean", "first"),
    "pretraining.dataset": ("none", "crops", "imagenet2012"),
    "training.select_on": ("novel", "base"),
    "evaluation.protocol": ("pfenet",),
}

RANGES: dict[str, tuple[float, float]] = {
    "fold": (0, 3),
    "shots": (1, 100),
    "seed": (0, 2**31 - 1),
    "data.generator_seed": (0, 2**31 - 1),
    "data.image_size": (9, 4097),
    "data.min_pixels": (1, 10**9),
    "data.workers": (0, 1024),
    "data.rotation": (0, 360),
    "data.rotate_probability": (0, 1),
    "data.blur_probability": (0, 1),
    "data.flip_probability": (0, 1),
    "data.crop_foreground": (0, 1),
    "data.crop_redraws": (0, 1000),
    "model.memory_size": (1, 100_000),
    "model.channels": (1, 100_000),
    "model.dropout": (0, 1),
    "loss.auxiliary": (0, 1e6),
    "loss.reconstruction": (0, 1e6),
    "optimizer.learning_rate": (0, 1e6),
    "optimizer.power": (0, 100),
    "optimizer.momentum": (0, 1),
    "optimizer.weight_decay": (0, 1e6),
    "pretraining.image_size": (32, 4097),
    "pretraining.steps": (1, 10**12),
    "pretraining.batch_size": (2, 10**6),
    "pretraining.learning_rate": (0, 1e6),
    "pretraining.warmup": (0, 1),
    "pretraining.momentum": (0, 1),
    "pretraining.weight_decay": (0, 1e6),
    "pretraining.label_smoothing": (0, 1),
    "pretraining.log_every": (1, 10**9),
    "pretraining.checkpoint_every": (1, 10**12),
    "training.batch_size": (1, 10**6),
    "training.accumulate": (1, 10**6),
    "training.epochs": (1, 10**9),
    "training.steps": (1, 10**12),
    "training.log_every": (1, 10**9),
    "training.evaluate_every": (0, 10**12),
    "training.checkpoint_every": (1, 10**12),
    "training.keep_latest": (1, 10**6),
    "training.keep_best": (1, 10**6),
    "training.evaluation_episodes": (0, 10**9),
    "evaluation.episodes": (1, 10**9),
    "evaluation.batch_size": (1, 10**6),
}


PFENET: dict[str, Any] = {
    "model.projection_kernel": 1,
    "model.projection_shared": False,
    "model.support_level4": "masked_twice",
}
"""What PFENet has in fields that a reading fills for MM-Net; batch normalisation follows the reading."""

MEMORY_FIELDS = (
    "model.nodes",
    "model.levels",
    "model.propagation",
    "model.fem_input",
    "model.cosine_on",
    "model.shot_mask",
    "quality.module",
    "quality.normalise",
)
"""Fields of the memory and what works on it: they mean nothing to PFENet, nor where the decoder does not see it."""


def get_config(reading: str = "paper") -> ConfigDict:
    """The defaults: MM-Net on PASCAL-5i, fold 0, 1 shot, ResNet-50 with the deep stem at 473 px.

    Args:
      reading: ``"paper"`` (the equations) or ``"released"`` (the authors' code); see ``READINGS``.
    """
    config = ConfigDict()
    config.reading = reading
    config.fold = 0  # the fold whose classes are held out as novel, 0..3
    config.shots = 1  # support images an episode, in training and evaluation
    config.seed = 321  # of parameters, episodes, augmentation and dropout

    config.data = ConfigDict()
    config.data.dataset = "pascal5i"
    config.data.data_dir = "data"  # where scripts/prepare_data.py put the prepared datasets
    config.data.split = "protocol"  # which prepared variant: the published id lists, or the folder's own
    config.data.generator_seed = 0  # of a generated dataset (creatures), which training makes itself
    config.data.image_size = 473  # S, pixels; (S - 1) % 8 == 0
    config.data.min_pixels = 2 * 32 * 32  # of a class, for an image to be admitted to its lists
    config.data.drop_novel = False  # leave training images with pixels of novel classes out (BAM's choice)
    config.data.augment = True  # False: training images go through the test transform instead of the training one
    config.data.workers = 0  # processes that read and decode images; 0: threads of this process
    config.data.scale = (0.9, 1.1)  # training transform: range of the random scale
    config.data.rotation = 10.0  # training transform: largest rotation either way, degrees
    config.data.rotate_probability = 0.5
    config.data.blur_probability = 0.5
    config.data.flip_probability = 0.5
    config.data.crop_foreground = 0.85  # share of the foreground that a random crop should keep
    config.data.crop_redraws = 31  # how often a crop that keeps less is drawn again

    config.model = ConfigDict()
    config.model.network = "mmnet"  # or "pfenet", the baseline with the same backbone, prior, decoder and losses
    config.model.backbone = "resnet50_v2"  # v2: three 3x3 stem convolutions (PFENet's), not pre-activation
    config.model.weights = placeholder(str)  # file written by scripts/port_weights.py or mmnet_jax.pretrain
    config.model.random_backbone = False  # run without pretrained weights (for tests; results are meaningless)
    config.model.memory_size = 50  # N, meta-class embeddings
    config.model.channels = 256  # D, channels of the projection and the decoder
    config.model.nodes = "memory"  # what APM compares and carries: memory activations | projected features themselves
    config.model.levels = "2+3"  # projected: both side by side, one alone (2, 3), or each with its own memory (2,3)
    config.model.propagation = "apm"  # or "global": the support's masked average, the same at every query position
    config.model.fem_input = "both"  # what the decoder sees: fused activations and confidence map, or one of them
    config.model.dropout = 0.5  # of whole channels after the projection, in training
    config.model.bins = placeholder(tuple)  # FEM's scales; open: (60, 30, 15, 8) at 473 px, fractions elsewhere
    config.model.confidence_dtype = "auto"  # of FCM's products; auto: bfloat16 on a GPU, float32 elsewhere
    config.model.projection_kernel = placeholder(int)  # side of the projection's kernel: 3 | 1
    config.model.projection_shared = placeholder(bool)  # one projection for query and support: True | False
    config.model.cosine_on = placeholder(str)  # APM's and QMM's cosine on sigmoid activations | on logits
    config.model.support_level4 = placeholder(str)  # features * mask | stage 4 of (level 3 * mask), then * mask
    config.model.shot_mask = placeholder(str)  # mask that APM and QMM use for each shot: its own | the last shot's
    config.model.batch_norm = placeholder(str)  # in training: running statistics | each call's own, running ones moving

    config.quality = ConfigDict()
    config.quality.module = "qmm"  # what weighs the shots: eq. 9 | nothing (their mean) | CANet's attention
    config.quality.normalise = "none"  # eq. 9's sum as it is, or ("mean", an extension) divided by the mask's sum

    config.loss = ConfigDict()
    config.loss.auxiliary = 1.0  # weight of the mean of the bins' cross entropies
    config.loss.reconstruction = 0.1  # weight of the memory reconstruction loss
    config.loss.reconstruction_on = "support"  # whose features are reconstructed: none, support, query, both
    config.loss.reconstruction_softmax_on = placeholder(str)  # activations | logits (support side)
    config.loss.reconstruction_shots = placeholder(str)  # mean over the shots | the first one's alone

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 0.025  # 0.0025 in the paper; both released codes multiply it by 10
    config.optimizer.power = 0.9  # of the polynomial decay
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 1e-4  # added to the gradient before momentum, on every trained tensor

    config.pretraining = ConfigDict()  # of the backbone as a classifier, where model.weights names no file
    config.pretraining.dataset = "none"  # none | crops: the base classes' objects, cut out | imagenet2012, from TFDS
    config.pretraining.data_dir = placeholder(str)  # of imagenet2012 as TFDS prepared it; open: data.data_dir
    config.pretraining.image_size = 224  # side of the crops, pixels
    config.pretraining.steps = 450_000
    config.pretraining.batch_size = 256
    config.pretraining.learning_rate = 0.1  # largest; a cosine leads to 0
    config.pretraining.warmup = 0.05  # share of the steps over which it rises
    config.pretraining.momentum = 0.9
    config.pretraining.weight_decay = 1e-4  # of the kernels
    config.pretraining.label_smoothing = 0.1
    config.pretraining.log_every = 20  # steps
    config.pretraining.checkpoint_every = 1000  # steps

    config.training = ConfigDict()
    config.training.batch_size = 4  # episodes a step, over all devices
    config.training.accumulate = 1  # split a batch into this many parts, one after the other
    config.training.epochs = 200
    config.training.steps = placeholder(int)  # instead of epochs
    config.training.cache_features = False  # keep them in data_dir/features and read them; needs data.augment=False
    config.training.log_every = 20  # steps
    config.training.evaluate_every = 5000  # steps, and at the end; 0: at the end alone
    config.training.evaluation_episodes = 1000  # 0: no evaluation while training
    config.training.select_on = "novel"  # classes on which the best checkpoint is chosen (the field's habit: novel)
    config.training.checkpoint_every = 500  # steps
    config.training.keep_latest = 2  # checkpoints
    config.training.keep_best = 1

    config.evaluation = ConfigDict()
    config.evaluation.after_training = False  # end a training with the result that mmnet_jax.evaluate writes
    config.evaluation.protocol = "pfenet"
    config.evaluation.episodes = placeholder(int)  # open: the protocol's own number
    config.evaluation.batch_size = 4  # episodes at a time
    return config


def from_dict(fields: Mapping[str, Any]) -> ConfigDict:
    """A config with the given fields, nested as in ``config.json``; those not given keep their defaults.

    Raises:
      UserError: naming a field that is unknown or of the wrong type.
    """
    config = get_config()
    known = dict(_leaves(config))
    for field, value in _leaves(fields):
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            raise UserError(f"unknown config field {field}" + (f"; did you mean {near[0]}?" if near else "."))
        *path, name = field.split(".")
        section = _get(config, path)
        try:
            section[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            wanted = section.get_type(name).__name__
            raise UserError(f"config field {field} must be of type {wanted}, but is {value!r}.") from error
    return config


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy of ``config`` with every open field filled from its reading, and every field checked.

    Raises:
      UserError: naming the first field that is unknown, of the wrong type or out of range.
    """
    resolved = from_dict(config.to_dict())
    _check(resolved, "reading")
    _check(resolved, "model.network")
    for field, value in (READINGS[resolved.reading] | (PFENET if resolved.model.network == "pfenet" else {})).items():
        *path, name = field.split(".")
        if get_field(resolved, field) is None:
            _get(resolved, path)[name] = value
    if resolved.model.bins is None:
        fixed = resolved.data.image_size == 473
        resolved.model.bins = (60, 30, 15, 8) if fixed else (1.0, 0.5, 0.25, 0.125)
    for field in (*CHOICES, *RANGES):
        _check(resolved, field)
    size = resolved.data.image_size
    if (size - 1) % 8:
        below = (size - 1) // 8 * 8 + 1
        raise UserError(f"data.image_size must be 8k + 1, but is {size}; the nearest are {below} and {below + 8}.")
    _check_network(resolved)
    if not resolved.model.bins or any(not _is_number(b) or b <= 0 for b in resolved.model.bins):
        raise UserError(f"model.bins must be positive sizes or fractions, but is {resolved.model.bins}.")
    scale = resolved.data.scale
    if len(scale) != 2 or not all(map(_is_number, scale)) or not 0 < scale[0] <= scale[1]:
        raise UserError(f"data.scale must be a range of two positive numbers, but is {resolved.data.scale}.")
    if resolved.training.batch_size % resolved.training.accumulate:
        raise UserError(
            f"training.accumulate = {resolved.training.accumulate} does not divide "
            f"training.batch_size = {resolved.training.batch_size}."
        )
    if resolved.training.accumulate > 1 and resolved.model.batch_norm == "batch":
        raise UserError(
            "training.accumulate must be 1 where model.batch_norm is batch: statistics are of a whole call."
        )
    return resolved


def get_field(config: ConfigDict, field: str) -> Any:
    """The value of a field by its whole name, such as ``model.memory_size``."""
    return _get(config, field.split("."))


def has_memory(config: ConfigDict) -> bool:
    """Whether the network has memory embeddings, and with them something to reconstruct."""
    model = config.model
    return model.network == "mmnet" and model.nodes == "memory" and model.fem_input != "confidence"


def _check_network(config: ConfigDict) -> None:
    """Raises a ``UserError`` where fields contradict one another."""
    idle = ""
    if config.model.network == "pfenet":
        idle = "model.network = pfenet"
    elif config.model.fem_input == "confidence":
        idle = "model.fem_input = confidence"
    usual = dict(_leaves(get_config())) | READINGS[config.reading]
    for field in MEMORY_FIELDS if idle else ():
        if not idle.startswith(field) and get_field(config, field) != usual[field]:
            raise UserError(f"{field} means nothing with {idle}; leave it as it is.")
    if not has_memory(config) and config.loss.reconstruction_on != "none":
        raise UserError("loss.reconstruction_on must be none, since this network has no memory to reconstruct with.")
    if config.quality.normalise != "none" and config.quality.module != "qmm":
        raise UserError("quality.normalise is of eq. 9's sums: it must be none unless quality.module is qmm.")
    if config.training.cache_features and config.data.augment:
        raise UserError("training.cache_features needs data.augment = False: features of one fixed image can be kept.")
    if config.training.cache_features and config.model.batch_norm == "batch":
        raise UserError("training.cache_features needs model.batch_norm = frozen: moving statistics change features.")


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """One line ``field: old -> new`` for each field in which two resolved configs differ."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{field}: {before.get(field)!r} -> {after.get(field)!r}"
        for field in sorted(before.keys() | after.keys())
        if _plain(before.get(field)) != _plain(after.get(field))
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _get(config: ConfigDict, path: Sequence[str]) -> Any:
    for name in path:
        config = config[name]
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check(config: ConfigDict, field: str) -> None:
    value = get_field(config, field)
    if field in CHOICES and value not in CHOICES[field]:
        names = ", ".join(map(str, CHOICES[field]))
        raise UserError(f"{field} must be one of {names}, but is {value!r}.")
    if field in RANGES and value is not None:
        low, high = RANGES[field]
        if not _is_number(value) or not low <= value <= high:
            raise UserError(f"{field} must be a number from {low:g} to {high:g}, but is {value!r}.")
