"""MM-Net on PASCAL-5i, 1 shot, 473 px: the deep-stem ResNet-50 row of table 1.

python -m mmnet_jax.train --config=configs/pascal_1shot.py --workdir=runs/pascal_1shot/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (paper), novel mIoU of folds 0..3: 62.7 70.2 57.3 57.0, mean 61.8.
Expected time: not measured yet; 200 epochs of about 5,000 episodes a fold.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "pascal5i"
    config.data.image_size = 473
    config.model.backbone = "resnet50_v2"
    config.shots = 1
    config.training.epochs = 200
    return config
