"""One checkpoint under several protocols, side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.storage.files import write_whole

FITS = {"pad": "padded", "squash": "squashed"}
"""``Protocol.fit`` in words."""


def protocols_json(summaries: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> dict[str, Any]:
    """The numbers of several results of one checkpoint, and why other protocols were not scored.

    ``summaries`` hold ``result.json`` of each protocol, at least one, in the table's order; ``refused`` has the
    sentences by protocol. ``range`` is the largest mIoU minus the smallest, in points.
    """
    first = summaries[0]
    shared = (
        "dataset",
        "split",
        "coco_masks",
        "folds",
        "fold",
        "shots",
        "step",
        "parameters_sha256",
        "image_size",
        "notes",
    )
    own = ("protocol", "scoring", "episodes", "seeds", "miou", "interval95", "fb_iou", "class_iou", "by_seed")
    rows = []
    for summary in summaries:
        row = {name: summary[name] for name in own if name in summary}
        baselines = {name: of["miou"] for name, of in summary["baselines"].items()}
        rows.append(row | {"fit": PROTOCOLS[summary["protocol"].partition(",")[0]].fit, "baselines": baselines})
    mious = [summary["miou"] for summary in summaries]
    return {
        **{name: first[name] for name in shared if name in first},
        "rows": rows,
        "range": max(mious) - min(mious),
        "refused": dict(refused),
    }


def protocols_markdown(table: Mapping[str, Any]) -> str:
    """``protocols_json`` as a table, with how much the protocol alone moves the mIoU below it."""
    baselines = list(dict.fromkeys(name for row in table["rows"] for name in row["baselines"]))
    heads = ["protocol", "image", "scored at", "episodes", "mIoU [95% interval]", "FB-IoU"]
    heads += [f"{name} mIoU" for name in baselines]
    lines = [heads, ["---"] * len(heads)]
    for row in table["rows"]:
        low, high = row["interval95"]
        times = f"{len(row['seeds'])} x " if len(row["seeds"]) > 1 else ""
        cells = [row["protocol"], FITS[row["fit"]], row["scoring"]]
        cells += [f"{times}{row['episodes']:,}", f"{row['miou']:.2f} [{low:.2f}, {high:.2f}]"]
        cells += [f"{row['fb_iou']:.2f}"]
        cells += [f"{row['baselines'][name]:.2f}" if name in row["baselines"] else "" for name in baselines]
        lines.append(cells)
    text = ["| " + " | ".join(cells) + " |" for cells in lines]
    if len(table["rows"]) > 1:
        low, high = (by(table["rows"], key=lambda row: row["miou"])["protocol"] for by in (min, max))
        text += ["", f"The protocol alone moves the mIoU by {table['range']:.2f} points, from {low} to {high}."]
    text += ["", *(f"Note: {note}." for note in table["notes"])] if "notes" in table else []
    text += ["", *(f"Not scored: {sentence}" for sentence in table["refused"].values())] if table["refused"] else []
    return "\n".join(text) + "\n"


def write_protocols(path: Path, table: Mapping[str, Any]) -> list[Path]:
    """Writes the table as JSON to ``path``, and as Markdown to the file of its name that ends in ``.md``."""
    markdown = path.with_name(f"{path.name.removesuffix('.json')}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(markdown, protocols_markdown(table).encode())
    write_whole(path, (json.dumps(table, indent=2, allow_nan=False) + "\n").encode())
    return [path, markdown]
