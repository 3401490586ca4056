"""The train command with everything small, to be killed: data, backbone, head and evaluation in seconds.

``python -m tests.tiny_chain --workdir=DIR --config.data.data_dir=DIR [--stop_at=LINE]``: with ``--stop_at`` it waits to
be killed after the first line it says that starts with LINE.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from unittest import mock


def pretrain(config, workdir, output, say):
    """Stands in for the pretraining of a backbone that can be no classifier: four steps, each a checkpoint."""
    from mmnet_jax import weights
    from tests.tiny import tiny_backbone_variables

    for step in range(1, 5):
        (workdir / "pretraining" / str(step)).mkdir(parents=True, exist_ok=True)
        say(f"pretraining step {step}/4")
    weights.save_backbone(output, config.model.backbone, tiny_backbone_variables())


def small_parts():
    """The patches that make the parts small."""
    from mmnet_jax.data.creatures import builder
    from mmnet_jax.models import backbones
    from tests.tiny import TinyBackbone

    backbones.variable_shapes.cache_clear()
    return (
        mock.patch.dict(builder.PICTURES, {"train": 60, "val": 40}),
        mock.patch.dict(backbones.BACKBONES, {"resnet14_half": TinyBackbone}),
        mock.patch("mmnet_jax.training.pretraining.pretrain", pretrain),
    )


def main() -> None:
    from mmnet_jax import train
    from mmnet_jax.command import run

    stop_at = [a.removeprefix("--stop_at=") for a in sys.argv if a.startswith("--stop_at=")]
    sys.argv[1:] = [a for a in sys.argv[1:] if not a.startswith("--stop_at=")]
    sys.argv[1:1] = [f"--config={Path(__file__).with_name('tiny_chain_config.py')}"]
    for patch in small_parts():
        patch.start()

    def say(line: str, **_: object) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if line.startswith(tuple(stop_at)):
            time.sleep(600)

    train.print = say  # type: ignore[attr-defined]
    train.define_flags()
    run(train.main)


if __name__ == "__main__":  # not in the processes that draw the data
    main()
