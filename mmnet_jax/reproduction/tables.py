"""The rows of MM-Net and PFENet in the paper's tables: printed numbers, and the recipe of each row.

Numbers are novel mIoU in percent: folds 0 to 3, then their mean. Rows of other methods are left out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

COLUMNS = ("fold0", "fold1", "fold2", "fold3", "mean")


class TableRow(NamedTuple):
    """One row of a table, for one number of shots."""

    name: str
    """Its name in ``--rows``."""
    config: str
    """The recipe, such as ``ablations:fcm_only``. Rows with the same recipe share their runs."""
    paper: dict[str, float] | None
    """The printed numbers of ``fold0`` to ``fold3`` and ``mean``."""
    label: str

    def __str__(self) -> str:
        file, colon, name = self.config.partition(":")
        text = f"{self.name}: {self.label} (configs/{file}.py{colon}{name})"
        if self.paper:
            *folds, mean = self.paper.values()
            text += f", paper: {' '.join(map(str, folds))}, mean {mean}"
        return text


class Table(NamedTuple):
    """A table of the paper and the claims that it supports."""

    title: str
    rows: tuple[TableRow, ...]
    claims: tuple[tuple[str, str], ...]
    """Pairs of rows of which the first is claimed to have the higher mIoU."""
    folds: tuple[int, ...] = (0, 1, 2, 3)
    note: str = ""


def _table(title: str, rows: str, claims: Mapping[str, str], **more: Any) -> Table:
    """A table from lines ``name | recipe | numbers | label``; ``claims`` maps a better row to the worse ones."""
    parsed = []
    for line in rows.strip().splitlines():
        name, config, numbers, label = map(str.strip, line.split("|"))
        paper = dict(zip(COLUMNS, map(float, numbers.split()), strict=True)) if numbers else None
        parsed.append(TableRow(name, config, paper, label))
    pairs = tuple((better, worse) for better, all_worse in claims.items() for worse in all_worse.split())
    return Table(title, tuple(parsed), pairs, **more)


TABLES: dict[str, Table] = {
    "1": _table(
        "Table 1: PASCAL-5i",
        """
        pfenet_1shot      | pfenet:pascal_1shot             | 61.7 69.5 55.4 56.3 60.8 | PFENet, ResNet-50-v2, 1 shot
        pfenet_5shot      | pfenet:pascal_5shot             | 63.1 70.7 55.8 57.9 61.9 | PFENet, ResNet-50-v2, 5 shots
        vgg16_1shot       | backbones:pascal_1shot_vgg16    | 57.1 67.2 56.6 52.3 58.3 | MM-Net, VGG-16, 1 shot
        vgg16_5shot       | backbones:pascal_5shot_vgg16    | 56.6 66.7 53.6 56.5 58.3 | MM-Net, VGG-16, 5 shots
        resnet50_1shot    | backbones:pascal_1shot_resnet50 | 58.0 70.0 58.0 55.0 60.2 | MM-Net, ResNet-50, 1 shot
        resnet50_5shot    | backbones:pascal_5shot_resnet50 | 60.0 70.6 56.3 60.3 61.8 | MM-Net, ResNet-50, 5 shots
        resnet50_v2_1shot | pascal_1shot                    | 62.7 70.2 57.3 57.0 61.8 | MM-Net, ResNet-50-v2, 1 shot
        resnet50_v2_5shot | pascal_5shot                    | 62.2 71.5 57.5 62.4 63.4 | MM-Net, ResNet-50-v2, 5 shots
        """,
        {"resnet50_v2_1shot": "pfenet_1shot", "resnet50_v2_5shot": "pfenet_5shot"},
    ),
    "2": _table(
        "Table 2: COCO-20i",
        """
        pfenet_1shot      | pfenet:coco_1shot             | 34.3 33.0 32.3 30.1 32.4 | PFENet, ResNet-101-v2, 1 shot
        pfenet_5shot      | pfenet:coco_5shot             | 38.5 38.6 38.2 34.3 37.4 | PFENet, ResNet-101-v2, 5 shots
        resnet50_1shot    | backbones:coco_1shot_resnet50 | 34.9 41.0 37.8 35.2 37.2 | MM-Net, ResNet-50, 1 shot
        resnet50_5shot    | backbones:coco_5shot_resnet50 | 38.5 39.6 38.4 35.5 38.0 | MM-Net, ResNet-50, 5 shots
        resnet50_v2_1shot | coco_1shot                    | 34.9 41.0 37.2 37.0 37.5 | MM-Net, ResNet-50-v2, 1 shot
        resnet50_v2_5shot | coco_5shot                    | 37.0 40.3 39.3 36.0 38.2 | MM-Net, ResNet-50-v2, 5 shots
        """,
        {"resnet50_v2_1shot": "pfenet_1shot", "resnet50_v2_5shot": "pfenet_5shot"},
    ),
    "3": _table(
        "Table 3: size of the memory",
        """
        memory_20  | ablations:memory_20  | 61.4 70.0 57.5 58.0 61.7 | N = 20
        memory_50  | pascal_1shot         | 62.7 70.2 57.3 57.0 61.8 | N = 50
        memory_100 | ablations:memory_100 | 62.2 70.4 55.9 55.6 61.0 | N = 100
        """,
        {"memory_50": "memory_20 memory_100"},
    ),
    "4": _table(
        "Table 4: the memory module",
        """
        fcm_only | ablations:fcm_only | 40.4 47.4 42.9 40.5 42.8 | FCM only
        fcm_feat | ablations:fcm_feat | 59.6 68.0 54.5 53.5 58.9 | FCM + Feat
        fcm_mmm  | pascal_1shot       | 62.7 70.2 57.3 57.0 61.8 | FCM + MMM
        """,
        {"fcm_mmm": "fcm_only fcm_feat"},
    ),
    "5": _table(
        "Table 5: levels of the memory, and propagation",
        """
        mmm_3       | ablations:mmm_3       | 59.8 69.3 54.2 55.2 59.6 | MMM(3) + APM
        mmm_2_and_3 | ablations:mmm_2_and_3 | 60.2 70.0 53.7 56.0 60.0 | MMM(2,3) + APM
        global      | ablations:global      | 61.8 69.1 56.7 56.4 61.2 | MMM(2+3) + Global
        apm         | pascal_1shot          | 62.7 70.2 57.3 57.0 61.8 | MMM(2+3) + APM
        """,
        {"apm": "mmm_3 mmm_2_and_3 global"},
        note="The paper's own mean of the row Global is not the mean of its folds, which is 61.0.",
    ),
    "6": _table(
        "Table 6: features that are reconstructed",
        """
        reconstruction_none    | ablations:reconstruction_none  | 60.7 70.2 55.6 56.2 60.7 | none
        reconstruction_query   | ablations:reconstruction_query | 64.1 69.8 56.1 55.5 61.4 | query (?)
        reconstruction_both    | ablations:reconstruction_both  | 62.5 70.2 57.7 56.1 61.6 | both (?)
        reconstruction_support | pascal_1shot                   | 62.7 70.2 57.3 57.0 61.8 | support
        """,
        {"reconstruction_support": "reconstruction_none reconstruction_query reconstruction_both"},
        note="(?): the available text of the paper lacks the ticks that distinguish these two rows; it only says that "
        "reconstructing the support alone is best. The numbers of query and both may be swapped.",
    ),
    "7": _table(
        "Table 7: QMM, 5 shots",
        """
        without_qmm | ablations:without_qmm | 60.7 71.0 56.9 61.8 62.6 | without QMM
        with_qmm    | pascal_5shot          | 62.2 71.5 57.5 62.4 63.4 | with QMM
        """,
        {"with_qmm": "without_qmm"},
    ),
    "A": _table(
        "Table A: FCM",
        """
        without_fcm | ablations:without_fcm | 57.5 68.7 55.8 53.7 58.9 | without FCM
        with_fcm    | pascal_1shot          | 62.7 70.2 57.3 57.0 61.8 | with FCM
        """,
        {"with_fcm": "without_fcm"},
    ),
    "B": _table(
        "Table B: QMM or attention, 5 shots",
        """
        attention | ablations:attention | 60.1 69.8 55.9 61.1 61.7 | CANet's attention
        with_qmm  | pascal_5shot        | 62.2 71.5 57.5 62.4 63.4 | QMM
        """,
        {"with_qmm": "attention"},
    ),
    "photographs": _table(
        "The choices behind the numbers, on photographs",
        """
        paper           | photographs:paper           |  | MM-Net as the paper's equations have it, 1 shot
        released        | photographs:released        |  | as the authors' code has it
        rate_0.0025     | photographs:rate_0.0025     |  | learning rate 0.0025 instead of 0.025
        global          | photographs:global          |  | Global instead of APM
        pfenet          | photographs:pfenet          |  | PFENet
        fcm_only        | photographs:fcm_only        |  | FCM only
        fcm_feat        | photographs:fcm_feat        |  | FCM + Feat
        fcm_feat_0.0025 | photographs:fcm_feat_0.0025 |  | FCM + Feat at 0.0025
        qmm_5           | photographs:qmm_5           |  | QMM, 5 shots
        mean_5          | photographs:mean_5          |  | mean of the shots
        area_5          | photographs:area_5          |  | QMM divided by the mask's area
        qmm_5_last      | photographs:qmm_5_last      |  | QMM with the last shot's mask for all
        mean_5_last     | photographs:mean_5_last     |  | mean, with the last shot's mask for all
        area_5_last     | photographs:area_5_last     |  | QMM divided by the area, with the last shot's mask for all
        """,
        {
            "paper": "released rate_0.0025 global pfenet fcm_only fcm_feat",
            "rate_0.0025": "fcm_feat_0.0025",
            "qmm_5": "mean_5 area_5 qmm_5_last",
            "qmm_5_last": "mean_5_last area_5_last",
        },
        folds=(1, 2),
        note="Small runs on a folder of photographs; the numbers compare only with each other.",
    ),
}
"""The tables by their names in ``--table``."""
