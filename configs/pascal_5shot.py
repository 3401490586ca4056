"""MM-Net on PASCAL-5i, 5 shots, 473 px: the deep-stem ResNet-50 row of table 1, trained with 5 supports.

python -m mmnet_jax.train --config=configs/pascal_5shot.py --workdir=runs/pascal_5shot/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (paper), novel mIoU of folds 0..3: 62.2 71.5 57.5 62.4, mean 63.4.
Expected time: not measured yet; 200 epochs of about 5,000 episodes a fold, each of six images.
"""

from mmnet_jax.config import ConfigDict, load_recipe


def get_config(reading: str = "paper") -> ConfigDict:
    config = load_recipe(f"pascal_1shot:{reading}")
    config.shots = 5
    return config
