"""Few-shot segmentation from scratch, on two CPU cores: generates creatures, pretrains a small ResNet, trains MM-Net.

python -m mmnet_jax.train --config=configs/quickstart.py --workdir=runs/quickstart

No row of the paper; docs/results.md has its numbers for three generator seeds.
Time: two and a half minutes on two idle cores.
"""

from mmnet_jax.config import ConfigDict, get_config as defaults


def get_config(reading: str = "paper") -> ConfigDict:
    config = defaults(reading)
    config.data.dataset = "creatures"
    config.data.image_size = 129
    config.data.scale = (0.85, 1.05)
    config.model.backbone = "resnet14_half"
    config.model.channels = 64
    config.model.dropout = 0.0
    config.model.projection_kernel = 1  # as in the released code; at 64 channels faster and better than 3
    config.optimizer.learning_rate = 0.1
    config.pretraining.dataset = "crops"
    config.pretraining.image_size = 64
    config.pretraining.steps = 200
    config.pretraining.batch_size = 64
    config.pretraining.learning_rate = 0.1
    config.pretraining.log_every = 50
    config.pretraining.checkpoint_every = 100
    config.training.batch_size = 2  # more and smaller steps: a better network at the same cost
    config.training.steps = 900
    config.training.log_every = 50
    config.training.checkpoint_every = 100
    config.training.evaluate_every = 0
    config.training.evaluation_episodes = 0
    config.evaluation.after_training = True
    config.evaluation.episodes = 500
    return config
