"""The heads of MM-Net's variants and of PFENet in float64 NumPy, position by position: slow, plain, and independent."""

from __future__ import annotations

import numpy as np

from tests.ops import references
from tests.ops.references import sigmoid


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def nodes_of(x):
    """[h, w, ...] to [h * w, ...]."""
    return x.reshape(-1, *x.shape[2:])


def confidence(query, supports, masks):
    return references.confidence(nodes_of(query), *([nodes_of(x) for x in xs] for xs in (supports, masks))).reshape(
        query.shape[:2]
    )


def propagate(query, support, mask):
    """v_q and p_q at every query position."""
    carried, quality = references.propagate(*map(nodes_of, (query, support, support, mask)))
    return carried.reshape(query.shape), quality.reshape(query.shape[:2])


def reconstruction(logits):
    """Of one image: [h, w, n], softmax on the activations."""
    return references.reconstruction(nodes_of(logits), softmax(sigmoid(nodes_of(logits)), 1))


def convolve(x, kernel, bias=0.0):
    """x [h, w, i], kernel [k, k, i, o], zeros around."""
    k = len(kernel)
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    h, w, _ = x.shape
    out = np.zeros((h, w, kernel.shape[3]))
    for i in range(k):
        for j in range(k):
            out += padded[i : i + h, j : j + w] @ kernel[i, j]
    return out + bias


def resize(x, size):
    """Align-corners bilinear, [h, w, c] to [size, size, c]."""
    for axis in (0, 1):
        n = x.shape[axis]
        at = np.linspace(0, n - 1, size)
        low = np.minimum(np.floor(at).astype(int), max(n - 2, 0))
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def pool(x, size):
    """Adaptive average pooling."""
    n = len(x)
    edges = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
    return np.array([[x[a:b, c:d].mean(axis=(0, 1)) for c, d in edges] for a, b in edges])


def max_pool(x):
    """3 x 3 maximum, stride 2, one pixel of padding."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    sides = [range(0, n, 2) for n in x.shape[:2]]
    return np.array([[padded[i : i + 3, j : j + 3].max(axis=(0, 1)) for j in sides[1]] for i in sides[0]])


def fem(params, inputs, grid, size):
    """Final logits at image size and each bin's own."""

    def classify(p, t):
        return convolve(np.maximum(convolve(t, p["hidden"]["kernel"]), 0), p["output"]["kernel"], p["output"]["bias"])

    def refine(p, t):
        first = np.maximum(convolve(t, p["first"]["kernel"]), 0)
        return np.maximum(convolve(first, p["second"]["kernel"]), 0) + t

    pyramid, auxiliary = [], []
    for i, x in enumerate(inputs):
        t = np.maximum(convolve(x, params[f"merge_{i}"]["kernel"]), 0)
        if i:
            both = np.concatenate([t, resize(pyramid[-1], len(t))], axis=-1)
            t = np.maximum(convolve(both, params[f"alpha_{i}"]["kernel"]), 0) + t
        t = refine(params[f"beta_{i}"], t)
        auxiliary.append(classify(params[f"classifier_{i}"], t))
        pyramid.append(resize(t, grid))
    u = np.maximum(convolve(np.concatenate(pyramid, axis=-1), params["merge"]["kernel"]), 0)
    return resize(classify(params["classifier"], refine(params["beta"], u)), size), auxiliary


