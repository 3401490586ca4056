"""MM-Net on COCO-20i, 1 shot, 473 px: the deep-stem ResNet-50 row of table 2.

python -m mmnet_jax.train --config=configs/coco_1shot.py --workdir=runs/coco_1shot/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (paper), novel mIoU of folds 0..3: 34.9 41.0 37.2 37.0, mean 37.5.
Expected time: not measured yet; 50 epochs over the training images of 60 classes a fold.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "coco20i"
    config.data.image_size = 473
    config.data.scale = (0.8, 1.25)
    config.model.backbone = "resnet50_v2"
    config.shots = 1
    config.training.epochs = 50
    return config
