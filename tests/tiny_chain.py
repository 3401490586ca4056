"""The train command on a tiny generated dataset, for tests that kill it: all stages take seconds.

python -m tests.tiny_chain --workdir=DIR --config.data.data_dir=DIR
"""

import sys
from pathlib import Path


def main() -> None:
    from mmnet_jax import train
    from mmnet_jax.cli.command import run
    from mmnet_jax.data.datasets import DATASETS
    from mmnet_jax.data.datasets.creatures.builder import creatures

    DATASETS["few_creatures"] = creatures("few_creatures", train=60, val=40)
    sys.argv[1:1] = [f"--config={Path(__file__).with_name('tiny_chain_config.py')}"]
    train.define_flags()
    run(train.main)


if __name__ == "__main__":  # not in the processes that draw the data
    main()
