"""MM-Net on COCO-20i, 5 shots, 473 px: the deep-stem ResNet-50 row of table 2, trained with 5 supports.

python -m mmnet_jax.train --config=configs/coco_5shot.py --workdir=runs/coco_5shot/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (paper), novel mIoU of folds 0..3: 37.0 40.3 39.3 36.0, mean 38.2.
Expected time: not measured yet; 50 epochs over the training images of 60 classes a fold, six images an episode.
"""

from mmnet_jax.config import ConfigDict, load_recipe


def get_config(reading: str = "paper") -> ConfigDict:
    config = load_recipe(f"coco_1shot:{reading}")
    config.shots = 5
    return config
