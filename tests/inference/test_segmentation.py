"""Segmentation of images: results, and errors before anything is written."""

import errno
import json
import os
from pathlib import Path
from unittest.mock import MagicMock

import jax
import numpy as np
import pytest
from PIL import Image

from mmnet_jax import Episode
from mmnet_jax.data.transforms.evaluation import fitted_size, prepare_image
from mmnet_jax.errors import UserError
from mmnet_jax.inference import segmenter
from mmnet_jax.inference.segmentation import QueryResult, find_queries, foreground_margin, segment_images
from mmnet_jax.inference.sheet import QUERIES_PER_SHEET
from mmnet_jax.inference.supports import Box, read_supports
from mmnet_jax.ops.resize import resize_on_host
from tests.evaluation.reference import resize_align_corners
from tests.inference.conftest import SIZE, refused


def test_a_query_of_any_mode_gets_a_mask_and_an_overlay_of_its_own_size(folder, config, network, supports_of):
    kinds = folder / "kinds"
    kinds.mkdir()
    sizes = [(5, 7), (1, 400), (300, 2), (1, 1), (640, 480), (8, 8)]
    for mode, size in zip(("L", "RGBA", "P", "1", "CMYK", "I;16"), sizes, strict=True):
        image = Image.new("RGB", size, "teal").convert("L" if mode == "I;16" else mode)
        image.convert(mode).save(kinds / f"{mode[0]}.tif")
    queries = find_queries([kinds, folder / "b.png"], folder / "out")
    out = folder / "out" / "deep"
    results = segment_images(*network, config, supports_of(), queries, out)
    names = {f"{name}_{kind}.png" for name in "LRP1CIb" for kind in ("mask", "overlay")}
    assert {file.name for file in out.iterdir()} == names | {"sheet.png", "predictions.json"}
    assert {file for result in results for file in result.files} == {out / name for name in names}
    for query, result in zip(queries, results, strict=True):
        mask, overlay = map(Image.open, result.files)
        assert mask.size == Image.open(query).size == result.size[::-1]
        assert mask.mode == "L" and set(np.unique(np.array(mask))) <= {0, 255}
        assert (overlay.size, overlay.mode) == (mask.size, "RGB")


