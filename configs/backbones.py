"""The rows of tables 1 and 2 with other backbones, at 321 px. ROWS lists the names.

python -m mmnet_jax.train --config=configs/backbones.py:pascal_1shot_vgg16 --workdir=runs/vgg16/fold0 \\
    --config.fold=0 --config.data.data_dir=DATA --config.model.weights=vgg16.safetensors

Expected (paper), novel mIoU of folds 0..3: 57.1 67.2 56.6 52.3, mean 58.3 (pascal_1shot_vgg16).
Expected time: not measured yet.
"""

from mmnet_jax.config import ConfigDict, Row, load_recipe, pick

VGG16 = {"data.image_size": 321, "model.backbone": "vgg16"}
RESNET50 = {"data.image_size": 321, "model.backbone": "resnet50"}

ROWS = {
    "pascal_1shot_vgg16": Row(VGG16, "VGG-16 with batch normalisation, 321 px"),
    "pascal_5shot_vgg16": Row(VGG16 | {"shots": 5}, "the same, 5 shots"),
    "pascal_1shot_resnet50": Row(RESNET50, "torchvision's ResNet-50, 321 px"),
    "pascal_5shot_resnet50": Row(RESNET50 | {"shots": 5}, "the same, 5 shots"),
    "coco_1shot_resnet50": Row(RESNET50, "COCO-20i with torchvision's ResNet-50, 321 px"),
    "coco_5shot_resnet50": Row(RESNET50 | {"shots": 5}, "the same, 5 shots"),
}


def get_config(name: str = "") -> ConfigDict:
    base = "coco_1shot" if name.startswith("coco") else "pascal_1shot"
    return pick(ROWS, name, "configs/backbones.py", load_recipe(base))
