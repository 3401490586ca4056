"""``python -m mmnet_jax.compare``: rows, the table, the figure and refusals."""

import json

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.compare import define_flags, main
from tests.cli.call import call
from tests.evaluation.stored_results import write

CLASSES = "ab" * 30


def compare(*arguments):
    return call(define_flags, main, *arguments, positional=True)


@pytest.fixture
def hits():
    return np.random.default_rng(0).integers(10, 80, 60)


def test_two_results_with_a_baseline_make_a_table_a_figure_and_json(tmp_path, hits):
    ours = write(tmp_path / "ours.json", hits + 5, CLASSES, name="MM-Net", split="folder", scoring="label size")
    box = write(tmp_path / "box.json", hits, CLASSES, scoring="label size", baselines={"confidence": hits - 10})
    done = compare(ours, box, f"{box}:confidence", "--output", f"{tmp_path}/new/table.md")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "new" / "table.md").read_text()
    assert done.stdout.startswith(text) and "written: " in done.stdout
    assert "pascal5i (split=folder), 1-shot, protocol pfenet, scored at label size; 60 episodes a result" in text
    assert "query images: 60 of fold1." in text and "Warning" not in text
    assert "| box | -5.0 [-5.0, -5.0] (0.000) |" in text
    assert "| box:confidence | -15.0 [-15.0, -15.0] (0.000) |" in text
    assert "| query images | MM-Net | box | box:confidence | box minus MM-Net | box:confidence minus MM-Net |" in text
    content = json.loads((tmp_path / "new" / "table.json").read_text())
    first, second, _ = content["rows"]
    assert first["cells"]["fold1"]["miou"] == pytest.approx((hits + 5).mean())
    assert second["classes"]["fold1"]["a"]["iou"] == pytest.approx(hits[::2].mean())
    assert second["cells"]["mean"]["difference"]["difference"] == pytest.approx(-5)
    # one line of two panels: a title, three rows and a scale
    assert Image.open(tmp_path / "new" / "table.png").height == 24 + 3 * 22 + 26 + 36
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_rows_of_several_folds_end_with_their_mean(tmp_path, hits):
    def row(name, *more):
        files = [write(tmp_path / f"{name}{i}.json", hits + m, CLASSES, fold=i) for i, m in enumerate(more)]
        return f"{name}=" + ",".join(map(str, files))

    done = compare(row("ours", 1, 4), row("theirs", 0, 0))
    assert done.returncode == 0, done.stderr
    assert "| minus ours | fold0 | fold1 | mean |" in done.stdout
    assert (
        "| theirs | -1.0 [-1.0, -1.0] (0.000) | -4.0 [-4.0, -4.0] (0.000) | -2.5 [-2.5, -2.5] (0.000) |" in done.stdout
    )
    assert "| a (fold0) | 30 |" in done.stdout and not list(tmp_path.glob("*.png"))


def test_a_row_of_several_training_seeds_has_an_interval_over_them_too(tmp_path, hits):
    def row(name, *gains):
        written = [
            write(tmp_path / f"{name}{i}.json", hits + gain, CLASSES, trained_seed=seed)
            for i, (seed, gain) in enumerate(gains)
        ]
        return f"{name}=" + ",".join(map(str, written))

    done = compare(
        row("a", (1, 0), (2, 5), (3, 10)), row("b", (3, 12), (1, 2), (2, 7)), "--output", f"{tmp_path}/table"
    )
    assert done.returncode == 0, done.stderr
    # paired by seed, whatever the order: each is 2 points better
    assert "| b | +2.0 [+2.0, +2.0] (0.000), seeds [+2.0, +2.0] (0.000) |" in done.stdout
    assert "Intervals after the word seeds do: a hierarchical bootstrap over training seeds, then query" in done.stdout
    cell = json.loads((tmp_path / "table.json").read_text())["rows"][0]["cells"]["fold1"]
    assert np.ptp(cell["seeds95"]) > 2 * np.ptp(cell["interval95"])


def test_few_query_images_give_a_warning(tmp_path):
    one, other = (write(tmp_path / f"{name}.json", [4, 4, 4, 4]) for name in "ab")
    done = compare(one, other)
    assert (
        "Warning: with fewer than 30 query images the intervals are too narrow: fold1 (4), a (2), b (2)." in done.stdout
    )


def test_incomparable_results_are_refused_in_one_sentence(tmp_path):
    ours = write(tmp_path / "ours.json", [4, 4, 4, 4])
    others = {
        "shots": write(tmp_path / "shots.json", [4, 4, 4, 4], shots=5),
        "fold": write(tmp_path / "fold.json", [4, 4, 4, 4], fold=2),
        "same": write(tmp_path / "other" / "ours.json", [4, 4, 4, 4]),
        "both": write(tmp_path / "both.json", [4, 4, 4, 4], baselines={"confidence": [1, 1, 1, 1]}),
    }
    refused = {
        (ours,): "give the results of at least two rows",
        (ours, others["shots"]): "shots cannot be compared with ours: the results of fold 1 differ in shots (5 and 1).",
        (
            ours,
            others["fold"],
        ): "fold cannot be compared with ours: its results are of fold 2, but those of ours",
        (ours, others["same"]): "two rows are called ours; name them: NAME=RESULT.json.",
        (ours, f"{ours}:untrained"): f"{ours}: the table of episodes has no counts of the baseline untrained (it has n",
        (ours, tmp_path / "none.json"): f"{tmp_path}/none.json does not exist",
        (ours, f"b={others['shots']},{ours}:x"): "no counts of the baseline x",
        (ours, others["same"], "--outptu=x"): "unknown flag --outptu; did you mean --output?",
        (
            ours,
            f"b={others['same']},{others['both']}:confidence",
        ): "row b mixes own and confidence; give all its results",
    }
    for arguments, sentence in refused.items():
        done = compare(*arguments, f"--output={tmp_path}/out/table")
        assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1, done
    assert not (tmp_path / "out").exists()


def test_an_unwritable_output_is_refused_before_the_table(tmp_path):
    ours, theirs = (write(tmp_path / f"{name}.json", [4, 4, 4, 4]) for name in "ab")
    for output, sentence in {
        f"{ours}/table": "cannot be written.",
        "/proc/table": "cannot be written.",  # which os.access allows to root
        str(tmp_path): "is a folder; give the name of a file.",
    }.items():
        done = compare(ours, theirs, f"--output={output}")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"--output={output} {sentence}\n")
