"""Strict porting: a table of patterns renames tensors, and none may be unexpected or missing."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmnet_jax.errors import UserError, first_of

CONVOLUTION = (2, 3, 1, 0)  # PyTorch's O x I x h x w to h x w x I x O
DENSE = (1, 0)  # PyTorch's O x I to I x O
MAX_NAMES = 10  # listed for one kind of error


class Rule(NamedTuple):
    """One row of a table: source name (a regular expression) -> target path, axes permuted."""

    pattern: str
    target: str
    axes: tuple[int, ...] | None = None


def port(
    source: Mapping[str, np.ndarray],
    rules: Sequence[Rule],
    targets: Mapping[str, tuple[int, ...]],
    ignored: Sequence[str] = (),
    what: str = "the weights",
) -> dict[str, np.ndarray]:
    """Renames and transposes every tensor of ``source`` by the first rule that matches its whole name.

    ``targets`` holds the shape of every target by path, ``ignored`` patterns of names to leave out. Returns every
    target's tensor, float32.

    Raises:
      UserError: listing all unexpected names, missing targets, targets filled twice and wrong shapes.
    """
    ported: dict[str, np.ndarray] = {}
    filled_by: dict[str, str] = {}
    unexpected, twice, shapes = [], [], []
    for name, tensor in source.items():
        if any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        target, axes = _find(name, rules)
        if target not in targets:
            unexpected.append(name)
        elif target in filled_by:
            twice.append(f"{target} by {filled_by[target]} and {name}")
        else:
            filled_by[target] = name
            fits = axes is None or tensor.ndim == len(axes)
            array = tensor.transpose(axes) if axes and fits else tensor
            if fits and array.shape == tuple(targets[target]):
                ported[target] = np.ascontiguousarray(array, np.float32)
            else:
                shapes.append(f"{name} is {_sides(tensor.shape)}, not {_sides(_before(targets[target], axes))}")
    missing = [_with_name(target, rules) for target in targets if target not in filled_by]
    kinds = {"unexpected": unexpected, "missing": missing, "filled twice": twice, "wrong shape": shapes}
    errors = [f"{kind}: {first_of(names, MAX_NAMES)}" for kind, names in kinds.items() if names]
    if errors:
        raise UserError(f"{what}: {'; '.join(errors)}.")
    return ported


def _find(name: str, rules: Sequence[Rule]) -> tuple[str, tuple[int, ...] | None]:
    """Target and axes by the first rule that matches ``name``; an empty target if none does."""
    for rule in rules:
        if match := re.fullmatch(rule.pattern, name):
            return match.expand(rule.target), rule.axes
    return "", None


def _with_name(target: str, rules: Sequence[Rule]) -> str:
    """``target`` with its source name in brackets, if a rule's target has all groups of its pattern in order."""
    for rule in rules:
        match = re.fullmatch(re.sub(r"\\\\\d", "(.+)", re.escape(rule.target)), target)
        if match and re.compile(rule.pattern).groups == len(match.groups()):
            name = rule.pattern
            for value in match.groups():
                name = re.sub(r"\((?!\?).*?\)", value, name, count=1)
            name = re.sub(r"\(\?:(.*?)\)", lambda either: either[1].replace("|", " or "), name).replace("\\", "")
            return target if name == target else f"{target} ({name})"
    return target


def _before(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape that ``axes`` permutes to ``shape``."""
    return tuple(shape if axes is None else (size for _, size in sorted(zip(axes, shape, strict=True))))


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
