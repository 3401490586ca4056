"""The HTML report of a result, in one file: scores, classes, training curves, episodes, config and provenance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from mmnet_jax.config import FIELDS, get_config, get_field, resolve
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.images import support_tile
from mmnet_jax.drawing.web import Markup, element, inline_image, line_chart, table
from mmnet_jax.evaluation.markdown import with_interval
from mmnet_jax.evaluation.report import remarks, report
from mmnet_jax.evaluation.result import Result
from mmnet_jax.evaluation.sheet import MAX_SUPPORTS, query_tiles

EPISODES_PER_RANK, TILE = 3, 200
"""Number of best, median and worst episodes; longer side of an image in pixels, half of it for several supports."""
SCORES = ("miou", "fb_iou", "class_iou", "class_interval95", "interval95", "by_seed", "baselines", "left_out", "notes")
"""Fields of a result that the page shows above; the section on provenance has the others."""
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #5d6675; --line: #d9dee6; --track: #eef1f5;
  --accent: #2f6fc4; --untrained: #b0722c; --confidence: #8a4bb0; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --ink: #e4e8ef; --soft: #9aa4b3; --line: #333a46;
  --track: #222833; --accent: #5f9ae6; --untrained: #e0a45f; --confidence: #c08ae0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } p { margin: .3rem 0; } .soft, figcaption { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; } thead { color: var(--soft); font-size: .85rem; }
th { text-align: left; font-weight: 500; } th, td { padding: .2rem 1rem .2rem 0; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); } td { font-variant-numeric: tabular-nums; }
.hashes td { overflow-wrap: anywhere; } .numbers td { white-space: nowrap; }
.bars { width: 100%; } .bars td:nth-child(2) { width: 75%; min-width: 7rem; }
.bars td:last-child { white-space: nowrap; padding-right: 0; }
.bar { position: relative; height: 1.2rem; margin-top: .15rem; background: var(--track); }
.bar span { position: absolute; top: 0; bottom: 0; } .value { background: var(--accent); opacity: .55; }
.bar .interval { top: 35%; bottom: 35%; border: solid var(--ink); border-width: 0 2px;
  background: linear-gradient(var(--ink), var(--ink)) center / 100% 2px no-repeat; }
.mark { width: 3px; } .untrained { background: var(--untrained); } .confidence { background: var(--confidence); }
.key { display: inline-block; width: 3px; height: 1em; margin: 0 .3rem 0 1rem; vertical-align: text-bottom; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
svg { width: 100%; font-size: 11px; } text { fill: var(--soft); } .caption { fill: var(--ink); font-size: 12px; }
.middle { text-anchor: middle; } .right { text-anchor: end; }
.grid { stroke: var(--line); } circle { fill: var(--accent); }
polyline { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-linejoin: round; }
figure { margin: 0 0 1rem; } figure, .tiles { display: flex; flex-wrap: wrap; gap: 6px; } figcaption { width: 100%; }
.tiles img { max-width: 100%; height: auto; align-self: flex-start; } summary { cursor: pointer; }
@media (max-width: 40rem) { .tiles { display: contents; } .tiles img { max-width: calc(50% - 3px); } }
"""


def html_report(
    summary: dict[str, Any],
    result: Result,
    dataset: Dataset,
    read_mask: Callable[[int], Bool[np.ndarray, "h w"]],
    *,
    curves: Sequence[tuple[str, Sequence[tuple[float, float]]]] = (),
    config: ConfigDict | None = None,
) -> str:
    """A page that needs no other file, no network connection and no script.

    Args:
      summary: the content of ``result.json``.
      read_mask: returns the predicted mask of an episode, by its number.
      curves: title and (step, value) of each training curve.
      config: the training's, resolved.
    """
    name = summary.get("name") or summary["network"] or "masks"
    title = f"{name}: mIoU {summary['miou']:.2f}"
    parts = [
        element("h1", title),
        element("p", report(summary).splitlines()[0], class_="soft"),
        *(element("p", remark) for remark in remarks(summary)),
        element("h2", "Scores"),
        _scores(name, summary),
        element("h2", "Classes"),
        *_classes(summary),
    ]
    if curves:
        charts = (line_chart(*curve) for curve in curves)
        parts += [element("h2", "Training"), element("div", *charts, class_="charts")]
    parts += [element("h2", "Episodes"), *_episodes(result, dataset, read_mask)]
    if config is not None:
        parts += [element("h2", "Config"), *_config(config)]
    origin = [(name, _text(value)) for name, value in summary.items() if name not in SCORES and value is not None]
    parts += [element("h2", "Provenance"), table(("", ""), origin, class_="hashes")]
    head = element("meta", charset="utf-8"), element("title", title), element("style", Markup(STYLE))
    narrow = element("meta", name="viewport", content="width=device-width, initial-scale=1")
    page = element("html", element("head", *head, narrow), element("body", element("main", *parts)), lang="en")
    return f"<!doctype html>\n{page}\n"


