"""A preparation killed several times gives the same bytes as an uninterrupted one."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmnet_jax.data.check import check
from tests.data.synthetic import write_many

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_data.py"
KILLS = 4
IMAGES = 6000


def start(voc: Path, data: Path) -> subprocess.Popen:
    arguments = ["pascal5i", f"--source={voc}", f"--data_dir={data}", "--split=folder", "--workers=2"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, SCRIPT, *arguments], start_new_session=True, **streams)


def workers(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def contents(data: Path) -> dict[str, str]:
    folder = data / "pascal5i" / "folder" / "1.0.0"
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="child processes are found in /proc")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(voc, tmp_path):
    write_many(voc, IMAGES)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    assert start(voc, whole).wait(300) == 0
    duration, draw = time.monotonic() - begun, random.Random(0)
    final = killed / "pascal5i" / "folder" / "1.0.0"
    for kill in range(KILLS):
        process = start(voc, killed)
        time.sleep(draw.uniform(0.1, 0.35) * duration)
        assert process.poll() is None and not final.exists(), "the preparation ended before it was killed"
        if kill % 2 and (alive := workers(process.pid)):
            os.kill(draw.choice(alive), signal.SIGKILL)
            assert process.wait(60) == 2 and "was killed by SIGKILL " in process.stderr.read()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert start(voc, killed).wait(300) == 0
    assert contents(killed) == contents(whole)
    assert os.listdir(final.parent) == ["1.0.0"]
    lines = []
    check(killed, lines.append)
    assert lines == [f"{final}: complete, {IMAGES + 2:,} images, {len(contents(whole)) - 3} files with their checksums"]
