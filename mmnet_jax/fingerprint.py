"""Whether two versions of this package compute the same numbers: a hash of the code that numbers come out of."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

ROOT = Path(__file__).parent

NUMERICAL = ("episode.py", "losses.py", "ops", "models", "data", "features", "training", "evaluation")
"""Files and folders of the package."""

WITHOUT_NUMBERS = frozenset(
    {
        *(f"data/{name}.py" for name in ("imagenet", "pascal", "prepare", "workers")),
        "features/table.py",
        *(f"training/{name}.py" for name in ("checkpoints", "clock", "curve", "distributed", "finite", "interrupts")),
        "training/log.py",
        *(f"evaluation/{name}.py" for name in ("activations", "example", "pictures", "progress", "reporting")),
        "evaluation/results.py",
    }
)
"""Of those, what reads, writes, draws or tells."""

REGISTRY = "models/backbones/__init__.py"
"""Holds every backbone's depths."""

PRETRAINING = frozenset({"data/crops.py", "data/jitter.py", "data/labelled.py", "models/classifier.py"}) | {
    f"training/{name}.py" for name in ("classification", "pretraining")
}
"""Of those, what only a training that begins with its backbone's uses."""


FEATURES = frozenset(
    {
        *(f"data/{name}.py" for name in ("dataset", "fitting", "geometry", "images", "raw", "records")),
        *("episode.py", "features/computing.py", "models/network.py", "ops/resize.py"),
    }
)
"""What frozen features come out of, besides the backbone."""


def features_fingerprint(backbone: str) -> str:
    """A hash, 16 hexadecimal digits, of the code that an image's frozen features come out of.

    Args:
      backbone: a name in ``BACKBONES``.
    """
    names = (path.relative_to(ROOT).as_posix() for path in _numerical_files())
    return _digest([name for name in names if name in FEATURES or name.startswith("models/backbones/")], backbone)


def code_fingerprint(config: ConfigDict) -> str:
    """A hash, 16 hexadecimal digits, of the code that a training and its evaluation run through.

    Comments, docstrings and layout do not change it, nor do other backbones than the configured one.

    Args:
      config: resolved.
    """
    pretrains = config.pretraining.dataset != "none" and not config.model.weights
    return _fingerprint(config.model.backbone, config.data.dataset, pretrains, config.training.cache_features)


@cache
def _fingerprint(backbone: str, dataset: str, pretrains: bool, from_store: bool) -> str:
    names = []
    for path in _numerical_files():
        name = path.relative_to(ROOT).as_posix()
        if name in PRETRAINING and not pretrains:
            continue
        if name.startswith("features/") and not from_store:
            continue
        if name.startswith("data/creatures/") and dataset != "creatures":
            continue
        names.append(name)
    return _digest(names, backbone)


def _digest(names: Sequence[str], backbone: str) -> str:
    """Of files by their names; of the backbones' files those of the given one alone."""
    from mmnet_jax.models.backbones import create_backbone

    digest = hashlib.sha256()
    used = {base.__module__.rpartition(".")[2] for base in type(create_backbone(backbone)).__mro__}
    for name in sorted(names):
        path = ROOT / name
        if name.startswith("models/backbones/") and path.stem not in used | {"convolution", "__init__"}:
            continue
        tree = ast.parse(path.read_text())
        if name == REGISTRY:
            tree.body = _with_one_entry(tree.body, backbone)
        digest.update(f"{name}\n{_skeleton(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _with_one_entry(statements: list[ast.stmt], backbone: str) -> list[ast.stmt]:
    """A registry's statements without imports and names exported, and of all backbones with the given one alone."""
    kept: list[ast.stmt] = []
    for statement in statements:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            for key, value in zip(statement.value.keys, statement.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == backbone:
                    kept.append(ast.Expr(value))
        elif not isinstance(statement, ast.Import | ast.ImportFrom | ast.Assign):
            kept.append(statement)
    return kept


def _numerical_files() -> Iterator[Path]:
    for name in NUMERICAL:
        path = ROOT / name
        for file in [path] if path.is_file() else path.rglob("*.py"):
            if file.relative_to(ROOT).as_posix() not in WITHOUT_NUMBERS:
                yield file


def _skeleton(node: Any) -> Any:
    """A syntax tree as nested tuples, the same in all versions of Python, without docstrings and attribute notes."""
    if isinstance(node, list):
        return [_skeleton(child) for child in node if not _is_note(child)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, _skeleton(value)) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return type(node).__name__, fields


def _is_note(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
