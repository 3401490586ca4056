"""The predict command with a tiny network instead of a workdir."""

import json

import pytest
from PIL import Image

from mmnet_jax import predict
from tests.cli.call import call


@pytest.fixture
def command(folder, config, network, monkeypatch):
    """The command, run in ``folder`` with the tiny network."""
    monkeypatch.setattr("mmnet_jax.workdir.folder.Workdir.load_config", lambda self: config)
    monkeypatch.setattr("mmnet_jax.workdir.folder.load_step", lambda *_: (*network, config, 7))
    monkeypatch.chdir(folder)
    return lambda *arguments: call(predict.define_flags, predict.main, "--workdir=w", "--output=out", *arguments)


def test_the_command_pairs_masks_and_boxes_in_order_and_lists_the_results(folder, command):
    supports = "--support=a.jpg --support_box=5,10,25,30 --support=b.png --mask=b_label.png"
    status, shown, errors = command(*supports.split(), "--query=queries/one.jpg", "--query=queries/two.JPEG")
    assert status == 0 and errors.startswith("image 2/2")
    numbers = json.loads((folder / "out" / "predictions.json").read_text())
    box, mask = {"image": "a.jpg", "box": [5, 10, 25, 30]}, {"image": "b.png", "mask": "b_label.png"}
    assert numbers["supports"] == [box, mask]
    assert (numbers["workdir"], numbers["checkpoint"], numbers["step"]) == ("w", "best", 7)
    *lines, last = shown.splitlines()
    for line, query, mask in zip(lines, numbers["queries"], ("out/one_mask.png", "out/two_mask.png"), strict=True):
        found = f"{100 * query['foreground']:.1f}% found, mean probability {query['probability']:.2f}"
        assert line == f"{query['image']}: {found}, {mask}"
    assert last == "segmented 2 pictures; look first at out/sheet.png, numbers are in out/predictions.json."


def test_an_invalid_box_ends_the_command_and_writes_nothing(folder, command):
    status, shown, errors = command("--support=a.jpg", "--support_box=0,0,70,40", "--query=queries")
    assert (status, shown) == (2, "")
    assert errors == "box 0,0,70,40 is not inside a.jpg, which is 60 x 40 pixels.\n"
    assert not (folder / "out").exists()


def test_skipped_files_and_a_mask_without_background_are_reported(folder, command):
    Image.new("L", (60, 40), 255).save(folder / "all.png")
    (folder / "queries" / "IMG_1.HEIC").touch()
    status, shown, errors = command("--support=a.jpg", "--mask=all.png", "--query=queries")
    assert status == 0 and "segmented 3 pictures" in shown
    first, second, *_ = errors.splitlines()
    assert first == "mask all.png leaves no background: all of a.jpg counts as the class."
    heic = "1 .heic (HEIC, which the package pillow-heif reads: pip install pillow-heif)"
    assert second == f"skipped in queries: {heic}, 1 .txt"
