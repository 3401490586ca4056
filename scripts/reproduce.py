"""Runs the missing trainings of one of the paper's tables and writes the table beside the paper's numbers.

python scripts/reproduce.py --table=3 --dry_run
python scripts/reproduce.py --table=1|2|3|4|5|6|7|A|B|photographs [--rows=a,b --folds=0,1 --seeds=3]
    [--runs=runs --data_dir=data --weights=weights --launcher=none|local|slurm --parallel=N --output=results/table3]
"""

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.reproduction.tables import TABLES

flags.DEFINE_enum("table", None, list(TABLES), "The table.")
flags.DEFINE_list("rows", [], "Rows of the table. (default: all)")
flags.DEFINE_list("folds", [], "Folds, 0..3. (default: all of the table)")
flags.DEFINE_list("seeds", ["321"], "Number of training seeds, starting from 321, or two or more seeds.")
flags.DEFINE_string("runs", "runs", "Folder of the workdirs.")
flags.DEFINE_string("data_dir", "data", "Folder of the prepared datasets.")
flags.DEFINE_string("weights", "weights", "Folder of BACKBONE.safetensors files, or one such file.")
flags.DEFINE_multi_string("set", [], "FIELD=VALUE: change a config field in all runs.")
flags.DEFINE_enum("launcher", "none", ["none", "local", "slurm"], "One run at a time, several here, or Slurm jobs.")
flags.DEFINE_integer("parallel", None, "Runs at a time. (default of local: one per GPU)", lower_bound=1)
flags.DEFINE_multi_string("slurm_options", [], "NAME=VALUE for submitit, such as partition=gpu.")
flags.DEFINE_bool("dry_run", False, "List the rows with the paper's numbers, and the status of each run.")
flags.DEFINE_bool("any_code", False, "Also accept runs of other versions of the code.")
flags.DEFINE_string("output", None, "The table's files, without .md and .json. (default: RUNS/table_NAME)")
flags.DEFINE_bool("list", False, "Print all recipes with their numbers of trained parameters and exit.")
define_cache_flag()


def main() -> None:
    from mmnet_jax.reproduction import runner  # imports jax, after the flags are checked

    runner.main(flags.FLAGS)


if __name__ == "__main__":
    command.run(main)
