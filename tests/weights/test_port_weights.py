"""The command, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import safetensors.numpy

from mmnet_jax.weights import load_backbone
from tests.weights.names import DEEP, resnet50_tensors

ROOT = Path(__file__).parents[2]


def port_weights(*arguments):
    command = [sys.executable, ROOT / "scripts/port_weights.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_checkpoint_becomes_a_file_that_loads(tmp_path):
    source, output = tmp_path / "pfenet.safetensors", tmp_path / "ours.safetensors"
    safetensors.numpy.save_file(resnet50_tensors(DEEP["PFENet"]), source)
    done = port_weights("resnet50_v2", f"--source={source}", f"--output={output}", "--dtype=float16")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"resnet50_v2: 275 tensors written to {output} (SHA-256 ")
    assert load_backbone(output, "resnet50_v2")["backbone"]["stem_2"]["kernel"].shape == (3, 3, 64, 128)


def test_mistakes_end_with_a_sentence_and_status_2(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    output = tmp_path / "ours.safetensors"
    wrong = port_weights("resnet50", f"--source={tmp_path / 'cut.safetensors'}", f"--output={output}")
    assert wrong.returncode == 2
    assert "cut.safetensors is truncated" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    nameless = port_weights(f"--source={tmp_path / 'cut.safetensors'}", f"--output={output}")
    assert nameless.returncode == 2
    assert nameless.stderr.startswith("the first argument is the backbone to port: resnet50, ")
    assert not output.exists()
    other = port_weights("resnet50", f"--source={tmp_path / 'cut.safetensors'}", f"--workdir={tmp_path}")
    assert (other.returncode, other.stderr) == (2, "unknown flag --workdir.\n")


def test_mistakes_with_a_whole_network_do_too(tmp_path):
    absent, workdir = f"--source={tmp_path / 'absent.pth'}", f"--workdir={tmp_path / 'run'}"
    for arguments, sentence in (
        ([absent], "--workdir is required."),
        ([absent, workdir], f"weight file {tmp_path / 'absent.pth'} does not exist."),
        ([absent, workdir, "--bins=60,half"], "--bins must be numbers, as in 60,30,15,8, but holds 'half'."),
    ):
        done = port_weights("released", *arguments)
        assert (done.returncode, done.stderr, done.stdout) == (2, f"{sentence}\n", "")
    assert list(tmp_path.iterdir()) == []
