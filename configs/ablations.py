"""The rows of tables 3 to 7, A and B: MM-Net on PASCAL-5i with one part changed. ROWS lists the names.

python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=runs/fcm_only/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (paper), mean novel mIoU of the four folds: 42.8 for fcm_only, 61.8 for the whole network;
python scripts/reproduce.py --table=4 runs all rows of a table and prints them beside the paper's numbers.
"""

from mmnet_jax.config import ConfigDict, Row, load_recipe, pick

NO_MEMORY = {"loss.reconstruction_on": "none"}

ROWS = {
    # table 3
    "memory_20": Row({"model.memory_size": 20}, "20 embeddings"),
    "memory_50": Row({}, "50 embeddings: the default"),
    "memory_100": Row({"model.memory_size": 100}, "100 embeddings"),
    # table 4
    "fcm_only": Row({"model.fem_input": "confidence"} | NO_MEMORY, "the decoder sees the confidence map alone"),
    "fcm_feat": Row({"model.nodes": "features"} | NO_MEMORY, "no memory: APM on the projected features"),
    "fcm_mmm": Row({}, "confidence map and memory: the default"),
    # table 5, and level 2 alone, which the table lacks
    "mmm_2": Row({"model.levels": "2"}, "memory on level 2 alone"),
    "mmm_3": Row({"model.levels": "3"}, "memory on level 3 alone"),
    "mmm_2_and_3": Row({"model.levels": "2,3"}, "two memories, one on level 2 and one on level 3"),
    "global": Row({"model.propagation": "global"}, "the support's masked average instead of APM"),
    "apm": Row({}, "memory on levels 2 and 3 together, APM: the default"),
    # table 6
    "reconstruction_none": Row({"loss.reconstruction_on": "none"}, "no reconstruction loss"),
    "reconstruction_query": Row({"loss.reconstruction_on": "query"}, "reconstruction loss on the query's features"),
    "reconstruction_both": Row({"loss.reconstruction_on": "both"}, "reconstruction loss on query and support"),
    "reconstruction_support": Row({}, "reconstruction loss on the support's features: the default"),
    # tables 7 and B
    "without_qmm": Row({"shots": 5, "quality.module": "mean"}, "the mean of five shots' maps"),
    "attention": Row({"shots": 5, "quality.module": "attention"}, "five shots weighted by CANet's attention"),
    "with_qmm": Row({"shots": 5}, "five shots weighted by QMM: the default"),
    # table A
    "without_fcm": Row({"model.fem_input": "activations"}, "the decoder sees the fused activations alone"),
    "with_fcm": Row({}, "activations and confidence map: the default"),
}


def get_config(name: str = "") -> ConfigDict:
    return pick(ROWS, name, "configs/ablations.py", load_recipe("pascal_1shot"))
