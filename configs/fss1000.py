"""MM-Net on FSS-1000, 1 shot, 225 px (its images are 224 x 224): torchvision's ResNet-50.

python -m mmnet_jax.train --config=configs/fss1000.py --workdir=runs/fss1000 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50.safetensors

No row of the paper. The best checkpoint is selected on the 240 val classes, which are neither trained nor tested on.
Expected time: not measured yet; 50 epochs of 5,200 episodes.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "fss1000"
    config.data.image_size = 225
    config.model.backbone = "resnet50"
    config.shots = 1
    config.training.epochs = 50
    config.training.select_on = "val"
    config.training.evaluation_episodes = 2_400  # each image of the val classes once
    return config
