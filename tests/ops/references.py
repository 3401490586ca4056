"""Reference implementations of the operations for one image, in float64 NumPy with whole P x P matrices."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def error(x, exact):
    """Root mean square of the difference, in standard deviations of the exact values."""
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64) - exact))) / np.std(exact))


def nodes(x):
    """[h, w, ...] to [h * w, ...], float64."""
    x = np.asarray(x, np.float64)
    return x.reshape(-1, *x.shape[2:])


def propagate(query, support, values, mask):
    """[h, w, N], [i, j, N], [i, j, V], [i, j] -> ([h, w, V], [h, w])."""
    grid = np.shape(query)[:2]
    query, support, values, mask = map(nodes, (query, support, values, mask))
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(support, axis=1)[None]
    e = query @ support.T / (lengths + 1e-7) * mask[None]
    e = np.where(e == 0, -np.inf, e)
    weights = np.exp(e)  # of cosines, at most e; 0 where a position takes no part
    total = weights.sum(axis=1, keepdims=True)
    carried = weights / np.where(total > 0, total, 1) @ values
    return carried.reshape(*grid, -1), sigmoid(e).sum(axis=1).reshape(grid)


def confidence(query, supports, masks):
    """[h, w, C], [K, i, j, C], [K, i, j] -> [h, w]."""
    grid, maps = np.shape(query)[:2], []
    q = nodes(query)
    for support, mask in zip(supports, map(nodes, masks), strict=True):
        s = nodes(support) * mask[:, None]
        c = (q @ s.T / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(s, axis=1)[None] + 1e-7)).max(1)
        if (mask > 0).any():
            maps.append((c - c.min()) / (c.max() - c.min() + 1e-7))
    return np.mean(maps, axis=0).reshape(grid) if maps else np.zeros(grid)


def reconstruction(logits, probabilities):
    """[h, w, N], [h, w, N] -> scalar."""
    agreement = nodes(probabilities) @ nodes(logits).T
    top = agreement.max(0)
    partition = top + np.log(np.exp(agreement - top).sum(0))
    return np.mean(partition - np.diag(agreement))
