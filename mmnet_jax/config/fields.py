"""Declares every config field: its default, allowed values and help."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mmnet_jax.errors import UserError

READINGS = ("paper", "released")
"""The paper's equations and the authors' released code, which differ in ``READING_FIELDS``."""


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class ByReading:
    """Two values: that of the paper's equations and that of the authors' released code."""

    paper: Any
    released: Any


@dataclass(frozen=True)
class Field:
    """The declaration of one field."""

    default: Any  # None: unset until the reading, the dataset or a rule of ``resolve`` fills it, if any does
    allowed: type | Range | ByReading | tuple[Any, ...] | Callable[[], Iterable[str]]
    """Any value of a type, a range, a tuple of choices, or a function that returns the choices of a registry."""
    help: str
    free: bool = False  # does not change results: a run may be resumed with another value
    path: bool = False  # a file or folder: ``~`` is expanded

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The allowed values, or None for a type or a range."""
        if isinstance(self.allowed, ByReading):
            return self.allowed.paper, self.allowed.released
        if isinstance(self.allowed, type | Range):
            return None
        return self.allowed if isinstance(self.allowed, tuple) else tuple(self.allowed())

    @property
    def kind(self) -> type:
        """Type of the values."""
        if isinstance(self.allowed, type):
            return self.allowed
        if isinstance(self.allowed, ByReading):
            return type(self.allowed.paper)
        if self.default is not None:
            return type(self.default)
        return type(self.allowed.low) if isinstance(self.allowed, Range) else str

    def default_in(self, reading: str) -> Any:
        """The default in a reading."""
        return getattr(self.allowed, reading) if isinstance(self.allowed, ByReading) else self.default

    def check(self, name: str, value: Any) -> None:
        """Raises a ``UserError`` unless ``value`` is allowed."""
        if value is None and self.default is None:
            return
        if isinstance(self.allowed, Range):
            low, high = self.allowed.low, self.allowed.high
            if not (is_number(value) and low <= value <= high):
                raise UserError(f"{name} must be a number from {low:g} to {high:g}, but is {value!r}.")
        elif (choices := self.choices) is not None and value not in choices:
            raise UserError(f"{name} must be one of {', '.join(map(str, choices))}, but is {value!r}.")


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite int or float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _registry(module: str, name: str) -> Callable[[], Iterable[str]]:
    """A function that returns the names in a registry; it imports the module only then, so that help starts fast."""
    return lambda: getattr(import_module(f"mmnet_jax.{module}"), name)


def _specs() -> Iterable[Any]:
    return import_module("mmnet_jax.data.datasets").DATASETS.values()


def _variants(field: str) -> Callable[[], Iterable[str]]:
    """A function that returns the variants of all datasets that ``field`` selects from."""
    return lambda: dict.fromkeys(one for spec in _specs() if spec.variant_field == field for one in spec.variants)


DATASETS = _registry("data.datasets", "DATASETS")
NETWORKS = _registry("models.heads", "HEADS")
BACKBONES = _registry("models.backbones", "BACKBONES")
PROTOCOLS = _registry("evaluation.protocols", "PROTOCOLS")
PROBABILITY = Range(0, 1)
SEED = Range(0, 2**31 - 1)
COUNT = Range(1, 10**12)
COUNT_OR_NONE = Range(0, 10**12)
WEIGHT = Range(0, 10**6)

