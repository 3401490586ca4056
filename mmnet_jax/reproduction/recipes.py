"""How a table's runs are made, in numbers and in words: backbone, size, length, batch, and what is done to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

WORDS: dict[str, Callable[[Any], str]] = {
    "backbone": str,
    "image_size": lambda value: f"{value} px",
    "channels": lambda value: f"{value} channels",
    "length": str,
    "batch_size": lambda value: f"batch {value}",
    "augment": lambda value: "augmented images" if value else "no augmentation",
    "cache_features": lambda value: "cached frozen features" if value else "frozen features computed anew",
}
"""What is told of a run, and how."""

UNSAID: dict[str, Any] = {"channels": 256, "cache_features": False}
"""Values that are not told where every row has them."""


def recipe(config: ConfigDict) -> dict[str, Any]:
    """Of one resolved configuration, a value for each of ``WORDS``."""
    training = config.training
    return {
        "backbone": config.model.backbone,
        "image_size": config.data.image_size,
        "channels": config.model.channels,
        "length": f"{training.epochs} epochs" if training.steps is None else f"{training.steps:,} steps",
        "batch_size": training.batch_size,
        "augment": config.data.augment,
        "cache_features": config.training.cache_features,
    }


def in_words(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """The recipes of rows, by name, as one phrase: what most rows have, and in brackets the others."""
    phrases = []
    for field, words in WORDS.items():
        by_value: dict[Any, list[str]] = {}
        for row, values in recipes.items():
            by_value.setdefault(values[field], []).append(row)
        (usual, _), *others = sorted(by_value.items(), key=lambda item: -len(item[1]))
        if not others and UNSAID.get(field) == usual:
            continue
        exceptions = "; ".join(f"{', '.join(rows)}: {words(value)}" for value, rows in others)
        phrases.append(words(usual) + (f" ({exceptions})" if exceptions else ""))
    return ", ".join(phrases)
