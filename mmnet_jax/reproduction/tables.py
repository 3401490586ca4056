"""What the paper prints of MM-Net and PFENet, row by row, and the configuration that each row stands for.

mIoU of the novel classes in percent, of folds 0 to 3 and their mean; other methods' rows are left out.
"""

from __future__ import annotations

from typing import NamedTuple


class Printed(NamedTuple):
    """A row's numbers in the paper."""

    folds: tuple[float, ...]
    mean: float


class TableRow(NamedTuple):
    """One row, or the part of it that is of one number of shots."""

    name: str
    """Of the row in ``--rows``."""
    label: str
    config: str
    """A module of ``configs``, and after a colon the name in it; rows of the same configuration share their runs."""
    paper: Printed | None = None


class Claim(NamedTuple):
    """That one row has the higher mIoU."""

    better: str
    worse: str


class Table(NamedTuple):
    """A table to be filled."""

    title: str
    rows: tuple[TableRow, ...]
    claims: tuple[Claim, ...] = ()
    """Judged on the same episodes of both rows."""
    folds: tuple[int, ...] = (0, 1, 2, 3)
    note: str = ""
    """``{recipe}`` in it becomes that of the runs."""


def _row(name: str, label: str, config: str, *numbers: float) -> TableRow:
    return TableRow(name, label, config, Printed(numbers[:-1], numbers[-1]) if numbers else None)


def _default(name: str, label: str) -> TableRow:
    return _row(name, label, "pascal_1shot", 62.7, 70.2, 57.3, 57.0, 61.8)


def _default_5shot(name: str, label: str) -> TableRow:
    return _row(name, label, "pascal_5shot", 62.2, 71.5, 57.5, 62.4, 63.4)


