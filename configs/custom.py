"""MM-Net on your own dataset, a recipe to copy: EfficientNet-Lite2, 193 px, 800 steps, sized for two CPU cores.

python -m mmnet_jax.train --config=configs/custom.py --workdir=runs/custom/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=efficientnet_lite2.safetensors

No row of the paper. It ends with an evaluation on the classes that the fold holds out.
Time: at most fifteen minutes on two idle cores; frozen features are computed once for each image.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "custom"
    config.shots = 1

    # Images. Without lists every image is in both splits: training leaves out those with pixels of novel classes.
    config.data.drop_novel = True
    # Images are resized as in evaluation, and their features cached. For hundreds of images or more try
    # data.augment = True and cache_features = False. data.scale is then relative to full resolution: set it to about
    # (0.9, 1.1) times image_size / the longer side of your images.
    config.data.image_size = 193
    config.data.augment = False
    config.training.cache_features = True

    # Network. On a GPU: a ResNet at 321 or 473 px, model.channels = 256, thousands of steps.
    config.model.backbone = "efficientnet_lite2"
    config.model.channels = 128
    config.training.steps = 800
    config.training.checkpoint_every = 200
    config.training.evaluate_every = 0
    config.training.evaluation_episodes = 0

    # Evaluation after training.
    config.evaluation.after_training = True
    config.evaluation.episodes = 200
    return config