def mmnet(params, features, config, level3, size, bins):
    """One episode, ``paper`` reading. ``features``: mid and high of the query, of the K shots, and their masks."""
    query_mid, query_high, support_mids, support_highs, masks = features
    model = config.model
    has_foreground = np.array([mask.any() for mask in masks])
    if not has_foreground.any():
        has_foreground[:] = True
    even = has_foreground / has_foreground.sum()
    branches = {
        "2+3": {"": slice(None)},
        "3": {"": slice(0, level3)},
        "2": {"": slice(level3, None)},
        "2,3": {"_level2": slice(level3, None), "_level3": slice(0, level3)},
    }[model.levels]
    if model.fem_input == "confidence":
        branches = {}
    with_memory = model.nodes == "memory"
    act = sigmoid if with_memory else lambda x: x
    fused, weights, query_logits, support_logits, projections = [], [], [], [], []
    for name, channels in branches.items():
        kernel = params[f"projection{name}"]["kernel"]
        project = lambda mid, k=kernel, c=channels: np.maximum(convolve(mid[..., c], k), 0)  # noqa: E731
        projected = [project(mid) for mid in (query_mid, *support_mids)]
        nodes = [x @ params[f"memory{name}"].T if with_memory else x for x in projected]
        projections.append(projected)
        query_logits.append(nodes[0])
        support_logits.append(nodes[1:])
    for nodes, supports in zip(query_logits, support_logits, strict=True):
        maps, quality = [], []
        for support, mask in zip(supports, masks, strict=True):
            carried, p = propagate(act(nodes), act(support), mask)
            if model.propagation == "global":
                carried = (act(support) * mask[..., None]).sum(axis=(0, 1)) / max(mask.sum(), 1e-30)
            maps.append(act(nodes) * carried)
            quality.append(p)
        if config.quality.module == "mean":
            quality = [np.zeros_like(p) for p in quality]
        elif config.quality.module == "attention":
            quality = [np.full_like(p, score) for p, score in zip(quality, attention(params, projections), strict=True)]
        quality = np.where(has_foreground[:, None, None], np.stack(quality), -np.inf)
        share = softmax(quality, 0)
        weights.append(share)
        fused.append(sum(m * s[..., None] for m, s in zip(maps, share, strict=True)))
    cmap = confidence(query_high, support_highs, masks)
    grid = len(cmap)
    seen = (fused if model.fem_input != "confidence" else []) + (
        [cmap[..., None]] if model.fem_input != "activations" else []
    )
    decoded = np.concatenate(seen, axis=-1)
    logits, auxiliary = fem(params["fem"], [resize(decoded, b) for b in bins], grid, size)
    losses = {
        "support": sum(np.mean([reconstruction(s) for s in branch]) for branch in support_logits),
        "query": sum(reconstruction(q) for q in query_logits),
        "none": 0.0,
    }
    losses["both"] = losses["support"] + losses["query"]
    return {
        "logits": logits,
        "auxiliary": auxiliary,
        "confidence": cmap,
        "fused": np.concatenate(fused, axis=-1) if fused else np.zeros((grid, grid, 0)),
        "weights": np.mean(weights, axis=0) if weights else np.tile(even[:, None, None], (grid, grid)),
        "reconstruction": losses[config.loss.reconstruction_on],
    }


def attention(params, projections):
    """One number a shot, from the projected features of query and shot side by side."""
    queries = np.concatenate([projected[0] for projected in projections], axis=-1)
    scores = []
    for k in range(1, len(projections[0])):
        supports = np.concatenate([projected[k] for projected in projections], axis=-1)
        pair = np.concatenate([queries, supports], axis=-1)
        hidden = max_pool(np.maximum(convolve(pair, params["attention_hidden"]["kernel"]), 0))
        scores.append(convolve(hidden, params["attention_score"]["kernel"]).mean())
    return scores


def pfenet(params, features, size, bins):
    """One episode."""
    query_mid, query_high, support_mids, support_highs, masks = features
    query = np.maximum(convolve(query_mid, params["projection"]["kernel"]), 0)
    prototypes = []
    for mid, mask in zip(support_mids, masks, strict=True):
        support = np.maximum(convolve(mid, params["support_projection"]["kernel"]), 0)
        if mask.any():
            prototypes.append((support * mask[..., None]).sum(axis=(0, 1)) / (mask.sum() + 0.0005))
    prototype = np.mean(prototypes, axis=0) if prototypes else np.zeros(query.shape[-1])
    cmap = confidence(query_high, support_highs, masks)
    inputs = [
        np.concatenate(
            [pool(query, b), np.broadcast_to(prototype, (b, b, len(prototype))), resize(cmap[..., None], b)], -1
        )
        for b in bins
    ]
    logits, auxiliary = fem(params["fem"], inputs, len(cmap), size)
    return {"logits": logits, "auxiliary": auxiliary, "confidence": cmap}
