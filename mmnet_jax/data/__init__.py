"""From a folder of photographs to batches of episodes: prepare -> Dataset -> EpisodeIndex -> RawEpisodes -> Episode.

The names below are imported when they are first used, so that segmenting a picture does not wait for the libraries that
read datasets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmnet_jax.lazy import attach

if TYPE_CHECKING:
    from mmnet_jax.data.augmentation import augment
    from mmnet_jax.data.batches import training_batches
    from mmnet_jax.data.dataset import Dataset, Split, open_dataset
    from mmnet_jax.data.fitting import prepare_image, prepare_label, test_transform
    from mmnet_jax.data.folds import fold_classes
    from mmnet_jax.data.images import read_image, read_mask
    from mmnet_jax.data.raw import RawEpisodes, load_episodes
    from mmnet_jax.data.sampling import EpisodeIndex, EpisodeSpec, testing_episode, training_episode, training_index

__getattr__, __all__ = attach(
    __name__,
    {
        "augment": "augmentation",
        "Dataset": "dataset",
        "Split": "dataset",
        "open_dataset": "dataset",
        "prepare_image": "fitting",
        "prepare_label": "fitting",
        "test_transform": "fitting",
        "fold_classes": "folds",
        "read_image": "images",
        "read_mask": "images",
        "RawEpisodes": "raw",
        "load_episodes": "raw",
        "training_batches": "batches",
        "EpisodeIndex": "sampling",
        "EpisodeSpec": "sampling",
        "testing_episode": "sampling",
        "training_episode": "sampling",
        "training_index": "sampling",
    },
)