FIELDS = {
    "reading": Field("paper", READINGS, "Preset of the fields in which the paper and the released code disagree."),
    "fold": Field(0, int, "Fold of the dataset whose classes are held out as novel."),
    "shots": Field(1, Range(1, 100), "Support images per episode, in training and evaluation."),
    "seed": Field(321, SEED, "Seed of parameters, episodes, augmentation and dropout."),
    "data.dataset": Field("pascal5i", DATASETS, "Dataset to train and evaluate on."),
    "data.data_dir": Field("data", str, "Folder of the prepared datasets.", free=True, path=True),
    "data.split": Field(None, _variants("data.split"), "Image lists of pascal5i and fss1000; unset: protocol."),
    "data.coco_masks": Field(
        "all", _variants("data.coco_masks"), "Masks of coco20i: all, or those of published results."
    ),
    "data.generator_seed": Field(0, SEED, "Seed of a generated dataset (creatures)."),
    "data.folds": Field(
        None,
        lambda: dict.fromkeys(folds for spec in _specs() for folds in spec.novel),
        "Division of the classes into folds; unset: the dataset's first (coco20i: interleaved).",
    ),
    "data.image_size": Field(
        473, Range(9, 4097), "Side S of the network's input, pixels; 8k + 1, unless the backbone says otherwise."
    ),
    "data.min_pixels": Field(
        None, Range(1, 10**9), "Pixels of a class that admit an image; unset: the dataset's default."
    ),
    "data.drop_novel": Field(False, bool, "Leave out training images that hold pixels of novel classes (as BAM does)."),
    "data.class_sampling": Field(
        "image",
        ("image", "uniform"),
        "Training episodes: draw a query, then one of its classes (image), or a class, then a query (uniform).",
    ),
    "data.distinct_supports": Field(
        True,
        bool,
        "Training episodes: draw supports without replacement; False: with it, so 2 images of a class suffice.",
    ),
    "data.augment": Field(True, bool, "Augment training images; False: prepare them as in evaluation."),
    "data.resident": Field(
        False, bool, "Keep training images (or their features) and masks in the memory of each device.", free=True
    ),
    "data.workers": Field(0, Range(0, 1024), "Processes that decode images; 0: threads instead.", free=True),
    "data.scale": Field((0.9, 1.1), tuple, "Augmentation: range of the random scale."),
    "data.rotation": Field(10.0, Range(0, 360), "Augmentation: largest rotation either way, degrees."),
    "data.rotate_probability": Field(0.5, PROBABILITY, "Augmentation: probability of a rotation."),
    "data.blur_probability": Field(0.5, PROBABILITY, "Augmentation: probability of a 5 x 5 blur."),
    "data.flip_probability": Field(0.5, PROBABILITY, "Augmentation: probability of a horizontal flip."),
    "data.crop_foreground": Field(0.85, PROBABILITY, "Augmentation: fraction of the foreground that a crop must keep."),
    "data.crop_redraws": Field(31, Range(0, 1000), "Augmentation: redraws of a crop that keeps less."),
    "model.network": Field("mmnet", NETWORKS, "Head: MM-Net, or the baseline PFENet with the same decoder."),
    "model.backbone": Field("resnet50_v2", BACKBONES, "Frozen backbone; v2: a stem of three 3x3 convolutions."),
    "model.weights": Field(None, str, "Backbone weights that port_weights.py or pretrain wrote.", free=True, path=True),
    "model.random_backbone": Field(False, bool, "Run without pretrained weights, for tests: results are meaningless."),
    "model.memory_size": Field(50, Range(1, 100_000), "Number N of meta-class embeddings."),
    "model.channels": Field(256, Range(1, 100_000), "Channels D of the projection and the decoder."),
    "model.nodes": Field(
        "memory", ("memory", "features"), "What APM matches: memory activations or projected features."
    ),
    "model.levels": Field("2+3", ("2+3", "2", "3", "2,3"), "Projected levels: concatenated, one, or a memory each."),
    "model.propagation": Field("apm", ("apm", "global"), "APM, or the support's masked average at every position."),
    "model.fem_input": Field("both", ("both", "confidence", "activations"), "Decoder input: both maps or one of them."),
    "model.dropout": Field(0.5, PROBABILITY, "Channel dropout after the projection, in training."),
    "model.bins": Field(None, tuple, "Decoder scales; unset: 60,30,15,8 at 473 px, fractions 1,1/2,1/4,1/8 elsewhere."),
    "model.dtype": Field(
        "auto", ("auto", "float32", "bfloat16"), "Type of products; auto: bfloat16 on GPU and TPU, float32 on CPU."
    ),
    "model.projection_kernel": Field(None, ByReading(3, 1), "Kernel side of the projection."),
    "model.projection_shared": Field(None, ByReading(True, False), "One projection for query and support."),
    "model.cosine_on": Field(None, ByReading("activations", "logits"), "Vectors whose cosine APM and QMM take."),
    "model.support_level4": Field(
        None,
        ByReading("masked", "masked_twice"),
        "Level 4 of the support: features * mask, or stage 4 of (level 3 * mask), then * mask.",
    ),
    "model.shot_mask": Field(None, ByReading("own", "last"), "Mask of a shot in APM and QMM: its own or the last's."),
    "model.batch_norm": Field(
        None,
        ByReading("frozen", "batch"),
        "Backbone statistics in training: the running ones, or each call's own while the running ones move.",
    ),
    "quality.module": Field("qmm", ("qmm", "mean", "attention"), "Shot weights: eq. 9, equal, or CANet's attention."),
    "quality.normalise": Field("none", ("none", "mean"), "Eq. 9's sums as written, or over the mask's sum (ours)."),
    "loss.auxiliary": Field(1.0, WEIGHT, "Weight of the mean cross entropy of the decoder's scales."),
    "loss.reconstruction": Field(0.1, WEIGHT, "Weight of the memory reconstruction loss."),
    "loss.reconstruction_on": Field("support", ("none", "support", "query", "both"), "Features to reconstruct."),
    "loss.reconstruction_softmax_on": Field(
        None, ByReading("activations", "logits"), "Input of the softmax in the reconstruction loss."
    ),
    "loss.reconstruction_shots": Field(
        None, ByReading("mean", "first"), "Shots in the reconstruction loss: their mean or the first."
    ),
    "optimizer.learning_rate": Field(0.025, WEIGHT, "Initial rate; 0.0025 in the paper, times 10 in both releases."),
    "optimizer.power": Field(0.9, Range(0, 100), "Power of the polynomial decay."),
    "optimizer.momentum": Field(0.9, PROBABILITY, "Momentum of SGD."),
    "optimizer.weight_decay": Field(1e-4, WEIGHT, "Added to the gradient before momentum, for every trained tensor."),
    "pretraining.dataset": Field(
        "none",
        ("none", "crops", "imagenet2012"),
        "Labelled images: none, crops of base classes, or TFDS's ImageNet.",
    ),
    "pretraining.data_dir": Field(
        None, str, "Folder of TFDS's imagenet2012; unset: data.data_dir.", free=True, path=True
    ),
    "pretraining.image_size": Field(224, Range(32, 4097), "Side of the classifier's input, pixels."),
    "pretraining.steps": Field(450_000, COUNT, "Steps."),
    "pretraining.batch_size": Field(256, Range(2, 10**6), "Images per step, over all devices."),
    "pretraining.learning_rate": Field(0.1, WEIGHT, "Peak rate, followed by a cosine decay to 0."),
    "pretraining.warmup": Field(0.05, PROBABILITY, "Fraction of the steps of linear warm-up."),
    "pretraining.momentum": Field(0.9, PROBABILITY, "Momentum of SGD."),
    "pretraining.weight_decay": Field(1e-4, WEIGHT, "Weight decay of the kernels."),
    "pretraining.label_smoothing": Field(0.1, PROBABILITY, "Label smoothing."),
    "pretraining.log_every": Field(20, COUNT, "Steps between log lines.", free=True),
    "pretraining.checkpoint_every": Field(1000, COUNT, "Steps between checkpoints.", free=True),
    "training.batch_size": Field(4, Range(1, 10**6), "Episodes per step, over all devices."),
    "training.accumulate": Field(1, Range(1, 10**6), "Parts of a batch whose gradients are computed in turn."),
    "training.epochs": Field(200, Range(1, 10**9), "Passes over the training images."),
    "training.steps": Field(None, COUNT, "Steps; if set, they replace the epochs."),
    "training.cache_features": Field(False, bool, "Keep frozen features on disk; needs data.augment=False."),
    "training.log_every": Field(20, COUNT, "Steps between log lines.", free=True),
    "training.evaluate_every": Field(5000, COUNT_OR_NONE, "Steps between evaluations; 0: only at the end."),
    "training.evaluation_episodes": Field(1000, COUNT_OR_NONE, "Episodes of an evaluation; 0: none while training."),
    "training.select_on": Field(
        "novel", ("novel", "base", "val"), "Classes whose mIoU selects the best checkpoint; val: fss1000's own."
    ),
    "training.checkpoint_every": Field(500, COUNT, "Steps between checkpoints.", free=True),
    "training.keep_latest": Field(2, Range(1, 10**6), "Latest checkpoints to keep.", free=True),
    "training.keep_best": Field(1, Range(1, 10**6), "Best checkpoints to keep.", free=True),
    "evaluation.after_training": Field(
        False, bool, "Evaluate after a training, as mmnet_jax.evaluate does.", free=True
    ),
    "evaluation.protocol": Field(
        None, PROTOCOLS, "Episode-sampling protocol; unset: the dataset's (fss1000: hsnet, others: pfenet).", free=True
    ),
    "evaluation.episodes": Field(None, COUNT, "Episodes; unset: the protocol's number.", free=True),
    "evaluation.batch_size": Field(4, Range(1, 10**6), "Episodes per batch.", free=True),
    "evaluation.cache_gb": Field(
        None, Range(0.0, 1e6), "GB of encoded images to keep on each device; unset: half of its free memory.", free=True
    ),
}

FREE_FIELDS = tuple(name for name, field in FIELDS.items() if field.free)  # fields that a resumed run may change

READING_FIELDS = tuple(name for name, field in FIELDS.items() if isinstance(field.allowed, ByReading))
