"""Coverage of the 95% intervals, by simulation; ``python -m tests.evaluation.test_coverage`` writes the
table of ``results/coverage.md`` (about ten minutes on two cores).

A population of query images stands for all that could have been tested. Its images are drawn as a test set is, with
replacement, and two methods that segment all of them give one pair of results; the population's own mIoU is the truth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mmnet_jax.evaluation.comparison import Estimate, _estimate, difference, miou, resample
from mmnet_jax.evaluation.metrics import RESAMPLES, class_ious, mean_iou
from mmnet_jax.evaluation.stored import OWN, StoredEpisode, StoredResult

TABLE = Path(__file__).parents[2] / "results" / "coverage.md"
IMAGES, CLASSES, PAIRS, CASES = 100_000, 5, 1000, 5000
EPISODES = {30: 4, 350: 4, 5000: 1}
"""Query images of a result, and the episodes of each."""
GAP, CORRELATION = 0.02, 0.8
"""The second method's lead in IoU before it is cut to [0, 0.95], and the correlation of both before that."""


class Population(NamedTuple):
    """Classes [m, e] and foreground counts [m, e, 2] of M images with E episodes each, by both methods."""

    classes: np.ndarray
    intersection: np.ndarray
    union: np.ndarray

    def miou(self) -> np.ndarray:
        """The truth of both methods, in percent."""
        flat = (counts.reshape(-1, 2) for counts in (self.intersection, self.union))
        return mean_iou(class_ious(*flat, self.classes.ravel())[1])[0]


def population(episodes: int, seed: int = 0) -> Population:
    """Classes of unequal number and difficulty; areas over orders of magnitude; an image in seven shows two classes.

    The IoU of an episode depends on its image, on the episode and on the method. Its mean (0.44), standard deviation
    (0.31), share of misses (0.14) and correlation between methods (0.78) are like those of trained networks on the
    photographs (0.3 to 0.4, 0.25 to 0.33, 0.1 to 0.3, 0.7 to 0.85).
    """
    random = np.random.default_rng(seed)
    shape = IMAGES, episodes
    first = random.choice(CLASSES, IMAGES, p=[0.1, 0.15, 0.2, 0.25, 0.3])
    second = np.where(random.random(IMAGES) < 0.15, random.integers(CLASSES, size=IMAGES), first)
    classes = np.where(random.random(shape) < 0.5, first[:, None], second[:, None])
    area = np.exp(random.normal(9, 1.1, (IMAGES, 1)))

    def of_image_and_episode() -> np.ndarray:
        return np.sqrt(0.7) * random.normal(size=(IMAGES, 1)) + np.sqrt(0.3) * random.normal(size=shape)

    both, counts = of_image_and_episode(), []
    for lead in (0, GAP):
        skill = np.sqrt(CORRELATION) * both + np.sqrt(1 - CORRELATION) * of_image_and_episode()
        iou = np.clip(np.linspace(0.3, 0.5, CLASSES)[classes] + lead + 0.38 * skill, 0, 0.95)
        union = area * (1 + random.random(shape) * (1 - iou))
        counts.append(np.rint(np.stack([iou * union, union])).astype(np.int64))
    intersection, union = np.stack(counts, axis=-1)
    return Population(classes, intersection, union)


def estimates(whole: Population, images: int, pairs: int) -> Iterator[tuple[Estimate, Estimate]]:
    """The first method's mIoU and the second's lead, of each pair of results."""
    random = np.random.default_rng(1)
    for pair in range(pairs):
        drawn = random.integers(IMAGES, size=images)
        classes, intersection, union = (array[drawn] for array in whole)
        queries = np.repeat([f"{i:04d}" for i in range(images)], classes.shape[1])
        episodes = tuple(StoredEpisode(q, str(c), "", 1) for q, c in zip(queries, classes.ravel(), strict=True))
        counts = [np.stack([intersection[..., m].ravel(), union[..., m].ravel()], axis=1) for m in (0, 1)]
        results = [StoredResult({"fold": pair}, episodes, {OWN: own}) for own in counts]
        first, second = ({(pair, 0): resample(result)} for result in results)
        yield miou(first), difference(second, first)


