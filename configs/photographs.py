"""Tests of the paper's claims on a small folder of photographs, on two CPU cores. ROWS lists the names.

python -m mmnet_jax.train --config=configs/photographs.py:paper --workdir=runs/paper/fold1 --config.fold=1 \\
    --config.data.data_dir=DATA --config.model.weights=efficientnet_lite2.safetensors

No rows of the paper: EfficientNet-Lite2, 161 px, 128 channels, 800 steps without augmentation, so that each image's
frozen features are computed once. The numbers compare only with each other;
python scripts/reproduce.py --table=photographs runs all of them and says which claims hold.
"""

from mmnet_jax.config import ConfigDict, Row, load_recipe, pick

FIVE = {"shots": 5}
LAST = {"shots": 5, "model.shot_mask": "last"}

ROWS = {
    "paper": Row({}, "MM-Net, reading paper, 1 shot: the reference of the 1-shot rows"),
    "released": Row({"reading": "released", "training.cache_features": False}, "MM-Net, reading released"),
    "rate_0.0025": Row({"optimizer.learning_rate": 0.0025}, "the learning rate printed in the paper"),
    "global": Row({"model.propagation": "global"}, "the support's masked average instead of APM"),
    "pfenet": Row({"model.network": "pfenet", "loss.reconstruction_on": "none"}, "PFENet"),
    "fcm_only": Row({"model.fem_input": "confidence", "loss.reconstruction_on": "none"}, "the confidence map alone"),
    "fcm_feat": Row(
        {"model.nodes": "features", "loss.reconstruction_on": "none"}, "no memory: APM on the projected features"
    ),
    "fcm_feat_0.0025": Row(
        {"model.nodes": "features", "loss.reconstruction_on": "none", "optimizer.learning_rate": 0.0025},
        "no memory, at the learning rate printed in the paper",
    ),
    "qmm_5": Row(FIVE, "5 shots weighted by QMM: the reference of the 5-shot rows"),
    "mean_5": Row(FIVE | {"quality.module": "mean"}, "the mean of 5 shots"),
    "area_5": Row(FIVE | {"quality.normalise": "mean"}, "QMM's sums divided by the mask's area"),
    "qmm_5_last": Row(LAST, "QMM with the release's bug: the last shot's mask for every shot"),
    "mean_5_last": Row(LAST | {"quality.module": "mean"}, "the mean of 5 shots with that bug"),
    "area_5_last": Row(LAST | {"quality.normalise": "mean"}, "QMM divided by the area with that bug"),
}


def get_config(name: str = "") -> ConfigDict:
    config = load_recipe("pascal_small")
    config.data.image_size = 161
    config.data.scale = (0.9, 1.1)
    config.data.augment = False
    config.model.channels = 128
    config.training.cache_features = True
    config.training.steps = 800
    config.training.evaluate_every = 0
    config.training.evaluation_episodes = 0
    config.training.checkpoint_every = 200
    config.evaluation.after_training = True
    config.evaluation.episodes = 1000
    return pick(ROWS, name, "configs/photographs.py", config)
