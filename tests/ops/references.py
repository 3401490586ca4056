"""The definitions of the operations written out plainly in NumPy float64, every P x P matrix held."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def propagate(query, support, values, mask):
    """One image: [P, N], [s, N], [s, V], [s] -> ([P, V], [P])."""
    query, support, values, mask = (np.asarray(x, np.float64) for x in (query, support, values, mask))
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(support, axis=1)[None]
    e = query @ support.T / (lengths + 1e-7) * mask[None]
    e = np.where(e == 0, -np.inf, e)
    weights = np.exp(e)  # of cosines, at most e; 0 where a position takes no part
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0, total, 1) @ values, sigmoid(e).sum(axis=1)


def confidence(query, supports, masks):
    """One image: [P, C], [K, s, C], [K, s] -> [P]."""
    maps = []
    for support, mask in zip(supports, masks, strict=True):
        q, s = np.asarray(query, np.float64), np.asarray(support, np.float64) * np.asarray(mask, np.float64)[:, None]
        c = (q @ s.T / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(s, axis=1)[None] + 1e-7)).max(1)
        if (np.asarray(mask) > 0).any():
            maps.append((c - c.min()) / (c.max() - c.min() + 1e-7))
    return np.mean(maps, axis=0) if maps else np.zeros(len(query))


def reconstruction(logits, probabilities):
    """One image: [P, N], [P, N] -> scalar."""
    agreement = np.asarray(probabilities, np.float64) @ np.asarray(logits, np.float64).T
    top = agreement.max(0)
    partition = top + np.log(np.exp(agreement - top).sum(0))
    return np.mean(partition - np.diag(agreement))
