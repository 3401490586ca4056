"""Reference implementations of MM-Net's variants and of PFENet in float64 NumPy, from features to logits."""

import numpy as np

from tests.evaluation.reference import resize_align_corners
from tests.ops import references
from tests.ops.references import confidence, propagate, sigmoid


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def reconstruction(logits):
    """The reconstruction loss of one image's logits [h, w, n], with the softmax on activations."""
    return references.reconstruction(logits, softmax(sigmoid(logits), -1))


def convolve(x, kernel, bias=0.0):
    """x [h, w, i] and kernel [k, k, i, o], padded with zeros."""
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
    return np.stack([resize_align_corners(channel, size) for channel in np.moveaxis(x, -1, 0)], axis=-1)


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
    """Final logits at image size, and those of each bin."""

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
    """The ``paper`` reading on one episode; ``features``: mid and high of the query and of the K shots, and masks."""
    query_mid, query_high, support_mids, support_highs, masks = features
    model = config.model
    has_foreground = np.array([mask.any() for mask in masks])
    if not has_foreground.any():
        has_foreground[:] = True
    even = has_foreground / has_foreground.sum()
    level2, level3 = slice(level3, None), slice(0, level3)
    branches = {
        "2+3": {"": slice(None)},
        "3": {"": level3},
        "2": {"": level2},
        "2,3": {"_level2": level2, "_level3": level3},
    }[model.levels]
    if model.fem_input == "confidence":
        branches = {}
    with_memory = model.nodes == "memory"
    act = sigmoid if with_memory else lambda x: x
    mids = (query_mid, *support_mids)
    projections = [
        [np.maximum(convolve(mid[..., channels], params[f"projection{name}"]["kernel"]), 0) for mid in mids]
        for name, channels in branches.items()
    ]
    logits_of = [
        [x @ params[f"memory{name}"].T if with_memory else x for x in projected]
        for name, projected in zip(branches, projections, strict=True)
    ]
    fused, weights = [], []
    for query, *supports in logits_of:
        maps, quality = [], []
        for support, mask in zip(supports, masks, strict=True):
            carried, p = propagate(act(query), act(support), act(support), mask)
            if model.propagation == "global":
                carried = (act(support) * mask[..., None]).sum(axis=(0, 1)) / max(mask.sum(), 1e-30)
            maps.append(act(query) * carried)
            quality.append(p)
        if config.quality.module == "mean":
            quality = [np.zeros_like(p) for p in quality]
        elif config.quality.module == "attention":
            quality = [np.full_like(p, score) for p, score in zip(quality, attention(params, projections), strict=True)]
        weights.append(softmax(np.where(has_foreground[:, None, None], np.stack(quality), -np.inf), 0))
        fused.append(sum(m * w[..., None] for m, w in zip(maps, weights[-1], strict=True)))
    cmap = confidence(query_high, support_highs, masks)
    grid = len(cmap)
    seen = fused if model.fem_input != "confidence" else []
    seen = seen + ([cmap[..., None]] if model.fem_input != "activations" else [])
    decoded = np.concatenate(seen, axis=-1)
    logits, auxiliary = fem(params["fem"], [resize(decoded, b) for b in bins], grid, size)
    losses = {
        "support": sum(np.mean([reconstruction(support) for support in supports]) for _, *supports in logits_of),
        "query": sum(reconstruction(query) for query, *_ in logits_of),
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
    """One score for each shot, from the concatenated projected features of query and shot."""
    query, *supports = (np.concatenate(branches, axis=-1) for branches in zip(*projections, strict=True))
    scores = []
    for support in supports:
        pair = np.concatenate([query, support], axis=-1)
        hidden = max_pool(np.maximum(convolve(pair, params["attention_hidden"]["kernel"]), 0))
        scores.append(convolve(hidden, params["attention_score"]["kernel"]).mean())
    return scores


def pfenet(params, features, size, bins):
    """PFENet on one episode."""
    query_mid, query_high, support_mids, support_highs, masks = features
    query = np.maximum(convolve(query_mid, params["projection"]["kernel"]), 0)
    prototypes = []
    for mid, mask in zip(support_mids, masks, strict=True):
        support = np.maximum(convolve(mid, params["support_projection"]["kernel"]), 0)
        if mask.any():
            prototypes.append((support * mask[..., None]).sum(axis=(0, 1)) / (mask.sum() + 0.0005))
    prototype = np.mean(prototypes, axis=0) if prototypes else np.zeros(query.shape[-1])
    cmap = confidence(query_high, support_highs, masks)
    spread = lambda b: np.broadcast_to(prototype, (b, b, len(prototype)))  # noqa: E731
    inputs = [np.concatenate([pool(query, b), spread(b), resize(cmap[..., None], b)], axis=-1) for b in bins]
    logits, auxiliary = fem(params["fem"], inputs, len(cmap), size)
    return {"logits": logits, "auxiliary": auxiliary, "confidence": cmap}
