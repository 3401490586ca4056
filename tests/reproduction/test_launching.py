"""Processes at a time, their shares of the machine, failures and interrupts; stubs stand in for trainings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmnet_jax.reproduction.launching import Failure, Job, last_line, launch, slots
from mmnet_jax.reproduction.slurm import script

ROOT = Path(__file__).parents[2]


def job(folder, name, code):
    return Job(name, [sys.executable, "-S", "-c", code], folder / f"{name}.log")


def test_a_failure_is_told_and_the_others_go_on(tmp_path):
    jobs = [
        job(tmp_path, "one", "print('fine')"),
        job(tmp_path, "two", "import sys; print('no data'); sys.exit(2)"),
        job(tmp_path, "three", "import os; os.abort()"),
        job(tmp_path, "four", "print('fine, too')"),
    ]
    lines = []
    failures = launch(jobs, slots([], 2), lines.append, poll=0.01)
    assert sorted(f.job.name for f in failures) == ["three", "two"]
    (two,) = (f for f in failures if f.job.name == "two")
    assert str(two) == f"two ended with status 2: no data (log: {tmp_path}/two.log)"
    assert "was killed by signal 6" in str(Failure(jobs[2], -6))
    assert "[4/4] four: done" in lines and last_line(jobs[3].log) == "fine, too"


def test_a_job_that_cannot_be_started_is_its_own_failure(tmp_path):
    (tmp_path / "file").touch()
    jobs = [job(tmp_path / "file", "one", ""), job(tmp_path, "two", "print('fine')")]
    (failure,) = launch(jobs, slots([], 1), print, poll=0.01)
    assert (
        str(failure) == f"one could not be started: {tmp_path}/file: File exists" and last_line(jobs[1].log) == "fine"
    )


def test_processes_run_this_code_whatever_lies_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "mmnet_jax").mkdir()
    (tmp_path / "mmnet_jax" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "another.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "more")
    code = "import another, mmnet_jax; print(mmnet_jax.__file__)"
    command = [sys.executable, "-c", code]
    assert launch([Job("one", command, tmp_path / "log")], slots([], 1), print, poll=0.01) == []
    assert last_line(tmp_path / "log") == str(ROOT / "mmnet_jax" / "__init__.py")


def test_a_second_attempt_writes_behind_the_first(tmp_path):
    for _ in range(2):
        launch([job(tmp_path, "one", "print('here')")], slots([], 1), lambda line: None, poll=0.01)
    text = (tmp_path / "one.log").read_text()
    assert text.count("here\n") == 2 and text.count("# 20") == 2


def test_as_many_go_on_at_a_time_as_there_are_slots(tmp_path):
    meet = "import sys, time, pathlib\np = pathlib.Path({!r})\n(p / '{}').touch()\n"
    meet += "while not (p / '{}').exists(): time.sleep(0.01)"
    jobs = [job(tmp_path, a, meet.format(str(tmp_path), a, b)) for a, b in (("x", "y"), ("y", "x"))]
    assert launch(jobs, slots([], 2), lambda line: None, poll=0.01) == []


def test_cores_and_gpus_are_dealt_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4, 5})
    assert [slot.cores for slot in slots([], 2)] == [{0, 1, 2}, {3, 4, 5}]
    assert [len(slot.cores) for slot in slots([], 4)] == [1, 2, 1, 2]
    assert all(len(slot.cores) == 1 for slot in slots([], 8))
    assert [slot.variables for slot in slots(["0", "3"])] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "3"},
    ]
    assert [slot.cores for slot in slots([], 4, jobs=2)] == [{0, 1, 2}, {3, 4, 5}]
    assert len(slots(["0", "3"], None, jobs=1)[0].cores) == 6 and len(slots([], 4, jobs=9)) == 4
    shared = slots(["7"], 2)
    assert shared[1].variables == {"CUDA_VISIBLE_DEVICES": "7", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_process_sees_its_cores_alone(tmp_path):
    core = min(os.sched_getaffinity(0))
    (slot, *_) = slots([], len(os.sched_getaffinity(0)))
    launch(
        [job(tmp_path, "one", "import os, time; time.sleep(.2); print(os.sched_getaffinity(0))")],
        [slot],
        print,
        poll=0.01,
    )
    assert last_line(tmp_path / "one.log") == str({core})


LAUNCH = """
import signal, sys
from pathlib import Path
from mmnet_jax.reproduction.launching import Interrupted, Job, launch, slots
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup may have turned off for these tests
stub = '''
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(130)))
print("training", flush=True)
time.sleep(60)
'''
folder = Path(sys.argv[1])
jobs = [Job(n, [sys.executable, "-S", "-c", stub], folder / f"{n}.log") for n in ("a", "b")]
try:
    launch(jobs, slots([], 1), print, poll=0.01)
except Interrupted:
    print("interrupted")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_reaches_what_runs_and_begins_nothing_new(tmp_path, number):
    with subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        while last_line(tmp_path / "a.log") != "training":
            assert process.poll() is None
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert last_line(tmp_path / "a.log") == "saved" and not (tmp_path / "b.log").exists()
    assert output.decode().endswith("interrupted\n") and process.returncode == 0


def test_the_slurm_script_runs_the_task_of_its_number(tmp_path):
    (tmp_path / "srun").write_text('#!/bin/sh\n[ "$1" = --cpus-per-task=6 ] && shift && exec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    jobs = [
        Job(f"job {i}", ["sh", "-c", f'echo "it\'s {i}" $PYTHONPATH'], tmp_path / f"my logs/{i}.log") for i in range(3)
    ]
    text = script(jobs, "table_3", tmp_path / "my runs", ["--partition=gpu"], at_once=2)
    assert "#SBATCH --array=0-2%2\n" in text and "#SBATCH --partition=gpu\n" in text
    assert f"#SBATCH '--output={tmp_path}/my runs/slurm-%A_%a.out'\n" in text
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "6"}
    subprocess.run(["bash", "-c", text], env=environment, check=True)
    assert last_line(tmp_path / "my logs/1.log") == f"it's 1 {ROOT}" and not (tmp_path / "my logs/0.log").exists()
