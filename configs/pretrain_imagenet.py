"""Pretrains ResNet-50 with the deep stem on ImageNet-1k, 224 px: the backbone of the tables' rows.

python -m mmnet_jax.pretrain --config=configs/pretrain_imagenet.py --workdir=runs/pretrain_imagenet \\
    --config.pretraining.data_dir=DATA

DATA is the folder where TFDS prepared imagenet2012 as ArrayRecord files. The backbone is written to
runs/pretrain_imagenet/backbone.safetensors, for --config.model.weights.

Expected: about 76% top-1 on the validation images, usual for this recipe of 90 epochs; not measured here.
Expected time: not measured here; 450,000 steps of 256 images.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.model.backbone = "resnet50_v2"
    config.data.workers = 16
    config.pretraining.dataset = "imagenet2012"
    config.pretraining.image_size = 224
    config.pretraining.batch_size = 256
    config.pretraining.steps = 450_000  # 90 epochs
    config.pretraining.learning_rate = 0.1
    config.pretraining.warmup = 5 / 90
    config.pretraining.weight_decay = 1e-4
    config.pretraining.label_smoothing = 0.1
    return config
