"""Checkpoints of a training by Orbax: the newest few and the best few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from mmnet_jax import __version__
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming
from mmnet_jax.training.state import TrainState

MIOU = "miou"


class Checkpoints:
    """Saves in the background; a checkpoint is there wholly or not at all.

    Each has two items, ``model`` (what evaluation needs) and ``training`` (the optimiser's state), so that reading a
    model does not read the momentum.
    """

    def __init__(self, path: Path, config: ConfigDict, read_only: bool = False) -> None:
        if read_only and not path.is_dir():
            raise UserError(f"workdir {path.parent} holds no checkpoint.")
        self.path = path
        managers = ocp.checkpoint_managers
        keep = managers.AnyPreservationPolicy(
            [
                managers.LatestN(config.training.keep_latest),
                managers.BestN(
                    get_metric_fn=lambda metrics: metrics[MIOU],
                    n=config.training.keep_best,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        with naming(path):
            self._manager = ocp.CheckpointManager(
                path,
                item_names=("model", "training"),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=keep,
                    best_fn=lambda metrics: metrics[MIOU],
                    create=not read_only,
                    cleanup_tmp_directories=not read_only,
                    read_only=read_only,
                ),
            )

    def save(self, state: TrainState, miou: float | None = None) -> None:
        """Starts to write a checkpoint of ``state``.

        Args:
          state: copied first, since the next training step takes its buffers.
          miou: what evaluation gave at this step, if it was asked.

        Raises:
          OSError: the disk did not take this checkpoint, or the one before; those that are there stay whole.
        """
        state = jax.tree.map(jnp.copy, state)
        with naming(self.path):
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave({"params": state.params, "batch_stats": state.batch_stats}),
                    training=ocp.args.StandardSave({"optimizer": state.optimizer, "step": state.step}),
                ),
                metrics=None if miou is None else {MIOU: miou},
            )

    def save_model(self, step: int, model: dict[str, Any]) -> None:
        """Writes a checkpoint that no training can go on from: parameters and moving statistics alone.

        Raises:
          OSError: the disk did not take it.
        """
        with naming(self.path):
            self._manager.save(step, args=ocp.args.Composite(model=ocp.args.StandardSave(model)))

    def latest(self) -> int | None:
        """The newest step, if there is any."""
        return self._manager.latest_step()

    def find(self, checkpoint: str | int) -> int:
        """The step that ``best``, ``latest`` or a number means.

        ``best`` is the newest where no checkpoint has been evaluated yet.
        """
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(f"workdir {self.path.parent} holds no checkpoint.")
        if checkpoint == "latest":
            return steps[-1]
        if checkpoint == "best":
            best = self._manager.best_step()
            return steps[-1] if best is None else best
        try:
            step = int(checkpoint)
        except ValueError:
            raise UserError(f"a checkpoint is best, latest or a step, but is {checkpoint!r}.") from None
        if step not in steps:
            there = ", ".join(map(str, steps))
            raise UserError(f"workdir {self.path.parent} has no checkpoint of step {step}; it has {there}.")
        return step

    def restore_model(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Parameters and moving statistics at ``step``, shaped as ``like``."""
        self._refuse_misfit(step, like)
        return self._restore(step, model=ocp.args.StandardRestore(_on_one_device(like)))["model"]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The training state at ``step``, placed and shaped as ``like``."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        self._refuse_misfit(step, {"params": abstract.params, "batch_stats": abstract.batch_stats})
        restored = self._restore(
            step,
            model=ocp.args.StandardRestore({"params": abstract.params, "batch_stats": abstract.batch_stats}),
            training=ocp.args.StandardRestore({"optimizer": abstract.optimizer, "step": abstract.step}),
        )
        model, training = restored["model"], restored["training"]
        return TrainState(training["step"], model["params"], training["optimizer"], model["batch_stats"])

    def _refuse_misfit(self, step: int, model: dict[str, Any]) -> None:
        """Raises a ``UserError`` that names a tensor which ``model`` has not so; what is damaged, restoring tells."""
        try:
            with ocp.StandardCheckpointer() as reader:
                there = _shapes(reader.metadata(self.path / str(step) / "model").item_metadata.tree)
        except (ValueError, OSError, KeyError, AttributeError, TypeError):
            return
        here = _shapes(model)
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                raise UserError(
                    f"checkpoint {self.path / str(step)} does not fit the network of mmnet_jax {__version__}, this "
                    f"version: {name} is {there.get(name, 'not')} there, {here.get(name, 'not')} here."
                )

    def _restore(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"checkpoint {self.path / str(step)} cannot be read: {reason}") from error

    def wait(self) -> None:
        """Returns once everything is on the disk, or raises as ``save`` does."""
        with naming(self.path):
            self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        with naming(self.path):
            self._manager.close()  # which waits


def holds_checkpoint(path: Path) -> bool:
    """Whether there is a whole checkpoint in the folder."""
    return path.is_dir() and any(entry.name.isdigit() for entry in path.iterdir())


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _on_one_device(tree: Any) -> Any:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
