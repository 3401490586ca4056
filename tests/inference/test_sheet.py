"""Pixels of result sheets."""

import numpy as np
import pytest

from mmnet_jax.drawing.images import FOREGROUND, heat
from mmnet_jax.errors import printable
from mmnet_jax.inference.segmentation import summary_files
from mmnet_jax.inference.sheet import (
    QUERIES_PER_SHEET,
    WIDTH,
    draw_sheet,
    foreground_probability,
    query_cell,
    tile_side,
)
from mmnet_jax.inference.supports import Box, Example

GREEN = (0, 200, 0)


def green(height, width):
    return np.full((height, width, 3), GREEN, np.uint8)


def cells_of(count, size=(30, 40)):
    side = tile_side(count)
    mask = np.zeros(size, bool)
    return [query_cell(green(*size), mask, np.zeros((4, 5), np.float32), side, (f"{i}.jpg", "")) for i in range(count)]


def test_hundreds_of_queries_take_several_sheets():
    for queries, further in {1: [], QUERIES_PER_SHEET: [], 2 * QUERIES_PER_SHEET + 1: [2, 3]}.items():
        expected = ["sheet.png", *(f"sheet_{number}.png" for number in further), "predictions.json"]
        assert [file.name for file in summary_files(queries, "out")] == expected


@pytest.mark.parametrize("size", [(400, 600), (5, 7), (1, 1), (4, 3000), (3000, 4)])
def test_both_tiles_of_a_query_have_the_same_size(size):
    mask = np.zeros(size, bool)
    mask[0, 0] = True
    cell = query_cell(green(*size), mask, np.full((8, 8), 100, np.float32), 176, ("x.jpg", ""))
    assert cell.tiles[0].shape == cell.tiles[1].shape
    assert max(cell.tiles[0].shape) == 176 and min(cell.tiles[0].shape[:2]) >= 8
    assert (cell.tiles[0] != GREEN).any()  # a single pixel stays visible
    assert (cell.tiles[1] == heat(np.ones((1, 1)))[0, 0]).all()


def test_the_mask_is_tinted_and_the_probability_is_a_softmax_of_two_logits():
    margins = np.array([0, np.log(3), -np.log(3), 1e4, -1e4])
    np.testing.assert_allclose(foreground_probability(margins), [0.5, 0.75, 0.25, 1, 0], atol=1e-12)
    mask = np.zeros((40, 40), bool)
    mask[:, 20:] = True
    margin = np.where(np.arange(9) < 4, -100, 100).astype(np.float32) * np.ones((9, 1), np.float32)
    cell = query_cell(green(40, 40), mask, margin, 80, ("x.jpg", ""))
    assert (cell.tiles[0][:, :40] == GREEN).all() and (cell.tiles[0][:, 40] == FOREGROUND).all()
    low, high = heat(np.array([[0.0, 1.0]]))[0]
    assert (cell.tiles[1][:, :30] == low).all() and (cell.tiles[1][:, 50:] == high).all()


def find(sheet, colour):
    """Most runs of a colour in one row of the sheet."""
    at = (sheet == colour).all(axis=-1)
    starts = at & ~np.pad(at, ((0, 0), (1, 0)))[:, :-1]
    return starts.sum(axis=1).max()


@pytest.mark.parametrize(("queries", "columns"), [(1, 1), (2, 2), (3, 3), (7, 3)])
def test_queries_fill_the_columns_of_a_page_of_fixed_width(queries, columns):
    cells = cells_of(queries)
    sheet = draw_sheet([], cells, 0, 1, queries)
    assert sheet.shape[1] == WIDTH
    assert find(sheet, GREEN) == columns
    assert (sheet == GREEN).all(axis=-1).sum() == queries * cells[0].tiles[0].shape[0] * cells[0].tiles[0].shape[1]


def test_examples_and_their_notes_are_on_the_first_page():
    blue = np.full((60, 60, 3), (0, 0, 250), np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[:, 30:] = True
    examples = [Example("cow.jpg", Box(30, 0, 60, 60), blue, mask), Example("b.jpg", "b.png", blue, mask)] * 4
    first, second = (draw_sheet(examples, cells_of(3), page, 2, 30) for page in (0, 1))
    dark = (0, 0, 100)  # background
    assert (find(first, dark), find(second, dark)) == (6, 0)  # eight examples in two rows
    assert first.shape[0] > second.shape[0] + 2 * 180
    example = Example("cow.jpg", "all.png", green(60, 60), np.ones((60, 60), bool))
    noted = example._replace(notes=("mask all.png leaves no background",))
    plain, first, second = (
        draw_sheet([shown], cells_of(3), page, 2, 30) for shown, page in ((example, 0), (noted, 0), (noted, 1))
    )
    assert (find(plain, FOREGROUND), find(second, FOREGROUND)) == (0, 0) and find(first, FOREGROUND) > 3
    assert first.shape[0] > plain.shape[0]


def test_any_file_name_can_be_drawn():
    assert printable("a\nb\udcff\x1b[1m.jpg") == "a?b??[1m.jpg"
    assert printable("Kühe 牛.jpg") == "Kühe 牛.jpg"
    long = cells_of(1)[0]._replace(lines=("牛\n\udcff" * 100, "w" * 200))
    assert draw_sheet([], [long], 0, 1, 1).shape[1] == WIDTH
