"""``scripts/port_weights.py`` as a command."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import safetensors.numpy

from mmnet_jax.weights import load_backbone
from tests.cli.call import call
from tests.weights.names import DEEP, resnet50_tensors

SCRIPT = Path(__file__).parents[2] / "scripts/port_weights.py"


def port_weights(word, *arguments):
    """Runs the script in this process, with its first argument and its flags."""
    spec = importlib.util.spec_from_file_location("port_weights", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return call(lambda: script.define_flags(word), lambda: script.main(word), *arguments)


def test_a_ported_file_loads(tmp_path):
    source, output = tmp_path / "pfenet.safetensors", tmp_path / "ours.safetensors"
    tensors = resnet50_tensors(DEEP["PFENet"])
    safetensors.numpy.save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, source)
    command = [sys.executable, SCRIPT, "resnet50_v2", f"--source={source}", f"--output={output}", "--dtype=float16"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"resnet50_v2: 275 tensors written to {output} (SHA-256 ")  # 55 convolutions x 5
    loaded = load_backbone(output, "resnet50_v2")["backbone"]
    assert loaded["stem_2"]["kernel"].shape == (3, 3, 64, 128)
    assert loaded["stage4_2"]["conv1"]["kernel"].shape == (1, 1, 2048, 512)
    assert loaded["stage4_2"]["conv1"]["kernel"].max() == tensors["layer4.2.conv1.weight"].min()


def test_backbone_mistakes_end_with_a_sentence_and_status_2(tmp_path):
    cut, output = tmp_path / "cut.safetensors", tmp_path / "ours.safetensors"
    cut.write_bytes(b"\x10")
    wrong = port_weights("resnet50", f"--source={cut}", f"--output={output}")
    assert wrong.returncode == 2
    assert "cut.safetensors is truncated" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    nameless = port_weights(None, f"--source={cut}", f"--output={output}")
    assert nameless.returncode == 2
    assert nameless.stderr.startswith("the first argument is the backbone to port: resnet50, ")
    assert "tiny" not in nameless.stderr
    assert not output.exists()
    other = port_weights("resnet50", f"--source={cut}", f"--workdir={tmp_path}")
    assert (other.returncode, other.stderr) == (2, "unknown flag --workdir.\n")


def test_released_mistakes_end_with_a_sentence_and_status_2(tmp_path):
    absent, workdir = f"--source={tmp_path / 'absent.pth'}", f"--workdir={tmp_path / 'run'}"
    for arguments, sentence in (
        ([absent], "--workdir is required."),
        ([absent, workdir], f"weight file {tmp_path / 'absent.pth'} does not exist."),
        ([absent, workdir, "--bins=60,half"], "--bins must be numbers, as in 60,30,15,8, but holds 'half'."),
    ):
        assert port_weights("released", *arguments) == (2, "", f"{sentence}\n")
    assert list(tmp_path.iterdir()) == []
