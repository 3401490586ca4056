"""Where each run stands: done, begun or not begun, and in which folder.

What a folder holds counts where its configuration, its backbone's weights, its data (where they are there, and it tells
which it had) and the code that made it are those of now. Where they are not, nothing of it is touched: the run gets the
next free folder, ``seed321.1`` beside ``seed321``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config import FREE_FIELDS, differences, from_dict
from mmnet_jax.data.dataset import BUILDERS, configured_variant, dataset_folder, is_prepared, open_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.features.store import fingerprints
from mmnet_jax.reproduction.runs import Run
from mmnet_jax.storage.lock import in_use
from mmnet_jax.training.stages import RESULT
from mmnet_jax.weights import sha256
from mmnet_jax.workdir.checkpoints import holds_checkpoint
from mmnet_jax.workdir.folder import Workdir, pretrains
from mmnet_jax.workdir.provenance import code_fingerprint

Kind = Literal["done", "running", "begun", "new"]


class State(NamedTuple):
    """Of one run."""

    kind: Kind
    workdir: Path
    step: int = 0
    """Of its newest checkpoint."""
    passed_over: tuple[str, ...] = ()
    """Folders that hold something else, each with what is different there."""


class Planned(NamedTuple):
    """A run and where it stands."""

    run: Run
    state: State


def find_states(runs: Sequence[Run], any_code: bool = False) -> list[Planned]:
    """Where each run stands now.

    Args:
      runs: to look for.
      any_code: take what other versions of the code made, too.
    """
    return [Planned(run, find_state(run, any_code)) for run in runs]


def find_state(run: Run, any_code: bool = False) -> State:
    """``find_states`` of one run."""
    passed_over: list[str] = []
    for folder in _candidates(run.folder):
        workdir = Workdir(folder)
        try:
            found = _examine(workdir, run, any_code)
        except _Other as other:
            passed_over.append(f"{folder}: {other}")
            continue
        step = newest_step(workdir)
        return State("running" if in_use(folder) else found, folder, step, tuple(passed_over))
    raise AssertionError("candidates never end")


class _Other(Exception):
    """A folder holds something else than what a run would put there."""


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    number = 1
    while True:
        yield folder.with_name(f"{folder.name}.{number}")
        number += 1


def newest_step(workdir: Workdir) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    if not workdir.checkpoints.is_dir():
        return 0
    return max((int(path.name) for path in workdir.checkpoints.iterdir() if path.name.isdigit()), default=0)


def _examine(workdir: Workdir, run: Run, any_code: bool) -> Kind:
    """What a folder means for a run.

    Raises:
      _Other: it holds something else; what is different there.
    """
    begun = holds_checkpoint(workdir.checkpoints) or holds_checkpoint(workdir.pretraining)
    if not begun and not (pretrains(run.config) and workdir.backbone_file.is_file()):
        return "new"
    try:
        before = workdir.load_config()
    except UserError as error:
        raise _Other(str(error).rstrip(".")) from error
    changes = [line for line in differences(before, run.config) if not line.startswith(FREE_FIELDS)]
    if changes:
        raise _Other(f"another config ({'; '.join(changes)})")
    code = code_fingerprint(run.config)
    if not any_code and workdir.code() != code:
        raise _Other("begun by other code")
    if _of_other_data(workdir.data_sha256(), run.config):
        raise _Other("begun with other data")
    weights = run.config.model.weights
    if weights and Path(weights).is_file() and _sha256(workdir.backbone_file) != _sha256(Path(weights)):
        raise _Other(f"other weights than {weights}")
    result = _result(workdir)
    if result is None or not _is_asked_for(result, run):
        return "begun"
    if not any_code and result.get("code") != code:
        raise _Other("evaluated by other code")
    if _of_other_data(result.get("data_sha256"), run.config):
        raise _Other("evaluated on other data")
    return "done"


def _of_other_data(before: dict[str, str] | None, config: ConfigDict) -> bool:
    """Whether the prepared dataset is another than it was; unknown is no."""
    data = config.data
    if before is None or data.dataset not in BUILDERS:
        return False
    if not is_prepared(dataset_folder(data.dataset, data.data_dir, configured_variant(config))):
        return False
    try:
        return before != _fingerprints(data.dataset, data.data_dir, data.split, data.generator_seed)
    except UserError:  # damaged, which the training will tell
        return False


@cache
def _fingerprints(dataset: str, data_dir: str, split: str, generator_seed: int) -> dict[str, str]:
    fields = {"dataset": dataset, "data_dir": data_dir, "split": split, "generator_seed": generator_seed}
    return fingerprints(open_dataset(from_dict({"data": fields})))


def _result(workdir: Workdir) -> dict[str, Any] | None:
    """The summary that ended the training, if it and the table of episodes are there."""
    result, _, episodes, _ = result_files(workdir.results / RESULT)
    return _read(result) or None if episodes.is_file() else None


def _is_asked_for(result: dict[str, Any], run: Run) -> bool:
    evaluation = run.config.evaluation
    wanted = evaluation.episodes or PROTOCOLS[evaluation.protocol].episodes[run.config.data.dataset]
    return (result.get("protocol"), result.get("episodes")) == (evaluation.protocol, wanted)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    status = path.stat()
    return _sha256_once(path, status.st_mtime_ns, status.st_size)


@cache
def _sha256_once(path: Path, modified: int, size: int) -> str:
    return sha256(path)
