"""The positions of numbers and intervals in a figure."""

import numpy as np

from mmnet_jax.drawing.intervals import COLOURS, Bar, Panel, draw_intervals


def columns_of(figure, colour):
    return np.flatnonzero((figure == colour).all(-1).any(0))


def test_panels_of_a_column_share_a_scale():
    upper, lower = ([Bar("a", 10 + more, 5 + more, 20 + more), Bar("b", 40, 38, 43)] for more in (0, 20))
    figure = draw_intervals([[Panel("above", upper)], [Panel("below", lower)]])
    height = figure.shape[0] // 2
    first, second = (columns_of(half, COLOURS[0]) for half in (figure[:height], figure[height:]))
    assert np.ptp(first) == np.ptp(second) and second[0] > first[0]
    pixels = (second[0] - first[0]) / 20  # of a point
    assert np.ptp(first) == round(15 * pixels)
    np.testing.assert_array_equal(columns_of(figure[:height], COLOURS[1]), columns_of(figure[height:], COLOURS[1]))


def test_equal_numbers_and_long_names_are_drawn():
    bars = [Bar("a very long name " * 9, 1.0, 1.0, 1.0)]
    figure = draw_intervals([[Panel("one", bars, 0.0), Panel("other", [Bar("", 0.0, 0.0, 0.0)], 0.0)]])
    assert figure.shape == (24 + 22 + 26 + 36, 220 + 2 * (330 + 36), 3)
    assert len(columns_of(figure, COLOURS[0])) >= 2 * 9
