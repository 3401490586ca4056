"""A slow reference of the evaluation: one episode at a time, float64, loops over classes."""

import numpy as np


def resize_align_corners(image: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """[h, w] -> [height, width], a square if no width is given, with aligned corners."""
    for side in (height, width or height):
        at, known = np.linspace(0, len(image) - 1, side), np.arange(len(image))
        image = np.stack([np.interp(at, known, column) for column in image.astype(np.float64).T])
    return image


def predicted_labels(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[s, s, 2] -> 0 or 1 for each pixel of a label of this shape."""
    square = np.stack([resize_align_corners(logits[..., c], max(shape)) for c in (0, 1)])
    return square.argmax(0)[: shape[0], : shape[1]]


def episode_counts(logits: np.ndarray, label: np.ndarray) -> tuple[list[int], list[int]]:
    """Intersections and unions of background and foreground."""
    return mask_counts(predicted_labels(logits, label.shape), label)


def mask_counts(predicted: np.ndarray, label: np.ndarray) -> tuple[list[int], list[int]]:
    counted = label != 255
    pairs = [((predicted == value) & counted, label == value) for value in (0, 1)]
    return [int((ours & truth).sum()) for ours, truth in pairs], [int((ours | truth).sum()) for ours, truth in pairs]


def miou(counts: list[tuple[list[int], list[int]]], classes: list[int]) -> float:
    """Mean over the classes of the summed foreground intersections over the summed unions, in percent."""
    ious = []
    for c in sorted(set(classes)):
        own = [count for count, of in zip(counts, classes, strict=True) if of == c]
        ious.append(sum(i[1] for i, _ in own) / sum(u[1] for _, u in own))
    return 100 * sum(ious) / len(ious)


def fb_iou(counts: list[tuple[list[int], list[int]]]) -> float:
    """Mean of the pooled background's and the pooled foreground's IoU, in percent."""
    return 100 * sum(sum(i[v] for i, _ in counts) / sum(u[v] for _, u in counts) for v in (0, 1)) / 2


def scored_label(mask: np.ndarray, value: int, side: int | None, ignored_is_background: bool) -> np.ndarray:
    """A mask of class indices as a protocol scores it for a class: unchanged, or pixel i from floor(i n / side)."""
    height, width = mask.shape
    rows, columns = range(side or height), range(side or width)
    meaning = [int(index == value) for index in range(255)] + [0 if ignored_is_background else 255]
    pixels = mask.tolist()
    label = [[meaning[pixels[y * height // len(rows)][x * width // len(columns)]] for x in columns] for y in rows]
    return np.array(label, np.uint8)
