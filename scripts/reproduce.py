"""Run the missing trainings of one of the paper's tables and write the table beside the paper's numbers.

python scripts/reproduce.py --table=3 --dry_run
python scripts/reproduce.py --table=1|2|3|4|5|6|7|A|B|photographs [--rows=a,b --folds=0,1 --seeds=321,322]
    [--runs=runs --data_dir=data --weights=weights --launcher=none|local|slurm --parallel=N --output=results/table3]
"""

from __future__ import annotations

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.reproduction.reproducing import define_flags, main

if __name__ == "__main__":
    define_flags()
    command.run(lambda: main(flags.FLAGS))
