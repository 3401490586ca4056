"""A table of outputs for the current NUMERICS, which must be raised when a number changes.

After raising NUMERICS, rewrite the table by ``python -m tests.test_numerics``.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import losses
from mmnet_jax.config.values import augmentation
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.evaluation import test_transform as evaluation_transform  # pytest would collect it
from mmnet_jax.data.transforms.training import augment
from mmnet_jax.evaluation.metrics import best_threshold, score
from mmnet_jax.evaluation.pixel_counts import count_pixels, predicted_foreground
from mmnet_jax.pretraining.jitter import jitter
from mmnet_jax.workdir.provenance import NUMERICS
from tests.tiny import draw_episode, tiny_config, tiny_network

TABLE = Path(__file__).with_name("numerics.json")
TOLERANCE = 1e-5
NETWORKS = {
    "mmnet_paper": {},
    "mmnet_released": {"reading": "released"},
    "pfenet": {"model.network": "pfenet", "loss.reconstruction_on": "none"},
}


def fingerprint(x) -> list[float]:
    """Mean, largest magnitude and three random projections, each of the size of one element: any change moves one."""
    x = np.asarray(x, np.float64).ravel()
    signs = np.random.default_rng(7).choice([-1.0, 1.0], (3, x.size))
    return [float(x.mean()), float(np.abs(x).max()), *(signs @ x / np.sqrt(x.size)).tolist()]


def network(name: str) -> dict[str, list[float]]:
    fields = dict(NETWORKS[name])
    reading = fields.pop("reading", "paper")
    model, variables = tiny_network(reading, **fields)
    episode = draw_episode(size=33, shots=2)

    def run(variables, episode):
        prediction = model.apply(variables, episode)
        terms = losses.episode_losses(prediction, episode, tiny_config(reading, **fields))
        return prediction.logits, prediction.confidence, jnp.stack([terms.main, terms.auxiliary, terms.reconstruction])

    logits, confidence, terms = jax.jit(run)(variables, episode)
    return {"logits": fingerprint(logits), "confidence": fingerprint(confidence), "losses": fingerprint(terms)}


def raw_episodes() -> RawEpisodes:
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (2, 2, 48, 48, 3), np.uint8)
    labels = np.zeros((2, 2, 48, 48), np.uint8)
    labels[..., 10:30, 8:28] = 1
    labels[..., 30:32, 8:28] = 255
    sizes = np.array([[[48, 40], [36, 48]], [[48, 48], [30, 44]]], np.int32)
    return RawEpisodes(images, labels, sizes)


def transforms() -> dict[str, list[float]]:
    raw = raw_episodes()
    trained = jax.jit(augment, static_argnums=2)(jax.random.key(5), raw, augmentation(tiny_config()))
    tested = jax.jit(evaluation_transform, static_argnums=1)(raw, 33)
    squares = raw.images[:, 0, :40, :40]
    jittered = jax.jit(jitter, static_argnums=2)(jax.random.key(6), squares, 32)
    rows = {"jitter": fingerprint(jittered)}
    for name, episode in {"augment": trained, "evaluation": tested}.items():
        rows |= {f"{name}_{part}": fingerprint(getattr(episode, part)) for part in ("query_image", "support_labels")}
    return rows


def metrics() -> dict[str, list[float]]:
    random = np.random.default_rng(4)
    logits = jnp.asarray(random.standard_normal((6, 9, 9, 2)), jnp.float32)
    labels = jnp.asarray(random.choice([0, 1, 255], (6, 24, 24)))
    predicted = predicted_foreground(logits, jnp.array([24, 20, 16, 24, 9, 12]), 24)
    counts = count_pixels(predicted, labels)
    class_ids, queries = np.array([1, 2, 3, 1, 2, 3]), list("abcdef")
    scores = score(np.asarray(counts.intersection), np.asarray(counts.union), class_ids, queries)
    above = np.cumsum(random.integers(0, 50, (6, 2, 11)), axis=-1)[..., ::-1]
    threshold, *pixels = best_threshold(above, class_ids)
    cut = score(*pixels, class_ids, queries)
    return {
        "score": [scores.miou, scores.fb_iou, *scores.interval95],
        "best_threshold": [threshold, cut.miou, *cut.interval95],
    }


def compute(part: str) -> dict[str, list[float]]:
    return {"transforms": transforms, "metrics": metrics}.get(part, lambda: network(part))()


PARTS = (*NETWORKS, "transforms", "metrics")


def moved(before: list[float], now: list[float]) -> float:
    """Largest change, relative to the magnitude of the output."""
    scale = max(1.0, *map(abs, before))
    return max(abs(a - b) for a, b in zip(before, now, strict=True)) / scale


@pytest.mark.parametrize("part", PARTS)
def test_numbers_are_those_of_this_numerics(part):
    table = json.loads(TABLE.read_text())
    assert table["numerics"] == NUMERICS, "NUMERICS was raised: store its outputs with python -m tests.test_numerics"
    now = compute(part)
    assert now.keys() == table[part].keys()
    changes = {name: moved(table[part][name], now[name]) for name in now}
    wrong = {name: change for name, change in changes.items() if not change <= TOLERANCE}
    assert not wrong, f"raise NUMERICS in mmnet_jax/workdir/provenance.py: {part} gives other numbers ({wrong})"


def test_a_changed_element_moves_the_fingerprint():
    x = np.zeros((4, 5, 5))
    y = x.copy()
    y[2, 3, 3] = 1e-3
    assert moved(fingerprint(x), fingerprint(y)) > TOLERANCE


if __name__ == "__main__":
    TABLE.write_text(json.dumps({"numerics": NUMERICS} | {part: compute(part) for part in PARTS}, indent=1) + "\n")