def pick_episodes(result: Result) -> dict[str, list[int]]:
    """At most ``EPISODES_PER_RANK`` episodes each of the highest, median and lowest IoU, all of different query images.

    Episodes without foreground in label and prediction have no IoU and are skipped.
    """
    intersection, union = result.intersection[:, 1], result.union[:, 1]
    order = np.argsort(intersection / np.maximum(union, 1), kind="stable")
    order = order[union[order] > 0]
    middle = np.argsort(abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")
    taken: set[str] = set()
    picked: dict[str, list[int]] = {}
    for rank, numbers in {"Best": order[::-1], "Worst": order, "Median": order[middle]}.items():
        of_rank = picked[rank] = []
        for number in numbers.tolist():
            if len(of_rank) < EPISODES_PER_RANK and (query := result.manifest.episodes[number].query) not in taken:
                of_rank.append(number)
                taken.add(query)
    return {rank: picked[rank] for rank in ("Best", "Median", "Worst")}


def _scores(name: str, summary: dict[str, Any]) -> Markup:
    rows = []
    for method, scores in {name: summary, **summary["baselines"]}.items():
        threshold = f" at threshold {scores['threshold']:.2f}" if "threshold" in scores else ""
        numbers = with_interval(scores["miou"], scores["interval95"], ".2f"), f"{scores['fb_iou']:.2f}"
        rows.append((f"{method}{threshold}", *numbers))
    return table(("", "mIoU, % [95% interval]", "FB-IoU, %"), rows, class_="numbers")


def _classes(summary: dict[str, Any]) -> list[Markup]:
    """A bar for each class, the highest IoU first, with its interval and a mark for each baseline."""
    rows, baselines = [], summary["baselines"]
    for name, value in sorted(summary["class_iou"].items(), key=lambda item: -item[1]):
        low, high = interval = summary["class_interval95"][name]
        spans = {"value": f"width:{value:.2f}%", "interval": f"left:{low:.2f}%;width:{high - low:.2f}%"}
        for baseline, scores in baselines.items():
            if name in scores["class_iou"]:
                spans[f"mark {baseline}"] = f"left:calc({scores['class_iou'][name]:.2f}% - 1px)"
        bar = element("div", *(element("span", class_=kind, style=at) for kind, at in spans.items()), class_="bar")
        rows.append((name, bar, with_interval(value, interval)))
    keys = [part for name in baselines for part in (element("span", class_=f"key {name}"), name)]
    key = element("p", "IoU from 0 to 100% with its 95% interval over query images", *keys, class_="soft")
    return [table(("class", "IoU", ""), rows, class_="bars"), key]


def _episodes(result: Result, dataset: Dataset, read_mask: Callable[[int], Any]) -> list[Markup]:
    specs, shown = result.manifest.specs(dataset), min(result.manifest.shots, MAX_SUPPORTS)
    side = TILE if shown == 1 else TILE // 2
    legend = "Supports, the class in yellow; query; ground truth in green, ignored pixels in white; prediction in red."
    parts = [element("p", legend, class_="soft")]
    for rank, numbers in pick_episodes(result).items():
        parts.append(element("h3", rank))
        for number in numbers:
            spec, episode = specs[number], result.manifest.episodes[number]
            shots = [dataset.test.read(position, spec.class_id) for position in spec.supports[:shown]]
            supports = [support_tile(image, label == 1, side) for image, label in shots]
            query = query_tiles(*dataset.test.read(spec.query, spec.class_id), read_mask(number), TILE)
            groups = (
                (supports, [f"support {image}" for image in episode.supports]),
                (query, (f"query {episode.query}", "ground truth", "prediction")),
            )
            rows = (element("div", *map(inline_image, *group), class_="tiles") for group in groups)
            iou = 100 * result.intersection[number, 1] / result.union[number, 1]
            caption = f"{episode.class_name}, IoU {iou:.1f}, episode {number:,}, query {episode.query}"
            parts.append(element("figure", *rows, element("figcaption", caption)))
    return parts


def _config(config: ConfigDict) -> list[Markup]:
    """The fields that differ from the defaults of the same reading, and a collapsed table of all fields."""
    default = resolve(get_config(config.reading))
    rows = [(name, *(_text(get_field(c, name)) for c in (config, default)), FIELDS[name].help) for name in FIELDS]
    head = ("field", "value", "default", "")
    return [
        element("p", f"Reading {config.reading}; fields that differ from its defaults:", class_="soft"),
        table(head, [row for row in rows if row[1] != row[2]]),
        element("details", element("summary", f"All {len(rows)} fields"), table(head, rows)),
    ]


def _text(value: Any) -> str:
    """A value of JSON or of a config on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
