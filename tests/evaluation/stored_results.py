"""Hand-made results: the JSON and the table of episodes."""

import json

import numpy as np

from mmnet_jax.evaluation.stored import OWN, StoredEpisode, StoredResult

HEAD = "query,class,supports,area,intersection,union,iou"


def in_memory(hits, classes="aabb", queries=None, *, fold=1, area=50, **summary):
    """A result whose episode i (of query i by default) has ``hits[i]`` of 100 pixels of its union."""
    queries = range(len(hits)) if queries is None else queries
    named = zip(queries, classes, strict=True)
    episodes = tuple(StoredEpisode(f"q{q}", c, f"s{i}", area) for i, (q, c) in enumerate(named))
    number = len(hits) // len(summary.get("seeds", [0]))
    summary = {"dataset": "pascal5i", "fold": fold, "shots": 1, "protocol": "pfenet", "episodes": number} | summary
    return StoredResult(summary, episodes, {OWN: np.stack([hits, np.full(len(hits), 100)], axis=1)})


def write(path, hits, *given, baselines=None, **summary):
    """Writes ``in_memory`` to files; ``baselines`` maps each baseline to its hits."""
    result, baselines = in_memory(hits, *given, **summary), baselines or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.summary | {"baselines": {name: {} for name in baselines}}))
    more = [f"{name}_{count}" for name in baselines for count in ("intersection", "union")]
    rows = [",".join([HEAD, *more])]
    for i, (episode, hit) in enumerate(zip(result.episodes, hits, strict=True)):
        others = [f"{own[i]},100" for own in baselines.values()]
        rows.append(",".join([*map(str, episode), f"{hit},100,{hit}", *others]))
    path.with_name(path.name.removesuffix(".json") + ".episodes.csv").write_text("\n".join(rows) + "\n")
    return path
