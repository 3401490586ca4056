"""The benchmark: tasks in turns, failed tasks, the table and the figure."""

import importlib.util
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.benchmark import peer, report, turns
from mmnet_jax.benchmark.tasks import Cell, MatrixProduct, Task, reset_resident_peak, resident_peak
from mmnet_jax.benchmark.turns import measure
from mmnet_jax.errors import UserError
from tests.cli.call import call

ROOT = Path(__file__).parents[1]


@pytest.fixture
def threads(monkeypatch):
    """Threads instead of processes, which would import jax again."""
    monkeypatch.setattr(turns, "start_worker", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the script sets some for its processes


class Job:
    """Appends its name to ``order`` in each run; run number ``fails`` raises."""

    order: list[str] = []  # noqa: RUF012

    def __init__(self, name, seconds=0.0, fails=None):
        self.name, self.seconds, self.fails, self.runs = name, seconds, fails, 0

    def open(self):
        return Task(self.run, {"precision": "float32"}, lambda: 7)

    def run(self):
        self.runs += 1
        Job.order.append(self.name)
        if self.runs == self.fails:
            raise RuntimeError("RESOURCE_EXHAUSTED: no memory\nfor 16 GB")
        time.sleep(self.seconds)


def test_tasks_run_in_turns_after_an_untimed_run_and_are_timed_apart(threads):
    Job.order.clear()
    quick, nap = measure([Job("quick").open, Job("nap", 0.05).open], 2)
    assert Job.order == 3 * ["quick", "nap"]
    assert [len(record["seconds"]) for record in (quick, nap)] == [2, 2]
    assert 0.05 <= min(nap["seconds"]) < 1
    assert (quick["precision"], quick["peak_bytes"]) == ("float32", 7)


@pytest.mark.parametrize("fails", [1, 3])
def test_a_failed_task_is_reported_and_the_others_continue(threads, fails):
    failed, other = measure([Job("large", fails=fails).open, Job("small").open], 4)
    assert failed["error"] == "RuntimeError: RESOURCE_EXHAUSTED: no memory"
    assert len(other["seconds"]) == 4 and "error" not in other


class Dies(Job):
    def run(self):
        os._exit(3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of fork beside jax's threads
def test_a_killed_process_is_reported(monkeypatch):
    forked = partial(ProcessPoolExecutor, 1, multiprocessing.get_context("fork"))
    monkeypatch.setattr(turns, "start_worker", forked)
    (failed,) = measure([Dies("one").open], 1)
    assert failed["error"] == "its process was killed, probably because memory ran out"


def benchmark(*arguments):
    """The script in this process, with a backbone of a few channels."""
    spec = importlib.util.spec_from_file_location("benchmark_script", ROOT / "scripts/benchmark.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return call(script.define_flags, script.main, "--backbone=tiny", *arguments)


@pytest.fixture
def instant(threads, monkeypatch):
    """Tasks that do nothing."""
    facts = {"flop": 1.0, "compile_s": 1.0} | FLOAT
    for kind in (MatrixProduct, Cell):
        monkeypatch.setattr(kind, "open", lambda self: Task(lambda: None, facts, lambda: 2))


def test_the_grid_is_written_as_json_markdown_and_figure(instant, tmp_path):
    output = tmp_path / "speed.json"
    done = benchmark("--image_size=33,65", "--task=query,step", "--batch_size=1,3", f"--output={output}")
    assert (done.returncode, done.stderr) == (0, "")
    cells = json.loads(output.read_text())["cells"]
    grid = [("query", 1), ("query", 3), ("step", 4)]
    expected = [(size, *one) for size in (33, 65) for one in grid]
    assert [(cell["image_size"], cell["task"], cell["batch_size"]) for cell in cells] == expected
    assert all(len(cell["seconds"]) == 10 and cell["peak_bytes"] == 2 for cell in cells)
    assert output.with_suffix(".md").read_text() in done.stdout
    assert Image.open(output.with_suffix(".png")).size[0] > 600


FLOAT = {"precision": "float32", "device": "cpu"}


@pytest.mark.slow
def test_a_grid_is_measured_with_pytorch(threads, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setitem(peer.RESNETS, "tiny", {"deep": False, "blocks": (1, 1, 1, 1)})
    monkeypatch.setattr(MatrixProduct, "open", lambda self: Task(lambda: None, {"flop": 1.0} | FLOAT, lambda: 0))
    output, file = tmp_path / "speed.json", ROOT / "tests/reference/mmnet_torch.py"
    grid = ("--image_size=65", "--shots=1", "--batch_size=2", "--step_batch_size=1", "--repeats=2")
    done = benchmark(*grid, f"--peer={file}", f"--output={output}")
    assert (done.returncode, done.stderr) == (0, "")
    cells = json.loads(output.read_text())["cells"]
    assert [(cell["task"], cell["by"], cell["batch_size"]) for cell in cells] == [
        ("episode", report.OURS, 2),
        ("query", report.OURS, 2),
        ("episode", report.PEER, 2),
        ("step", report.OURS, 1),
        ("step", report.PEER, 1),
    ]
    assert not [cell["error"] for cell in cells if "error" in cell]
    assert all(len(cell["seconds"]) == 2 and cell["peak_bytes"] > 0 for cell in cells)
    flop = {cell["task"]: cell["flop"] / cell["batch_size"] for cell in cells if cell["by"] == report.OURS}
    assert flop["step"] > 2 * flop["episode"] > 2 * flop["query"] > 0
    assert output.with_suffix(".md").read_text() in done.stdout


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--shots=1,x", "--shots must be positive integers, separated by commas, but is 1,x."),
        ("--task=episode,walk", "--task must list some of episode, query, step, but has 'walk'."),
        ("--image_size=100", "data.image_size must be 8k + 1, but is 100; the nearest are 97 and 105."),
        ("--peer=none.py", "--peer none.py is not a file; give the Python file of the PyTorch network."),
    ],
)
def test_invalid_flags_are_reported_before_anything_is_measured(flag, sentence):
    done = benchmark(flag)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", sentence)


def test_pytorch_without_a_gpu_is_refused_if_jax_has_one():
    torch = pytest.importorskip("torch")
    assert peer.precisions("cpu") == ("float32",)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"^--peer: jax computes on a card, but PyTorch \S+ finds no"):
            peer.precisions("a card")


def cell(by=report.OURS, task="step", precision="bfloat16", **facts):
    fields = {"backbone": "vgg16", "image_size": 473, "task": task, "shots": 5, "batch_size": 4}
    memory = {"peak_bytes": 2_000_000_000, "setup_peak_bytes": 3_000_000_000}
    return {"by": by, "precision": precision} | memory | fields | facts


def test_the_table_has_medians_rates_fraction_of_the_peak_and_ratio_to_pytorch():
    matrix = {"seconds": [2.0, 1.0], "flop": 8e12, "precision": "bfloat16", "device": "a card"}
    ours = cell(seconds=[0.1, 0.3, 0.2], flop=8e11, compile_s=30)
    peers = [cell(report.PEER, precision="TF32", layout="channels_last", seconds=[0.5]), cell(report.PEER, error="a|b")]
    text = report.markdown([ours, *peers], matrix)
    assert text.startswith("Matrix peak of a card: 8 TFLOP/s in bfloat16.\n\n| backbone |")
    start = "| vgg16 | 473 | step | 5 | 4 |"
    assert text.splitlines()[-3:] == [
        f"{start} mmnet_jax | bfloat16 | 200.0 | 290.0 | 20.00 | 2.00 | 3.00 | 30.0 | 4 | 50% | 2.50 (TF32) |",
        f"{start} PyTorch, channels_last | TF32 | 500.0 | 500.0 | 8.00 | 2.00 | 3.00 |  |  |  |  |",
        f"{start} PyTorch | bfloat16 | failed: a/b |  |  |  |  |  |  |  |  |",
    ]


def test_a_query_is_compared_with_pytorchs_episode():
    query, episode = (
        cell(task="query", seconds=[1.0], flop=1.0, compile_s=1),
        cell(report.PEER, "episode", seconds=[4.0]),
    )
    matrix = {"error": "none"}
    assert report.markdown([query, episode], matrix).splitlines()[-2].endswith("| 4.00 (bfloat16) |")


def test_the_figure_omits_failed_cells():
    measured = [cell(seconds=[0.1, 0.2]), cell(report.PEER, error="out of memory")]
    assert report.figure(measured).shape == report.figure(measured[:1]).shape


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_resident_peak_is_in_bytes_and_can_be_reset():
    np.ones(3 * 10**7)  # 240 MB
    before = resident_peak()
    reset_resident_peak()
    assert 1e8 < resident_peak() < before - 2e8 < 1e11