TABLES: dict[str, Table] = {
    "1": Table(
        "Table 1: PASCAL-5i",
        (
            _row("pfenet_1shot", "PFENet, ResNet-50-v2, 1 shot", "pfenet:pascal_1shot", 61.7, 69.5, 55.4, 56.3, 60.8),
            _row("pfenet_5shot", "PFENet, ResNet-50-v2, 5 shots", "pfenet:pascal_5shot", 63.1, 70.7, 55.8, 57.9, 61.9),
            _row("vgg16_1shot", "MM-Net, VGG-16, 1 shot", "backbones:pascal_1shot_vgg16", 57.1, 67.2, 56.6, 52.3, 58.3),
            _row(
                "vgg16_5shot", "MM-Net, VGG-16, 5 shots", "backbones:pascal_5shot_vgg16", 56.6, 66.7, 53.6, 56.5, 58.3
            ),
            _row(
                "resnet50_1shot",
                "MM-Net, ResNet-50, 1 shot",
                "backbones:pascal_1shot_resnet50",
                58.0,
                70.0,
                58.0,
                55.0,
                60.2,
            ),
            _row(
                "resnet50_5shot",
                "MM-Net, ResNet-50, 5 shots",
                "backbones:pascal_5shot_resnet50",
                60.0,
                70.6,
                56.3,
                60.3,
                61.8,
            ),
            _default("resnet50_v2_1shot", "MM-Net, ResNet-50-v2, 1 shot"),
            _default_5shot("resnet50_v2_5shot", "MM-Net, ResNet-50-v2, 5 shots"),
        ),
        (Claim("resnet50_v2_1shot", "pfenet_1shot"), Claim("resnet50_v2_5shot", "pfenet_5shot")),
    ),
    "2": Table(
        "Table 2: COCO-20i",
        (
            _row("pfenet_1shot", "PFENet, ResNet-101-v2, 1 shot", "pfenet:coco_1shot", 34.3, 33.0, 32.3, 30.1, 32.4),
            _row("pfenet_5shot", "PFENet, ResNet-101-v2, 5 shots", "pfenet:coco_5shot", 38.5, 38.6, 38.2, 34.3, 37.4),
            _row(
                "resnet50_1shot",
                "MM-Net, ResNet-50, 1 shot",
                "backbones:coco_1shot_resnet50",
                34.9,
                41.0,
                37.8,
                35.2,
                37.2,
            ),
            _row(
                "resnet50_5shot",
                "MM-Net, ResNet-50, 5 shots",
                "backbones:coco_5shot_resnet50",
                38.5,
                39.6,
                38.4,
                35.5,
                38.0,
            ),
            _row("resnet50_v2_1shot", "MM-Net, ResNet-50-v2, 1 shot", "coco_1shot", 34.9, 41.0, 37.2, 37.0, 37.5),
            _row("resnet50_v2_5shot", "MM-Net, ResNet-50-v2, 5 shots", "coco_5shot", 37.0, 40.3, 39.3, 36.0, 38.2),
        ),
        (Claim("resnet50_v2_1shot", "pfenet_1shot"), Claim("resnet50_v2_5shot", "pfenet_5shot")),
    ),
    "3": Table(
        "Table 3: size of the memory",
        (
            _row("memory_20", "N = 20", "ablations:memory_20", 61.4, 70.0, 57.5, 58.0, 61.7),
            _default("memory_50", "N = 50"),
            _row("memory_100", "N = 100", "ablations:memory_100", 62.2, 70.4, 55.9, 55.6, 61.0),
        ),
        (Claim("memory_50", "memory_20"), Claim("memory_50", "memory_100")),
    ),
    "4": Table(
        "Table 4: the memory module",
        (
            _row("fcm_only", "FCM only", "ablations:fcm_only", 40.4, 47.4, 42.9, 40.5, 42.8),
            _row("fcm_feat", "FCM + Feat", "ablations:fcm_feat", 59.6, 68.0, 54.5, 53.5, 58.9),
            _default("fcm_mmm", "FCM + MMM"),
        ),
        (Claim("fcm_mmm", "fcm_only"), Claim("fcm_mmm", "fcm_feat")),
    ),
    "5": Table(
        "Table 5: levels of the memory, and propagation",
        (
            _row("mmm_3", "MMM(3) + APM", "ablations:mmm_3", 59.8, 69.3, 54.2, 55.2, 59.6),
            _row("mmm_2_and_3", "MMM(2,3) + APM", "ablations:mmm_2_and_3", 60.2, 70.0, 53.7, 56.0, 60.0),
            _row("global", "MMM(2+3) + Global", "ablations:global", 61.8, 69.1, 56.7, 56.4, 61.2),
            _default("apm", "MMM(2+3) + APM"),
        ),
        (Claim("apm", "mmm_3"), Claim("apm", "mmm_2_and_3"), Claim("apm", "global")),
        note="The paper's own mean of the row Global is not that of its folds, which is 61.0.",
    ),
    "6": Table(
        "Table 6: features that are reconstructed",
        (
            _row("reconstruction_none", "none", "ablations:reconstruction_none", 60.7, 70.2, 55.6, 56.2, 60.7),
            _row("reconstruction_query", "query (?)", "ablations:reconstruction_query", 64.1, 69.8, 56.1, 55.5, 61.4),
            _row("reconstruction_both", "both (?)", "ablations:reconstruction_both", 62.5, 70.2, 57.7, 56.1, 61.6),
            _default("reconstruction_support", "support"),
        ),
        tuple(Claim("reconstruction_support", f"reconstruction_{other}") for other in ("none", "query", "both")),
        note="(?): the ticks that tell these two rows apart did not survive in the text at hand; the paper's words say "
        "only that the support alone is best. The numbers of query and both may be the other way round.",
    ),
    "7": Table(
        "Table 7: QMM, 5 shots",
        (
            _row("without_qmm", "without QMM", "ablations:without_qmm", 60.7, 71.0, 56.9, 61.8, 62.6),
            _default_5shot("with_qmm", "with QMM"),
        ),
        (Claim("with_qmm", "without_qmm"),),
    ),
    "A": Table(
        "Table A: FCM",
        (
            _row("without_fcm", "without FCM", "ablations:without_fcm", 57.5, 68.7, 55.8, 53.7, 58.9),
            _default("with_fcm", "with FCM"),
        ),
        (Claim("with_fcm", "without_fcm"),),
    ),
    "B": Table(
        "Table B: QMM or attention, 5 shots",
        (
            _row("attention", "CANet's attention", "ablations:attention", 60.1, 69.8, 55.9, 61.1, 61.7),
            _default_5shot("with_qmm", "QMM"),
        ),
        (Claim("with_qmm", "attention"),),
    ),
    "photographs": Table(
        "The choices behind the numbers, on photographs",
        (
            _row("paper", "MM-Net as the paper's equations have it, 1 shot", "photographs:paper"),
            _row("released", "as the authors' code has it", "photographs:released"),
            _row("rate_0.0025", "learning rate 0.0025 instead of 0.025", "photographs:rate_0.0025"),
            _row("global", "Global instead of APM", "photographs:global"),
            _row("pfenet", "PFENet", "photographs:pfenet"),
            _row("fcm_only", "FCM only", "photographs:fcm_only"),
            _row("fcm_feat", "FCM + Feat", "photographs:fcm_feat"),
            _row("fcm_feat_0.0025", "FCM + Feat at 0.0025", "photographs:fcm_feat_0.0025"),
            _row("qmm_5", "QMM, 5 shots", "photographs:qmm_5"),
            _row("mean_5", "mean of the shots", "photographs:mean_5"),
            _row("area_5", "QMM divided by the mask's area", "photographs:area_5"),
            _row("qmm_5_last", "QMM with the last shot's mask for all", "photographs:qmm_5_last"),
            _row("mean_5_last", "mean, with the last shot's mask for all", "photographs:mean_5_last"),
            _row(
                "area_5_last", "QMM divided by the area, with the last shot's mask for all", "photographs:area_5_last"
            ),
        ),
        (
            *(Claim("paper", o) for o in ("released", "rate_0.0025", "global", "pfenet", "fcm_only", "fcm_feat")),
            Claim("rate_0.0025", "fcm_feat_0.0025"),
            Claim("qmm_5", "mean_5"),
            Claim("qmm_5", "area_5"),
            Claim("qmm_5_last", "mean_5_last"),
            Claim("qmm_5_last", "area_5_last"),
            Claim("qmm_5", "qmm_5_last"),
        ),
        folds=(1, 2),
        note="Small runs ({recipe}) on a folder of photographs; the numbers compare only with each other.",
    ),
}
