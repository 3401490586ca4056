"""Checkpoints of a training, by Orbax; the latest and the best are kept."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from mmnet_jax import __version__
from mmnet_jax.errors import UserError, first_line
from mmnet_jax.storage.files import naming

if TYPE_CHECKING:
    from mmnet_jax.training.state import TrainState


class Checkpoints:
    """Checkpoints of two items: ``model``, which evaluation needs, and ``training``, with the optimiser's state."""

    def __init__(self, path: Path, config: ConfigDict, read_only: bool = False) -> None:
        if read_only and not path.is_dir():
            raise UserError(f"workdir {path.parent} holds no checkpoint.")
        self.path = path
        managers, miou = ocp.checkpoint_managers, operator.itemgetter("miou")
        latest, best = config.training.keep_latest, config.training.keep_best
        highest = managers.BestN(get_metric_fn=miou, n=best, keep_checkpoints_without_metrics=False)
        policy, writes = managers.AnyPreservationPolicy([managers.LatestN(latest), highest]), not read_only
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, best_fn=miou, create=writes, cleanup_tmp_directories=writes, read_only=read_only
        )
        with naming(path):
            self._manager = ocp.CheckpointManager(path, item_names=("model", "training"), options=options)

    def save(self, state: TrainState, miou: float | None = None) -> None:
        """Starts to write a checkpoint in the background, of a copy: the next step donates the buffers of ``state``."""
        self._save(int(state.step), _items(jax.tree.map(jnp.copy, state)), None if miou is None else {"miou": miou})

    def save_model(self, step: int, model: dict[str, Any]) -> None:
        """Writes a checkpoint of parameters and running statistics alone, which no training can resume."""
        self._save(step, {"model": model}, None)

    def _save(self, step: int, items: dict[str, Any], metrics: dict[str, float] | None) -> None:
        saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        with naming(self.path):
            self._manager.save(step, args=ocp.args.Composite(**saved), metrics=metrics)

    def latest(self) -> int | None:
        """The latest step, or None."""
        return self._manager.latest_step()

    def find(self, checkpoint: str | int) -> int:
        """The step of ``latest``, ``best`` (the latest if none has been evaluated) or a number."""
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
        """Parameters and running statistics at ``step``, with the shapes of ``like``, on one device."""
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
        return self._restore(step, {"model": jax.tree.map(place, like)})["model"]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The training state at ``step``, with the shapes and shardings of ``like``."""
        restored = self._restore(step, _items(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)))
        return type(like)(**restored["model"], **restored["training"])

    def _restore(self, step: int, items: dict[str, Any]) -> Any:
        self._check_shapes(step, items["model"])
        wanted = {name: ocp.args.StandardRestore(tree) for name, tree in items.items()}
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**wanted))
        except (ValueError, OSError, KeyError) as error:
            raise UserError(f"checkpoint {self.path / str(step)} cannot be read: {first_line(error)}.") from error

    def _check_shapes(self, step: int, model: dict[str, Any]) -> None:
        """Raises a ``UserError`` that names a tensor of another shape; a failed restore would print tracebacks too."""
        try:
            with ocp.StandardCheckpointer() as reader:
                there = _shapes(reader.metadata(self.path / str(step) / "model").item_metadata.tree)
        except (ValueError, OSError, KeyError, AttributeError, TypeError):
            return  # restoring reports the damage
        here = _shapes(model)
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                raise UserError(
                    f"checkpoint {self.path / str(step)} does not fit the network of mmnet_jax {__version__}, this "
                    f"version: {name} is {there.get(name, 'not')} there, {here.get(name, 'not')} here."
                )

    def wait(self) -> None:
        """Returns when everything is on disk, or raises as ``save`` does."""
        with naming(self.path):
            self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        with naming(self.path):
            self._manager.close()  # which waits


def holds_checkpoint(path: Path) -> bool:
    """Whether the folder holds a checkpoint."""
    return path.is_dir() and any(entry.name.isdigit() for entry in path.iterdir())


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _items(state: TrainState) -> dict[str, Any]:
    model = {"params": state.params, "batch_stats": state.batch_stats}
    return {"model": model, "training": {"optimizer": state.optimizer, "step": state.step}}
