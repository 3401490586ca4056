"""Pictures segmented by example: what is written, and what is refused before anything is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmnet_jax import Episode, get_config
from mmnet_jax.config import resolve
from mmnet_jax.data import prepare_image
from mmnet_jax.errors import UserError
from mmnet_jax.segmenting import find_queries, mask_at_own_size, read_supports, segment_pictures
from tests.evaluation.reference import resize_align_corners
from tests.tiny import tiny_network

SIZE = 33


@pytest.fixture(scope="module")
def config():
    config = get_config()
    config.data.image_size = SIZE
    config.evaluation.batch_size = 2
    return resolve(config)


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture
def folder(tmp_path):
    """a.jpg and b.png with their masks, and three pictures of other sizes in queries/."""
    random = np.random.default_rng(0)

    def photograph(path, height, width):
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)

    photograph(tmp_path / "a.jpg", 40, 60)
    photograph(tmp_path / "b.png", 50, 30)
    for name, (height, width) in {"a": (40, 60), "b": (50, 30)}.items():
        mask = np.zeros((height, width), np.uint8)
        mask[10:30, 5:25] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_label.png")
    (tmp_path / "queries").mkdir()
    photograph(tmp_path / "queries" / "one.jpg", 20, 90)
    photograph(tmp_path / "queries" / "three.png", 33, 33)
    photograph(tmp_path / "queries" / "two.JPEG", 70, 50)
    (tmp_path / "queries" / "notes.txt").write_text("no picture")
    return tmp_path


def supports_of(folder, config, names="a", **options):
    images = {"a": folder / "a.jpg", "b": folder / "b.png"}
    return read_supports([images[n] for n in names], [folder / f"{n}_label.png" for n in names], config, **options)


def test_each_query_gets_a_mask_and_an_overlay_of_its_own_size(folder, config, network):
    queries = find_queries([folder / "queries", folder / "b.png"], folder / "out")
    files = segment_pictures(*network, config, supports_of(folder, config), queries, folder / "out" / "deep")
    assert sorted(file.name for file in (folder / "out" / "deep").iterdir()) == sorted(
        f"{name}_{kind}.png" for name in ("one", "two", "three", "b") for kind in ("mask", "overlay")
    )
    assert sorted(files) == sorted((folder / "out" / "deep").iterdir())
    for query in queries:
        mask = Image.open(folder / "out" / "deep" / f"{query.stem}_mask.png")
        assert mask.size == Image.open(query).size
        assert mask.mode == "L" and set(np.unique(np.array(mask))) <= {0, 255}
        overlay = Image.open(folder / "out" / "deep" / f"{query.stem}_overlay.png")
        assert (overlay.size, overlay.mode) == (mask.size, "RGB")


@pytest.mark.parametrize("names", ["a", "ab"])
def test_the_mask_is_the_networks_own_answer(folder, config, network, names):
    model, variables = network
    supports = supports_of(folder, config, names)
    queries = find_queries([folder / "queries"], folder / "out")
    segment_pictures(model, variables, config, supports, queries, folder / "out", save_logits=True)
    sizes = {"one": (7, 33), "three": (32, 32), "two": (32, 23)}  # before flooring to multiples of 8
    for query in queries:
        image = prepare_image(query, config)
        episode = Episode(image[None], supports.images[None], supports.labels[None])
        expected = np.asarray(model.apply(variables, episode).logits[0])
        logits = np.load(folder / "out" / f"{query.stem}.npy")
        assert logits.shape == (SIZE, SIZE, 2) and logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
        height, width = (max(8, side // 8 * 8) for side in sizes[query.stem])
        mask = np.array(Image.open(folder / "out" / f"{query.stem}_mask.png")) == 255
        margin = logits[:height, :width, 1] - logits[:height, :width, 0]
        rows = np.linspace(0, height - 1, mask.shape[0])
        columns = np.linspace(0, width - 1, mask.shape[1])
        along = np.stack([np.interp(columns, np.arange(width), row) for row in margin])
        full = np.stack([np.interp(rows, np.arange(height), column) for column in along.T], axis=1)
        decided = np.abs(full) > 1e-5
        np.testing.assert_array_equal(mask[decided], (full > 0)[decided])


def test_padding_does_not_reach_the_mask():
    logits = np.zeros((SIZE, SIZE, 2), np.float32)
    logits[:16, :32, 1] = 1  # where a picture twice as wide as high lies
    logits[16:, :, 0] = logits[:, 32:, 0] = 100
    assert mask_at_own_size(logits, (64, 128)).all()


def test_the_mask_is_resized_with_corners_on_corners():
    logits = np.random.default_rng(1).normal(size=(SIZE, SIZE, 2)).astype(np.float32)
    expected = resize_align_corners(logits[:32, :32, 1] - logits[:32, :32, 0], 50) > 0
    np.testing.assert_array_equal(mask_at_own_size(logits, (50, 50)), expected)


def test_every_kind_of_mask_means_the_same(folder, config):
    expected = supports_of(folder, config).labels
    mask = Image.open(folder / "a_label.png")
    palette = Image.fromarray(np.where(np.array(mask) > 0, 7, 0).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 9, 9, 9] * 128)  # index 7 is as dark as index 1
    kinds = {"one bit": mask.convert("1"), "colour": mask.convert("RGB"), "palette": palette}
    red = np.zeros((40, 60, 4), np.uint8)
    red[..., 0], red[..., 3] = np.array(mask) // 2, 255
    kinds["red with alpha"] = Image.fromarray(red)
    for image in kinds.values():
        image.save(folder / "a_label.png")
        np.testing.assert_array_equal(supports_of(folder, config).labels, expected)


def test_ignored_pixels_become_unknown(folder, config):
    mask = np.array(Image.open(folder / "a_label.png"))
    mask[10:30, 5:15] = 9
    Image.fromarray(mask).save(folder / "a_label.png")
    plain, ignoring = supports_of(folder, config).labels, supports_of(folder, config, ignore=9).labels
    inside = np.zeros((1, SIZE, SIZE), bool)
    inside[:, :16, :32] = True  # 40 x 60 becomes 16 x 32
    assert set(np.unique(plain[inside])) == {0, 1}
    assert ((plain == 1) & (ignoring == 255))[inside].any()
    np.testing.assert_array_equal((plain == 1)[inside], np.isin(ignoring, [1, 255])[inside])
    with pytest.raises(UserError, match=r"has no foreground: every pixel is 0 or 255\.$"):
        supports_of(folder, config, "b", ignore=255)


def refused(call, message):
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value) == message


def test_supports_that_do_not_fit_are_refused(folder, config):
    a, b, label = folder / "a.jpg", folder / "b.png", folder / "a_label.png"
    refused(lambda: read_supports([a, b], [label], config), "each --support needs its --mask, but there are 2 and 1.")
    refused(
        lambda: read_supports([b], [label], config),
        f"mask {label} is 60 x 40 pixels, but its image {b} is 30 x 50.",
    )
    refused(lambda: read_supports([folder / "c.jpg"], [label], config), f"{folder / 'c.jpg'} does not exist.")
    text = folder / "text.jpg"
    text.write_text("not a picture")
    refused(lambda: read_supports([text], [label], config), f"{text} is not an image.")
    Image.new("L", (60, 40)).save(label)
    refused(lambda: read_supports([a], [label], config), f"mask {label} has no foreground: every pixel is 0.")


def test_foreground_that_vanishes_at_the_networks_size_is_refused(folder, config):
    Image.new("RGB", (900, 900)).save(folder / "a.jpg")
    mask = np.zeros((900, 900), np.uint8)
    mask[1, 1] = 1
    Image.fromarray(mask).save(folder / "a_label.png")
    with pytest.raises(UserError, match=r"too little foreground: none is left at the network's 33 pixels\.$"):
        supports_of(folder, config)


def test_queries_that_do_not_fit_are_refused(folder):
    out, queries = folder / "out", folder / "queries"
    (folder / "empty").mkdir()
    refused(lambda: find_queries([folder / "empty"], out), f"folder {folder / 'empty'} holds no picture.")
    refused(lambda: find_queries([folder / "x.jpg"], out), f"{folder / 'x.jpg'} does not exist.")
    refused(
        lambda: find_queries([queries], queries),
        f"--output {queries} is also a --query; its results would be taken for pictures.",
    )
    refused(lambda: find_queries([queries], folder / "a.jpg"), f"--output {folder / 'a.jpg'} is a file, not a folder.")
    Image.new("RGB", (9, 9)).save(queries / "one.png")
    refused(
        lambda: find_queries([queries], out),
        f"queries {queries / 'one.jpg'} and {queries / 'one.png'} would both be written as one_mask.png; rename one.",
    )
    (queries / "one.png").write_bytes((queries / "three.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"one\.png is broken and cannot be decoded"):
        find_queries([queries / "one.png"], out)
    assert not out.exists()


def test_no_picture_of_the_users_is_overwritten(folder):
    mask = folder / "a_mask.png"
    (folder / "a_label.png").rename(mask)
    refused(
        lambda: find_queries([folder / "a.jpg"], folder, keep=[folder / "a.jpg", mask]),
        f"{mask} would be overwritten by the result of {folder / 'a.jpg'}; choose another --output.",
    )


def test_a_failure_leaves_nothing_behind(folder, config, network):
    queries = find_queries([folder / "queries"], folder / "out")
    queries[-1].unlink()
    with pytest.raises(UserError, match="does not exist"):
        segment_pictures(*network, config, supports_of(folder, config), queries, folder / "out" / "deep")
    assert not (folder / "out").exists()
    (folder / "out").mkdir()
    (folder / "out" / "one_mask.png").write_text("earlier")
    with pytest.raises(UserError, match="does not exist"):
        segment_pictures(*network, config, supports_of(folder, config), queries, folder / "out")
    assert [file.name for file in (folder / "out").iterdir()] == ["one_mask.png"]
    assert (folder / "out" / "one_mask.png").read_text() == "earlier"
