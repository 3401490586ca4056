"""How the train command ends, whatever happens in a stage; the stages themselves are stood in for."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMMAND = """
import errno, os, sys, types

from mmnet_jax.cli.signals import Stopped

def train(config, workdir, say):
    say("[1/1] training")
    raise EVENT

sys.modules["mmnet_jax.training.stages"] = types.SimpleNamespace(train=train)
sys.modules["mmnet_jax.workdir.folder"] = types.SimpleNamespace(Workdir=str)

from mmnet_jax import train as command
from mmnet_jax.cli.command import run

command.define_flags()
run(command.main)
"""

ARGUMENTS = ["--config=configs/pascal_small.py", "--workdir=my run"]
GO_ON = f"to go on: python -m mmnet_jax.train {ARGUMENTS[0]} '--workdir=my run'\n"
GOES_ON = "; what was saved before is whole, and the same command goes on from there.\n"


@pytest.mark.parametrize(
    ("event", "status", "output", "error"),
    [
        ("Stopped('stopped at step 3.')", 130, "stopped at step 3.\n" + GO_ON, ""),
        ("KeyboardInterrupt", 130, "interrupted.\n" + GO_ON, ""),
        (
            "OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'run/log/metrics.jsonl')",
            2,
            "",
            "run/log/metrics.jsonl cannot be written or read: No space left on device" + GOES_ON,
        ),
        (
            "OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))",
            2,
            "",
            "my run cannot be written or read: Disk quota exceeded" + GOES_ON,
        ),
    ],
)
def test_a_stage_that_ends_early_is_told_with_the_way_to_go_on(event, status, output, error):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.replace("EVENT", event), *ARGUMENTS],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "[1/1] training\n" + output, error)


FINISHED = """
import sys, types
from pathlib import Path

from mmnet_jax.evaluation.checkpoint import Scored
from mmnet_jax.training import stages

scores = {"miou": 41.0, "interval95": [40.0, 42.0], "fb_iou": 60.0, "class_iou": {"bus": 41.0}}
summary = scores | {"dataset": "creatures", "fold": 0, "shots": 1, "protocol": "pfenet", "episodes": 9, "seeds": [3]}
summary |= {"left_out": [], "baselines": {"confidence": scores | {"threshold": 0.5}}}
files = [Path("my run/results").absolute() / name for name in ("result.json", "b", "c", "result.sheet.png")]
stages.train = lambda config, workdir, say: Scored(summary, files, fresh=True)

from mmnet_jax import train as command
from mmnet_jax.cli.command import run

command.define_flags()
run(command.main)
"""


def test_a_finished_one_sums_up_and_names_a_command_that_can_be_typed():
    done = subprocess.run(
        [sys.executable, "-c", FINISHED, *ARGUMENTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mIoU 41.00 [40.00, 42.00]" in done.stdout and "pictures: my run/results/result.sheet.png" in done.stdout
    last = done.stdout.splitlines()[-1]
    words = shlex.split(last[last.index("python -m") :])
    assert words[:4] == ["python", "-m", "mmnet_jax.predict", "--workdir=my run"]
    assert words[4:] == [
        "--support=my run/results/example/support.png",
        "--mask=my run/results/example/mask.png",
        "--query=my run/results/example/query.png",
        "--output=my run/results/found",
    ]