class Coverage(NamedTuple):
    """Coverage of the intervals of simulated pairs."""

    miou: float
    difference: float
    """Fractions of intervals that contain the true value."""
    width: float
    """Mean width of the intervals of the difference, points."""
    found: float
    """Fraction of the intervals of the difference that are above 0."""


def coverage(images: int, pairs: int) -> Coverage:
    whole = population(EPISODES[images])
    first, second = whole.miou()
    found = [(score.interval95, lead.interval95) for score, lead in estimates(whole, images, pairs)]
    score, lead = np.moveaxis(np.array(found), 1, 0)

    def share(intervals: np.ndarray, truth: float) -> float:
        return float(np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])))

    return Coverage(share(score, first), share(lead, second - first), np.ptp(lead, 1).mean(), np.mean(lead[:, 0] > 0))


@pytest.mark.slow
def test_intervals_have_their_nominal_coverage():
    few, some = coverage(30, 300), coverage(350, 300)
    assert few.difference >= 0.9 - 0.03 and 0.93 - 0.03 <= some.difference <= 0.97 + 0.03  # of 300 pairs: 2 errors


class SeedCoverage(NamedTuple):
    """Fractions of simulated intervals of a mean over training seeds that contain the mean of all trainings."""

    episodes: float
    seeds: float
    width: float
    """Mean width of the interval over seeds, in standard deviations of the trainings' mIoU."""


def seed_coverage(seeds: int, cases: int) -> SeedCoverage:
    """Cases in which the true mean is 0, a training deviates from it by a standard deviation of 1, and a test set by
    ``1 / sqrt(seeds)``, as much as their mean.
    """
    random = np.random.default_rng(seeds)
    held, widths = [], []
    for case in range(cases):
        images = random.normal(size=RESAMPLES + 1) / np.sqrt(seeds)  # the first one is the test set's own deviation
        images[1:] += images[0]
        found = _estimate({(case, run): random.normal() + images for run in range(seeds)}, several_trainings=True)
        held.append([low <= 0 <= high for low, high in (found.interval95, found.seeds95)])
        widths.append(np.ptp(found.seeds95))
    return SeedCoverage(*map(float, np.mean(held, axis=0)), float(np.mean(widths)))


def seed_lines() -> list[str]:
    """The table of intervals over training seeds."""
    lines = [
        "",
        "## Training seeds",
        "",
        f"{CASES:,} simulated cases for each number of seeds: the mean over trainings whose mIoU has a standard",
        "deviation of 1, on a test set that deviates as much as their mean. The interval over seeds draws trainings",
        "and query images; that over episodes takes the trainings as fixed.",
        "",
        "| training seeds | interval over episodes holds the truth | interval over seeds holds it | its mean width |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for seeds in (2, 3, 5, 10):
        row = seed_coverage(seeds, CASES)
        lines.append(f"| {seeds} | {100 * row.episodes:.1f}% | {100 * row.seeds:.1f}% | {row.width:.1f} |")
    return lines


def main() -> None:
    rows = {images: coverage(images, PAIRS) for images in EPISODES}
    first, second = population(1).miou()
    head = ["query images", "episodes of each", "holds the true difference", "holds the true mIoU"]
    head += ["mean width of the difference's, points", "difference found"]
    lines = [
        "# Coverage of the 95% intervals",
        "",
        f"{PAIRS:,} simulated pairs of results for each number of query images: two methods, {CLASSES} classes, IoUs",
        f"spread as those of trained networks, true mIoU {first:.1f} and {second:.1f} percent. The interval is that of",
        "every result and comparison: the percentiles of 1,000 bootstrap draws of query images, each with all its",
        "episodes. Written by `python -m tests.evaluation.test_coverage`.",
        "",
        "| " + " | ".join(head) + " |",
        "| " + " | ".join(["---:"] * len(head)) + " |",
    ]
    for images, row in rows.items():
        shares = [f"{100 * share:.1f}%" for share in (row.difference, row.miou)]
        cells = f"{images:,}", str(EPISODES[images]), *shares, f"{row.width:.1f}", f"{100 * row.found:.0f}%"
        lines.append("| " + " | ".join(cells) + " |")
    TABLE.write_text("\n".join(lines + seed_lines()) + "\n")


if __name__ == "__main__":
    main()
