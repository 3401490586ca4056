"""The predict command with a tiny network in the workdir's place."""

from __future__ import annotations

import json

import pytest

from mmnet_jax import predict
from tests.cli.call import call


@pytest.fixture
def command(folder, config, network, monkeypatch):
    """The command, run in ``folder`` with the tiny network in the workdir's place."""
    monkeypatch.setattr("mmnet_jax.workdir.folder.Workdir.load_config", lambda self: config)
    monkeypatch.setattr("mmnet_jax.workdir.folder.load_step", lambda *_: (*network, config, 7))
    monkeypatch.chdir(folder)
    return lambda *arguments: call(predict.define_flags, predict.main, "--workdir=w", "--output=out", *arguments)


def test_the_command_pairs_masks_and_boxes_in_their_order_and_says_where_to_look(folder, command):
    status, shown, errors = command(
        "--support=a.jpg",
        "--support_box=5,10,25,30",
        "--support=b.png",
        "--support=a.jpg",
        "--mask=b_label.png",
        "--support_box=0,0,60,40",
        "--query=queries/one.jpg",
        "--query=queries/two.JPEG",
    )
    assert status == 0 and errors.startswith("image 2/2")
    numbers = json.loads((folder / "out" / "predictions.json").read_text())
    assert numbers["supports"] == [
        {"image": "a.jpg", "box": [5, 10, 25, 30]},
        {"image": "b.png", "mask": "b_label.png"},
        {"image": "a.jpg", "box": [0, 0, 60, 40]},
    ]
    assert (numbers["workdir"], numbers["checkpoint"], numbers["step"]) == ("w", "best", 7)
    first, second, last = shown.splitlines()
    assert first == "queries/one.jpg: nothing found, out/one_mask.png"
    assert second == "queries/two.JPEG: nothing found, out/two_mask.png"
    assert [(q["foreground"], q["probability"]) for q in numbers["queries"]] == [(0.0, None)] * 2
    assert last == "segmented 2 pictures; look first at out/sheet.png, numbers are in out/predictions.json."


def test_the_command_refuses_in_one_sentence_and_writes_nothing(folder, command):
    status, shown, errors = command("--support=a.jpg", "--support_box=0,0,70,40", "--query=queries")
    assert (status, shown) == (2, "")
    assert errors == "box 0,0,70,40 is not inside a.jpg, which is 60 x 40 pixels.\n"
    assert not (folder / "out").exists()
