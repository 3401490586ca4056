"""Which workdir a run gets, and whether its result is there.

A workdir counts for a run when its config, backbone weights, data and code (``NUMERICS``) are the run's. Any other one
is left as it is, and the run gets the next free folder: ``seed321.1`` beside ``seed321``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config.values import DatasetChoice, dataset_choice
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import default_episodes
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.reproduction.runs import Run
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import CODE, read_code


class Status(NamedTuple):
    """Where a run stands."""

    kind: Literal["done", "begun", "new"]
    workdir: Path
    left_alone: tuple[str, ...] = ()
    """Folders that hold something else, each with what differs."""

    @property
    def log(self) -> Path:
        """Log of the run's processes: beside the workdir, because a workdir may be made anew."""
        return self.workdir.with_name(f"{self.workdir.name}.log")


def find_status(run: Run, any_code: bool = False) -> Status:
    """Status of a run now; ``any_code`` also accepts what other versions of the code made."""
    left_alone: list[str] = []
    for number in itertools.count():
        workdir = Workdir(run.folder.with_name(f"{run.folder.name}.{number}") if number else run.folder)
        try:
            if not workdir.resumes(run.config):
                return Status("new", workdir.path, tuple(left_alone))
            result = _read_result(workdir)
            _refuse_other_origin(workdir, result, run.config, any_code)
        except UserError as error:
            left_alone.append(f"{workdir.path}: {error}")
            continue
        return Status("done" if _is_asked_for(result, run.config) else "begun", workdir.path, tuple(left_alone))
    raise AssertionError("itertools.count does not end")


def refuse_missing(configs: Iterable[ConfigDict]) -> None:
    """Raises a ``UserError`` that names all datasets and weights files that are missing, with commands to make them."""
    missing = []
    for config in configs:
        data, weights = _data_sha256(dataset_choice(config)), config.model.weights
        if isinstance(data, str) and not DATASETS[config.data.dataset].generated:
            missing.append(data.rstrip("."))
        if weights and not Path(weights).is_file():
            command = f"python scripts/port_weights.py {config.model.backbone} --source=FILE --output={weights}"
            missing.append(f"--weights: {weights} is missing; make it with: {command}")
    if missing:
        raise UserError(f"{'; '.join(dict.fromkeys(missing))}.")


def _read_result(workdir: Workdir) -> dict[str, Any]:
    """The result that ended the training; empty unless it and its table of episodes are there."""
    path, _, episodes, _ = result_files(workdir.results / RESULT)
    try:
        return json.loads(path.read_text()) if episodes.is_file() else {}
    except (OSError, ValueError):
        return {}


def _refuse_other_origin(workdir: Workdir, result: dict[str, Any], config: ConfigDict, any_code: bool) -> None:
    """Raises a ``UserError`` if other code or other data made the workdir or its result; unknown data pass."""
    data = _data_sha256(dataset_choice(config))
    made = [("begun", workdir.code(), workdir.data_sha256())]
    if result:
        made.append(("evaluated", read_code(result), result.get("data_sha256")))
    for verb, code, its_data in made:
        if not any_code and not CODE.computes_like(code):
            raise UserError(f"{verb} by other code")
        if its_data and isinstance(data, dict) and its_data != data:
            raise UserError(f"{verb} with other data")


def _is_asked_for(result: dict[str, Any], config: ConfigDict) -> bool:
    protocol = config.evaluation.protocol
    episodes = config.evaluation.episodes or default_episodes(DATASETS[config.data.dataset], protocol)
    return (result.get("protocol"), result.get("episodes")) == (protocol, episodes)


@cache
def _data_sha256(choice: DatasetChoice) -> dict[str, str] | str:
    """SHA-256 of the prepared dataset's splits, or the sentence that says why it cannot be opened."""
    try:
        return open_dataset(*choice).fingerprints()
    except UserError as error:
        return str(error)
