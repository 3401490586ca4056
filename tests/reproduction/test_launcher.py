"""Jobs one at a time, in slots and as Slurm jobs, with stubs instead of trainings."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmnet_jax.cli.signals import Stopped
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.launcher import Job, SlurmTask, last_line, launch, local_slots, submit

ROOT = Path(__file__).parents[2]


def job(folder, name, code):
    return Job(name, [sys.executable, "-S", "-c", code], folder / f"{name}.log")


def silent(line):
    pass


def test_a_failure_is_reported_and_other_jobs_continue(tmp_path):
    (tmp_path / "file").touch()
    codes = {"one": "print(1)", "two": "print('no data'); raise SystemExit(2)", "three": "import os; os.abort()"}
    jobs = [job(tmp_path, *pair) for pair in (codes | {"file/four": "", "five": "print('also')"}).items()]
    lines = []
    two, three, four = launch(jobs, local_slots(2, []), lines.append)
    assert two == f"two ended with status 2: no data (log: {tmp_path}/two.log)"
    assert three.startswith("three was killed by signal 6") and f"{tmp_path}/file: File exists" in four
    assert "five: done" in lines and last_line(jobs[4].log) == "also"


def test_one_slot_runs_jobs_in_turn_with_progress_from_their_logs(tmp_path):
    code = "import time; print('{}', flush=True); time.sleep({})"
    waits = {"a": 0, "b": 0.2, "c": 0}
    jobs = [job(tmp_path, "log", code.format(*pair))._replace(name=pair[0]) for pair in waits.items()]
    lines = []
    assert launch(jobs, [{}], lines.append, every=0.1) == [] and "b: b" in lines
    assert lines == sorted(lines, key=lambda line: line[0]) and lines[-1] == "c: done"
    text = (tmp_path / "log.log").read_text().splitlines()
    assert text[1::2] == ["a", "b", "c"] and all(line.startswith("# 20") for line in text[::2])


def test_slots_run_in_parallel_and_each_has_its_gpu(tmp_path):
    meet = "import os, time, pathlib\np = pathlib.Path({!r})\n(p / '{}').touch()\n"
    meet += "while not (p / '{}').exists(): time.sleep(0.01)\nprint(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [job(tmp_path, a, meet.format(str(tmp_path), a, b)) for a, b in (("x", "y"), ("y", "x"))]
    assert launch(jobs, local_slots(None, ["0", "3"]), silent) == []
    assert {last_line(job.log) for job in jobs} == {"0", "3"}
    # GPUs are shared only where there are too few
    assert local_slots(None, []) == [{}] and local_slots(3, []) == [{}] * 3
    assert local_slots(None, ["0", "3"]) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "3"}]
    assert local_slots(2, ["7"]) == [{"CUDA_VISIBLE_DEVICES": "7", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}] * 2


def test_processes_run_this_code_in_any_current_folder(tmp_path, monkeypatch):
    (tmp_path / "mmnet_jax").mkdir()
    (tmp_path / "mmnet_jax" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "another.py").touch()
    monkeypatch.setenv("PYTHONPATH", "more")
    command = [sys.executable, "-c", "import another, mmnet_jax; print(mmnet_jax.__file__)"]
    assert launch([Job("one", command, tmp_path / "log")], [{}], silent) == []
    assert last_line(tmp_path / "log") == str(ROOT / "mmnet_jax" / "__init__.py")


STUB = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), {end}))
print("training", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("end", "signals"), [("sys.exit(130)", 1), ("None", 2)])
def test_an_interrupt_stops_what_runs_and_starts_nothing_new(tmp_path, end, signals):
    jobs = [job(tmp_path, name, STUB.format(end=end)) for name in ("a", "b")]

    def interrupt():
        wait_for(jobs[0].log, "training")
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(jobs[0].log, "saved")
        if signals == 2:  # the stub ignores the first one
            os.kill(os.getpid(), signal.SIGINT)

    lines = []
    with ThreadPoolExecutor() as pool, pytest.raises(Stopped):
        pool.submit(interrupt)
        launch(jobs, [{}], lines.append)
    assert last_line(jobs[0].log) == "saved" and not jobs[1].log.exists() and lines[-1] == "a: stopped"


def wait_for(log, line):
    deadline = time.monotonic() + 20
    while last_line(log) != line:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slurm_job_stops_at_its_time_limit_and_is_queued_again(tmp_path):
    pytest.importorskip("submitit")
    begun = str(tmp_path / "begun")
    stub = f"open({begun!r}, 'x')\n" + STUB.format(end="sys.exit(130)")
    task = SlurmTask(job(tmp_path, "a", f"import os\nexec({stub!r} if not os.path.exists({begun!r}) else 'print(1)')"))
    queued = []

    def time_is_up(number, frame):  # as submitit's handler
        queued.append(task.checkpoint())
        raise SystemExit

    def warn():  # as Slurm, which signals every process of the job
        wait_for(task.job.log, "training")
        task.process.send_signal(signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, time_is_up)
    with ThreadPoolExecutor() as pool, pytest.raises(SystemExit):
        pool.submit(warn)
        task()
    queued[0].result()
    signal.signal(signal.SIGUSR2, before)
    lines = task.job.log.read_text().splitlines()
    assert [line for line in lines if line in ("training", "saved", "1")] == ["training", "saved", "1"]
    with pytest.raises(RuntimeError, match="a ended with status 3"):
        SlurmTask(job(tmp_path, "a", "raise SystemExit(3)"))()


def test_jobs_are_submitted_as_one_array(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    arrays = []

    def process(executor, submissions):
        arrays.append((executor.parameters, [submission.function.job.name for submission in submissions]))
        return [submitit.SlurmJob(tmp_path, f"7_{i}") for i in range(len(submissions))]

    monkeypatch.setattr(submitit.SlurmExecutor, "_internal_process_submissions", process)
    jobs = [job(tmp_path, name, "") for name in "ab"]
    assert submit(jobs, tmp_path, "table_3", 1, ["partition=gpu", "time=90"]) == ["7_0", "7_1"]
    ((parameters, names),) = arrays
    expected = {"job_name": "table_3", "array_parallelism": 1, "partition": "gpu", "time": 90, "gpus_per_node": 1}
    assert expected.items() <= parameters.items() and names == ["a", "b"]
    again = jobs, tmp_path, "table_3", None
    with pytest.raises(UserError, match=r"--launcher=slurm: .*'colour'"):
        submit(*again, ["colour=red"])
    (tmp_path / "srun").unlink()
    with pytest.raises(UserError, match='Could not detect "srun"'):
        submit(*again, [])
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"install it with: pip install 'mmnet-jax\[cluster\]'"):
        submit(*again, [])
