"""Lengths of time in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Such as 1h02m or 2m03s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
