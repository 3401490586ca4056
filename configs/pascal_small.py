"""MM-Net on the PASCAL images in a folder, sized for two CPU cores: EfficientNet-Lite2, 193 px, 1,500 steps.

python -m mmnet_jax.train --config=configs/pascal_small.py --workdir=runs/pascal_small/fold1 --config.fold=1 \\
    --config.data.data_dir=DATA --config.model.weights=efficientnet_lite2.safetensors

No row of the paper; numbers compare only with others on the same images.
Measured on 578 training photographs: novel mIoU 26.3 on fold 1 and 29.6 on fold 2.
Time: about 25 minutes at the 4 episodes/s of two idle cores.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "pascal5i"
    config.data.split = "folder"
    config.data.image_size = 193
    # relative to full resolution: 0.9 to 1.1 is meant for crops of 473 px
    config.data.scale = (0.9 * 193 / 473, 1.1 * 193 / 473)
    config.model.backbone = "efficientnet_lite2"
    config.shots = 1
    config.training.steps = 1500
    config.training.evaluate_every = 750
    config.training.evaluation_episodes = 200
    config.training.checkpoint_every = 100
    return config
