"""Elements of an HTML page: escaping, and the positions of a chart's points."""

import re

from mmnet_jax.drawing.web import EDGES, POINTS, Markup, element, line_chart, table


def test_text_and_attributes_are_escaped_and_elements_are_not():
    inner = element("b", 'a < b & "c"', title='"><script>')
    page = element("p", inner, "<i>", Markup("<hr/>"))
    assert page == '<p><b title="&quot;&gt;&lt;script&gt;">a &lt; b &amp; &quot;c&quot;</b>&lt;i&gt;<hr/></p>'
    assert table(("", ""), [("<x>", "1")], class_="c").count("&lt;x&gt;") == 1


def points(svg):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]


def test_a_chart_begins_at_step_0_and_value_0_and_names_the_last_value():
    svg = line_chart("loss <1>", [(100, 4.0), (200, 1.0)])
    assert "loss &lt;1&gt;: 1 at step 200" in svg and svg.count("<circle") == 2
    left, right, upper, lower = EDGES
    (x, y), (end, low) = points(svg)
    height = 190 - lower - upper  # of a scale from 0 to 5
    assert (x, y) == (left + (360 - left - right) / 2, upper + 0.2 * height)
    assert (end, low) == (360 - right, upper + 0.8 * height)


def test_a_chart_of_negative_values_and_one_of_a_single_step_0_are_drawn():
    assert points(line_chart("loss", [(0, -2.0)]))[0] == (EDGES[0], 190 - EDGES[3])
    assert points(line_chart("loss", [(0, 0.0)]))


def test_a_long_curve_is_averaged():
    svg = line_chart("loss", [(step, step % 2) for step in range(10 * POINTS)])
    values = points(svg)
    assert len(values) == POINTS and "<circle" not in svg
    assert len({y for _, y in values}) == 1
