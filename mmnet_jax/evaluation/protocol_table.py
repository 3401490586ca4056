"""A table of one checkpoint's results under several protocols."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmnet_jax.evaluation.markdown import markdown_table, with_interval
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.storage.files import write_atomically, write_json

IMAGE_RULES = {"pad": "padded", "squash": "squashed"}
"""``Protocol.fit`` -> text of the column ``image``."""
SHARED: tuple[str, ...] = ("dataset", "split", "coco_masks", "folds", "fold", "shots", "step", "parameters_sha256")
SHARED += ("image_size", "notes")
"""Fields of a result that are the same under every protocol."""
OWN = ("protocol", "scoring", "episodes", "seeds", "miou", "interval95", "fb_iou", "class_iou", "by_seed")
"""Fields of a result that differ between protocols."""


def protocols_json(summaries: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> dict[str, Any]:
    """The results of one checkpoint under several protocols, as JSON.

    Args:
      summaries: the content of ``result.json`` of each protocol, in the table's order.
      refused: protocol -> sentence that says why it was not scored.

    Returns fields shared by all results, ``rows``, ``range`` (largest minus smallest mIoU, in points) and ``refused``.
    """
    rows = []
    for summary in summaries:
        row = {name: summary[name] for name in OWN if name in summary}
        row["fit"] = PROTOCOLS[summary["protocol"].partition(",")[0]].fit
        row["baselines"] = {name: scores["miou"] for name, scores in summary["baselines"].items()}
        rows.append(row)
    mious = [row["miou"] for row in rows]
    shared = {name: summaries[0][name] for name in SHARED if name in summaries[0]}
    return {**shared, "rows": rows, "range": max(mious) - min(mious), "refused": dict(refused)}


def protocols_markdown(table: Mapping[str, Any]) -> str:
    """The Markdown table of ``protocols_json``, followed by the range of mIoU over protocols."""
    rows = table["rows"]
    baselines = list(dict.fromkeys(name for row in rows for name in row["baselines"]))
    head = ["protocol", "image", "scored at", "episodes", "mIoU [95% interval]", "FB-IoU"]
    body = []
    for row in rows:
        seeds = f"{len(row['seeds'])} x " if len(row["seeds"]) > 1 else ""
        cells = [row["protocol"], IMAGE_RULES[row["fit"]], row["scoring"], f"{seeds}{row['episodes']:,}"]
        cells += [with_interval(row["miou"], row["interval95"], ".2f"), f"{row['fb_iou']:.2f}"]
        cells += [f"{row['baselines'][name]:.2f}" if name in row["baselines"] else "" for name in baselines]
        body.append(cells)
    lines = markdown_table(head + [f"{name} mIoU" for name in baselines], body)
    if len(rows) > 1:
        lowest, *_, highest = (row["protocol"] for row in sorted(rows, key=lambda row: row["miou"]))
        lines += [
            "",
            f"The protocol alone changes the mIoU by {table['range']:.2f} points, from {lowest} to {highest}.",
        ]
    if notes := table.get("notes"):
        lines += ["", *(f"Note: {note}." for note in notes)]
    if refused := table["refused"]:
        lines += ["", *(f"Not scored: {sentence}" for sentence in refused.values())]
    return "\n".join(lines) + "\n"


def write_protocols(path: Path, table: Mapping[str, Any]) -> list[Path]:
    """Writes the table as JSON to ``path``, and as Markdown beside it with the ending ``.md``."""
    markdown = path.with_name(f"{path.name.removesuffix('.json')}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(markdown, protocols_markdown(table).encode())
    write_json(path, table)
    return [path, markdown]
