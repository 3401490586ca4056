"""The HTML report of a result: its content, and that it is self-contained."""

import base64
import dataclasses
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.config import FIELDS
from mmnet_jax.evaluation.draws import Episode
from mmnet_jax.evaluation.html_report import html_report, pick_episodes
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.metrics import score
from mmnet_jax.evaluation.report import NETWORK, about_code, report_file, result_json, write_result
from mmnet_jax.evaluation.result import Baseline, Result
from mmnet_jax.evaluation.saved_masks import pack_mask, unpack_mask


@pytest.fixture(scope="module")
def result(dataset):
    """Eleven episodes with 10, 20, ... 110 of 130 pixels, and a baseline with half of them."""
    manifest = draw_manifest(dataset, fold=1, shots=2, protocol="pfenet", seeds=(0,), min_pixels=20, episodes=11)
    class_ids = np.array([spec.class_id for spec in manifest.specs(dataset)])
    queries = [episode.query for episode in manifest.episodes]
    hits = np.repeat(10 * np.arange(1, 12)[:, None], 2, axis=1)
    union = np.full_like(hits, 130)

    def scores(hits):
        return score(hits, union, class_ids, queries)

    baselines = {"untrained": Baseline(scores(hits // 2), hits // 2, union)}
    return Result(manifest, scores(hits), baselines, hits, union, union)


def read_mask(number):
    return np.ones((20, 30), bool)


@pytest.fixture(scope="module")
def summary(result, dataset):
    run = dict.fromkeys(NETWORK) | {"network": "mmnet", "weights_sha256": "ab" * 32, "notes": ["a <note> & more"]}
    return result_json(result, dataset, run | about_code())


class Reader(HTMLParser):
    """Tags with their attributes, the text outside of the style, and the elements that are open at the end."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += [data] if "style" not in self.open else []


@pytest.fixture(scope="module")
def page(summary, result, dataset, config):
    curves = [("mIoU, %", [(10, 20.0), (20, 30.0)])]
    return html_report(summary, result, dataset, read_mask, curves=curves, config=config)


def test_the_page_stands_alone_and_is_well_formed(page):
    reader = Reader(page)
    assert not reader.open
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "iframe", "object"} and "svg" in names
    for _, attributes in reader.tags:
        assert not {"href", "srcset"} & set(attributes) and attributes.get("src", "data:").startswith("data:")
    assert "url(" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_the_page_has_scores_classes_and_curve(page, summary):
    text = " | ".join(Reader(page).text)
    low, high = summary["interval95"]
    assert f"{summary['miou']:.2f} [{low:.2f}, {high:.2f}]" in text
    assert f"untrained | {summary['baselines']['untrained']['miou']:.2f} [" in text
    assert "mIoU, %: 30 at step 20" in text and "not in the mean: chair, cow" in text
    for name, value in summary["class_iou"].items():
        low, high = summary["class_interval95"][name]
        assert low <= value <= high and f"{name} | {value:.1f} [{low:.1f}, {high:.1f}]" in text
        assert f"width:{value:.2f}%" in page and f"left:{low:.2f}%;width:{high - low:.2f}%" in page
        assert f"left:calc({summary['baselines']['untrained']['class_iou'][name]:.2f}% - 1px)" in page


def test_the_page_lists_config_differences_then_all_fields_and_provenance(page, summary):
    differing, _, whole = page[page.index("<h2>Config") :].partition("<details>")
    assert "<th>data.image_size</th><td>33</td><td>473</td>" in differing and "loss.auxiliary" not in differing
    assert all(f"<th>{name}</th>" in whole for name in FIELDS)
    assert "ab" * 32 in whole and summary["episodes_sha256"][0] in whole and summary["date"] in whole


def test_names_and_notes_are_escaped(summary, result, dataset):
    hostile = summary | {"name": "<script>alert(1)</script>", "class_iou": {"<i>": 5.0}, "baselines": {}}
    page = html_report(hostile | {"class_interval95": {"<i>": [4.0, 6.0]}}, result, dataset, read_mask)
    assert "script" not in {tag for tag, _ in Reader(page).tags} and "<h1>&lt;script&gt;" in page
    assert "<th>&lt;i&gt;</th>" in page and "a &lt;note&gt; &amp; more" in page
    assert "<h2>Training" not in page and "<h2>Config" not in page


def test_each_episode_shows_supports_query_truth_and_prediction(page):
    images = [attributes for tag, attributes in Reader(page).tags if tag == "img"]
    assert len(images) == 3 * 3 * (2 + 3)
    for image in images:
        content = base64.b64decode(image["src"].partition(",")[2])
        assert Image.open(io.BytesIO(content)).size == (int(image["width"]), int(image["height"]))
    assert [image["alt"].split()[0] for image in images[:5]] == ["support", "support", "query", "ground", "prediction"]
    assert page.index("<h3>Best") < page.index("IoU 84.6, episode 10") < page.index("<h3>Median")
    assert page.index("<h3>Worst") < page.index("IoU 7.7, episode 0")


def test_best_median_and_worst_are_of_different_queries_and_have_foreground(result):
    hits, union = np.array([9, 8, 1, 2, 5, 5, 0, 6, 0, 0]), np.array([10] * 9 + [0])
    queries = ["a", "a", "b", "b", "c", "d", "e", "f", "g", "h"]
    episodes = tuple(Episode(query, (), "bus") for query in queries)
    manifest = dataclasses.replace(result.manifest, episodes=episodes)
    counts = (np.stack([one, one], axis=1) for one in (hits, union))
    picked = pick_episodes(Result(manifest, result.scores, {}, *counts, np.zeros((10, 2), int)))
    assert picked == {"Best": [0, 7, 5], "Median": [4], "Worst": [6, 8, 2]}


def test_packed_masks_unpack_to_the_same_pixels():
    for shape in (1, 1), (13, 9), (16, 8):
        mask = np.random.default_rng(0).random(shape) > 0.5
        np.testing.assert_array_equal(unpack_mask(*pack_mask(mask)), mask)


def test_an_undecodable_name_is_replaced(tmp_path, summary, result, dataset):
    write_result(tmp_path / "result.json", summary, result, dataset, "data\udcff")  # a path's byte 0xff
    assert (tmp_path / "report.html").read_text() == "data?"
    assert report_file(tmp_path / "run.2.json") == tmp_path / "run.2.report.html"
