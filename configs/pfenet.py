"""PFENet, the baseline of tables 1 and 2, with MM-Net's data, recipe and decoder. ROWS lists the names.

python -m mmnet_jax.train --config=configs/pfenet.py:pascal_1shot --workdir=runs/pfenet/fold0 --config.fold=0 \\
    --config.data.data_dir=DATA --config.model.weights=resnet50_v2.safetensors

Expected (as MM-Net's paper prints it), novel mIoU of folds 0..3: 61.7 69.5 55.4 56.3, mean 60.8 (pascal_1shot).
Expected time: not measured yet.
"""

from mmnet_jax.config import ConfigDict, Row, load_recipe, pick

PFENET = {"model.network": "pfenet", "loss.reconstruction_on": "none"}
COCO = PFENET | {"model.backbone": "resnet101_v2", "data.image_size": 641}

ROWS = {
    "pascal_1shot": Row(PFENET, "PFENet"),
    "pascal_5shot": Row(PFENET | {"shots": 5}, "PFENet, 5 shots"),
    "coco_1shot": Row(COCO, "PFENet on COCO-20i, deep-stem ResNet-101, 641 px"),
    "coco_5shot": Row(COCO | {"shots": 5}, "the same, 5 shots"),
}


def get_config(name: str = "pascal_1shot") -> ConfigDict:
    base = "coco_1shot" if name.startswith("coco") else "pascal_1shot"
    return pick(ROWS, name, "configs/pfenet.py", load_recipe(base))
