"""A result in words."""

from __future__ import annotations

from typing import Any


def report(summary: dict[str, Any]) -> str:
    """A few lines from what ``result.json`` holds: mIoU with its 95% interval, each class, and the baselines.

    Args:
      summary: from ``result_json`` or a file that it went to.
    """
    (seed,) = summary["seeds"]
    lines = [
        f"{summary['dataset']} fold {summary['fold']}, {summary['shots']}-shot, protocol {summary['protocol']}, "
        f"{summary['episodes']:,} episodes, seed {seed}",
        f"mIoU {_with_interval(summary)}   FB-IoU {summary['fb_iou']:.2f}",
        "  ".join(f"{name} {iou:.1f}" for name, iou in summary["class_iou"].items()),
    ]
    if summary["left_out"]:
        lines.append(f"without episodes, so not in the mean: {', '.join(summary['left_out'])}")
    for name, baseline in summary["baselines"].items():
        cut = f" cut at {baseline['threshold']:.2f}" if "threshold" in baseline else ""
        lines.append(f"baseline {name}{cut}: mIoU {_with_interval(baseline)}")
    return "\n".join(lines)


def _with_interval(scores: dict[str, Any]) -> str:
    low, high = scores["interval95"]
    return f"{scores['miou']:.2f} [{low:.2f}, {high:.2f}]"
