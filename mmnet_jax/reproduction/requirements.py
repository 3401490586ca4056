"""What runs need on the disk before they can start, and the commands that make it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mmnet_jax.data.dataset import (
    BUILDERS,
    GENERATED,
    configured_variant,
    dataset_folder,
    is_prepared,
    prepare_command,
)
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.runs import Run


def missing(runs: Sequence[Run]) -> list[str]:
    """One clause for each dataset and each backbone's file that is not there, with the command that makes it."""
    clauses = [clause for run in runs for clause in (missing_data(run.config), _missing_weights(run.config)) if clause]
    return list(dict.fromkeys(clauses))


def refuse_missing(runs: Sequence[Run]) -> None:
    """Raises a ``UserError`` that names all that is missing."""
    clauses = missing(runs)
    if clauses:
        raise UserError(f"{'; '.join(clauses)}.")


def missing_data(config: ConfigDict) -> str | None:
    """What there is to say of a dataset that is not prepared; a generated one is made when it is first used."""
    name, data_dir = config.data.dataset, config.data.data_dir
    if name in GENERATED:
        return None
    if name not in BUILDERS:
        return f"the dataset {name} cannot be prepared yet"
    variant = configured_variant(config)
    if is_prepared(dataset_folder(name, data_dir, variant)):
        return None
    return (
        f"--data_dir={data_dir} holds no {name} with --split={variant}, which is prepared with: "
        f"{prepare_command(name, data_dir, variant)}"
    )


def _missing_weights(config: ConfigDict) -> str | None:
    if not config.model.weights or Path(config.model.weights).is_file():
        return None
    backbone, file = config.model.backbone, shlex.quote(config.model.weights)
    return (
        f"--weights: {config.model.weights} is missing, which is made with: "
        f"python scripts/port_weights.py {backbone} --source=FILE --output={file}"
    )
