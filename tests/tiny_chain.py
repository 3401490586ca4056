"""The train command with everything small, to be killed: data, backbone, head and evaluation in seconds.

``python -m tests.tiny_chain --workdir=DIR --config.data.data_dir=DIR [--stop_at=LINE]``: with ``--stop_at`` it waits to
be killed after the first line it says that starts with LINE.
"""

import sys
import time
from pathlib import Path


def main() -> None:
    from mmnet_jax import train
    from mmnet_jax.cli.command import run
    from mmnet_jax.data.datasets import DATASETS
    from mmnet_jax.data.datasets.creatures.builder import creatures

    DATASETS["few_creatures"] = creatures("few_creatures", train=60, val=40)
    stop_at = [a.removeprefix("--stop_at=") for a in sys.argv if a.startswith("--stop_at=")]
    sys.argv[1:] = [a for a in sys.argv[1:] if not a.startswith("--stop_at=")]
    sys.argv[1:1] = [f"--config={Path(__file__).with_name('tiny_chain_config.py')}"]

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith(tuple(stop_at)):
            time.sleep(600)

    train._say = say
    train.define_flags()
    run(train.main)


if __name__ == "__main__":  # not in the processes that draw the data
    main()
