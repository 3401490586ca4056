"""A resolved config as the values that functions take: one function for each small dataclass."""

from __future__ import annotations
