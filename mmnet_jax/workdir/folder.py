"""A workdir: the folder of one trained network, self-contained, so that it can be moved.

``config.json``, ``backbone.safetensors`` (the frozen weights), ``checkpoints/``, ``log/`` (metrics as JSON lines and
TensorBoard events), ``results/``, and ``pretraining/`` where the backbone was trained here.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mmnet_jax import __version__, weights
from mmnet_jax.config import FREE_FIELDS, differences, from_dict, resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.errors import UserError
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from mmnet_jax.storage.files import write_atomically, write_json
from mmnet_jax.storage.lock import locked
from mmnet_jax.workdir.checkpoints import Checkpoints, holds_checkpoint
from mmnet_jax.workdir.provenance import CODE, Code, read_code

FORMAT = 1  # format version of a workdir; raised when the package can no longer read earlier workdirs

PORTED = "ported"  # key of ``config.json`` for the origin of a ported checkpoint


class Workdir:
    """The files of one training, by name."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.config_file = self.path / "config.json"
        self.backbone_file = self.path / "backbone.safetensors"
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log"
        self.results = self.path / "results"
        self.pretraining = self.path / "pretraining"

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other trainings out; see ``storage.lock.locked``."""
        return locked(self.path)

    def resumes(self, config: ConfigDict) -> bool:
        """Whether there is a training to resume; raises a ``UserError`` if it has another config or other weights."""
        checkpoints = holds_checkpoint(self.checkpoints) or holds_checkpoint(self.pretraining)
        if not checkpoints and not self.config_file.exists():
            return False
        before = self.load_config()
        if PORTED in self._read():
            lacking = "which has no optimiser state and cannot be resumed"
            raise UserError(f"workdir {self.path} holds a ported checkpoint, {lacking}; choose a new one.")
        if not checkpoints and not (pretrains(before) and self.backbone_file.exists()):
            return False
        changes = [line for line in differences(before, config) if not line.startswith(FREE_FIELDS)]
        if changes:
            listed = "; ".join(changes)
            raise UserError(f"the workdir holds a training with another config ({listed}); choose a new one.")
        given, own = config.model.weights, self.backbone_file
        if given and Path(given).is_file() and not (own.is_file() and weights.sha256(given) == weights.sha256(own)):
            other = f"other weights than model.weights = {given}"
            raise UserError(f"the workdir holds a training with {other}; choose a new one.")
        return True

    def create(self, config: ConfigDict, data_sha256: Mapping[str, str] | None = None) -> None:
        """Writes the resolved config and a copy of the backbone's weights, unless pretraining will write those."""
        model = config.model
        if not pretrains(config):  # first, so that bad weights leave no folder
            variables = weights.backbone_variables(model.backbone, model.weights, model.random_backbone)
        self.path.mkdir(parents=True, exist_ok=True)
        self.config_file.unlink(missing_ok=True)  # until the new backbone is written, the folder is not a workdir
        if pretrains(config):
            self.backbone_file.unlink(missing_ok=True)
        elif model.weights:
            write_atomically(self.backbone_file, Path(model.weights).read_bytes())
        else:
            weights.save_backbone(self.backbone_file, model.backbone, variables)
        self._write(config, **({"data_sha256": dict(data_sha256)} if data_sha256 else {}))

    def create_ported(self, config: ConfigDict, variables: dict[str, Any], step: int, origin: dict[str, Any]) -> None:
        """Creates the workdir of a ported network, with one checkpoint that cannot be resumed."""
        self.path.mkdir(parents=True)
        own = {name: variables[name].get("backbone", {}) for name in ("backbone", "batch_stats")}
        weights.save_backbone(self.backbone_file, config.model.backbone, own)
        moving = variables["batch_stats"] if config.model.batch_norm == "batch" else {}
        with Checkpoints(self.checkpoints, config) as checkpoints:
            checkpoints.save_model(step, {"params": variables["params"], "batch_stats": moving})
        self._write(config, **{PORTED: origin})

    def load_config(self) -> ConfigDict:
        """The resolved config of the workdir; raises a ``UserError`` if it cannot be read."""
        text = self._read()
        try:
            config, version, format = text["config"], text["version"], text.get("format", FORMAT)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.config_file} is not a config of this package: {error}.") from error
        other = f"workdir {self.path} was written by mmnet_jax {version} and cannot be read by {__version__}, this one"
        if format != FORMAT:
            raise UserError(f"{other}: its format is {format}, not {FORMAT}.")
        try:
            return resolve(from_dict(config))
        except UserError as error:
            raise UserError(f"{other}: {error}") from error

    def code(self) -> Code | None:
        """The code that started the training, or None if the workdir has no record of it."""
        return read_code(self._read())

    def data_sha256(self) -> dict[str, str] | None:
        """Fingerprints of the splits at the start of the training, or None if there is no record of them."""
        return self._read().get("data_sha256")

    def _read(self) -> Any:
        if not self.config_file.is_file():
            raise UserError(f"{self.path} is not a workdir: it has no config.json.")
        try:
            return json.loads(self.config_file.read_text())
        except ValueError as error:
            raise UserError(f"{self.config_file} is not a config of this package: {error}.") from error

    def _write(self, config: ConfigDict, **more: Any) -> None:
        text = {"format": FORMAT, **CODE._asdict(), "config": json.loads(config.to_json_best_effort()), **more}
        write_json(self.config_file, text)

    def frozen(self, model: FewShotNetwork, config: ConfigDict) -> dict[str, Any]:
        """The backbone's collections for ``model``, from the workdir's copy of its weights."""
        return frozen_variables(model, weights.load_backbone(self.backbone_file, config.model.backbone))


def pretrains(config: ConfigDict) -> bool:
    """Whether a training starts with pretraining its backbone."""
    return config.pretraining.dataset != "none" and not config.model.weights


def load_step(workdir: str | Path, checkpoint: str | int) -> tuple[FewShotNetwork, dict[str, Any], ConfigDict, int]:
    """``mmnet_jax.load_model``, with the step of the checkpoint in addition."""
    place = Workdir(workdir)
    config = place.load_config()
    with Checkpoints(place.checkpoints, config, read_only=True) as checkpoints:
        step = checkpoints.find(checkpoint)
        model = build_model(network_settings(config))
        variables = place.frozen(model, config)
        params = jax.eval_shape(lambda: init_head(model, 0))
        moving = variables["batch_stats"] if config.model.batch_norm == "batch" else {}
        saved = checkpoints.restore_model(step, {"params": params, "batch_stats": moving})
    return model, variables | (saved if moving else {"params": saved["params"]}), config, step