@pytest.mark.parametrize("names, masked_twice", [("a", False), ("ab", True)])
def test_logits_and_mask_are_those_of_the_network(config, network, folder, supports_of, names, masked_twice):
    model, variables = network
    model = model.clone(mask_level3=masked_twice)
    supports = supports_of(names)
    queries = find_queries([folder / "queries"], folder / "out")
    segment_images(model, variables, config, supports, queries, folder / "out", save_logits=True)
    apply = jax.jit(model.apply)
    sizes = {"one": (7, 33), "three": (32, 32), "two": (32, 23)}  # before flooring to multiples of 8
    for query in queries:
        image = prepare_image(query, config.data.image_size)
        episode = Episode(image[None], supports.images[None], supports.labels[None])
        expected = np.asarray(apply(variables, episode).logits[0])
        logits = np.load(folder / "out" / f"{query.stem}.npy")
        assert logits.shape == (SIZE, SIZE, 2) and logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
        height, width = (max(8, side // 8 * 8) for side in sizes[query.stem])
        mask = np.array(Image.open(folder / "out" / f"{query.stem}_mask.png")) == 255
        full = resize_align_corners(logits[:height, :width, 1] - logits[:height, :width, 0], *mask.shape)
        decided = np.abs(full) > 1e-5
        np.testing.assert_array_equal(mask[decided], (full > 0)[decided])


def test_a_file_that_is_two_supports_and_a_query_is_encoded_once(folder, config, network, monkeypatch):
    encode = MagicMock(side_effect=segmenter._encode)
    monkeypatch.setattr(segmenter, "_encode", encode)
    supports = read_supports([folder / "a.jpg"] * 2, [Box(5, 10, 25, 30), folder / "a_label.png"], config)
    queries = [folder / "a.jpg", folder / "queries" / "one.jpg"]
    segment_images(*network, config, supports, queries, folder / "out")
    assert encode.call_count == 2


def test_level_4_of_masked_supports_is_computed_once_for_all_queries(config, network, supports_of, monkeypatch):
    model, variables = network
    opened = segmenter.Segmenter(model.clone(mask_level3=True), variables, config, supports_of("ab"))
    monkeypatch.setattr(type(model), "masked_high", None)  # from here on nothing computes it
    for query in supports_of("ab").examples:
        assert opened.predict(opened.encode(query.source)[1]).logits.shape == (SIZE, SIZE, 2)


def test_predictions_json_and_summaries_describe_the_files(folder, config, network):
    out, queries = folder / "out", find_queries([folder / "queries"], folder / "out")
    supports = read_supports([folder / "a.jpg", folder / "b.png"], [Box(5, 10, 25, 30), folder / "b_label.png"], config)
    answers = segment_images(*network, config, supports, queries, out, save_logits=True, made_by={"step": 7})
    numbers = json.loads((out / "predictions.json").read_text())
    assert numbers["step"] == 7 and numbers["sheets"] == ["sheet.png"]
    assert numbers["supports"] == [
        {"image": str(folder / "a.jpg"), "box": [5, 10, 25, 30]},
        {"image": str(folder / "b.png"), "mask": str(folder / "b_label.png")},
    ]
    for query, entry, answer in zip(queries, numbers["queries"], answers, strict=True):
        assert entry["image"] == str(query)
        mask = np.array(Image.open(out / entry["mask"])) == 255
        assert (entry["height"], entry["width"]) == mask.shape == answer.size
        assert entry["foreground"] == answer.fraction == mask.mean()
        logits = np.load(out / entry["logits"])
        height, width = fitted_size(np.array(mask.shape), SIZE)
        margin = resize_on_host(logits[:height, :width, 1] - logits[:height, :width, 0], mask.shape)
        assert entry["probability"] == pytest.approx((1 / (1 + np.exp(-margin[mask]))).mean(), abs=1e-6)
    assert any(0.05 < answer.fraction < 0.95 for answer in answers)
    result = QueryResult(Path("a.jpg"), (9, 9), 0.1234, 0.8765, [])
    assert result.summary() == "12.3% found, mean probability 0.88"
    assert result._replace(fraction=1e-5).summary() == "under 0.1% found, mean probability 0.88"
    assert result._replace(fraction=0.0, probability=None).summary() == "nothing found"


def test_many_queries_fill_several_sheets(folder, config, network, supports_of):
    many = folder / "many"
    many.mkdir()
    for i in range(QUERIES_PER_SHEET + 1):
        Image.new("RGB", (9, 9), (i, i, i)).save(many / f"{i}.png")
    queries = find_queries([many], folder / "out")
    segment_images(*network, config, supports_of(), queries, folder / "out")
    first, second = (Image.open(folder / "out" / name) for name in ("sheet.png", "sheet_2.png"))
    assert first.width == second.width and first.height > 4 * second.height
    assert not (folder / "out" / "sheet_3.png").exists()


def test_the_margin_has_no_padding_and_is_resized_with_align_corners():
    logits = np.zeros((SIZE, SIZE, 2), np.float32)
    logits[:16, :32, 1] = 1  # an image twice as wide as high
    logits[16:, :, 0] = logits[:, 32:, 0] = 100
    assert (resize_on_host(foreground_margin(logits, (64, 128)), (64, 128)) == 1).all()
    logits = np.random.default_rng(1).normal(size=(SIZE, SIZE, 2)).astype(np.float32)
    expected = resize_align_corners(logits[:32, :32, 1] - logits[:32, :32, 0], 50) > 0
    np.testing.assert_array_equal(resize_on_host(foreground_margin(logits, (50, 50)), (50, 50)) > 0, expected)


def test_invalid_queries_raise_a_user_error(folder):
    out, queries, a = folder / "out", folder / "queries", folder / "a.jpg"
    for name in ("empty", "texts"):
        (folder / name).mkdir()
    (folder / "texts" / "a.txt").touch()
    for paths, output, message in [
        (folder / "empty", out, f"folder {folder / 'empty'} holds no readable picture."),
        (folder / "texts", out, f"folder {folder / 'texts'} holds no readable picture, but 1 .txt."),
        (folder / "x.jpg", out, f"{folder / 'x.jpg'} does not exist."),
        (queries, queries, f"--output {queries} is also a --query; choose another folder."),
        (queries, a, f"--output {a} is a file, not a folder."),
    ]:
        refused(message, find_queries, [paths], output)
    one, other = queries / "one.jpg", queries / "one.webp"
    Image.new("RGB", (9, 9)).save(other)
    message = f"queries {one} and {other} would both write one_mask.png; rename one."
    refused(message, find_queries, [queries], out)
    other.write_bytes((queries / "three.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"one\.webp is broken and cannot be decoded"):
        find_queries([other], out)
    assert not out.exists()


def test_results_never_overwrite_inputs_or_folders(folder):
    mask, sheet, a, query = folder / "a_mask.png", folder / "sheet.png", folder / "a.jpg", folder / "queries/sheet.png"
    for image in (mask, sheet, query):
        Image.new("RGB", (9, 9)).save(image)
    assert find_queries([sheet], folder / "out") == [sheet]  # sheet_mask.png is another name
    assert find_queries([a], folder, keep=[folder / "sheet_2.png"]) == [a]  # one sheet is enough for so few
    for path, output, keep, taken, result in [
        (a, folder, [a, mask], mask, f"the result of {a}"),
        (sheet, folder, [], sheet, "the sheet of results"),
        (a, folder, [sheet], sheet, "the sheet of results"),
        (query, query.parent, [], query, "the sheet of results"),
    ]:
        message = f"{taken} would be overwritten by {result}; choose another --output."
        refused(message, find_queries, [path], output, keep)
    sheet.unlink()
    for name, result in {"a_overlay.png": f"the result of {a}", "sheet.png": "the sheet of results"}.items():
        (folder / name).mkdir()
        message = f"{folder / name} is a folder, so {result} cannot be written; choose another --output."
        refused(message, find_queries, [a], folder)
        (folder / name).rmdir()


def test_an_image_named_twice_is_segmented_once(folder):
    queries = folder / "queries"
    found = find_queries([queries / "one.jpg", queries, queries / "one.jpg"], folder / "out")
    assert [query.name for query in found] == ["one.jpg", "three.png", "two.JPEG"]


def test_a_failure_writes_nothing_and_a_full_disk_is_named(folder, config, network, supports_of, monkeypatch):
    queries, supports = find_queries([folder / "queries"], folder / "out"), supports_of()

    def failing(error, output):
        with pytest.raises(error) as caught:
            segment_images(*network, config, supports, queries, output)
        return caught.value

    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a write that fails names no file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert failing(OSError, folder / "out").filename == str(folder / "out")
    assert not (folder / "out").exists()
    (folder / "queries" / "two.JPEG").unlink()
    assert "does not exist" in str(failing(UserError, folder / "out" / "deep"))
    assert not (folder / "out").exists()
    (folder / "out").mkdir()
    (folder / "out" / "one_mask.png").write_text("earlier")
    failing(UserError, folder / "out")
    assert {file.name: file.read_text() for file in (folder / "out").iterdir()} == {"one_mask.png": "earlier"}
