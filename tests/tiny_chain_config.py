"""The recipe of ``tests.tiny_chain``."""

from mmnet_jax.config import get_config as defaults


def get_config():
    config = defaults()
    config.data.update(dataset="few_creatures", image_size=33, min_pixels=50)
    config.model.update(backbone="tiny", memory_size=5, channels=8, bins=(1.0,))
    config.pretraining.update(dataset="crops", image_size=32, steps=6, batch_size=8, log_every=1, checkpoint_every=2)
    config.training.update(steps=8, batch_size=2, log_every=2, checkpoint_every=3, evaluation_episodes=0)
    config.evaluation.update(after_training=True, episodes=12)
    return config
