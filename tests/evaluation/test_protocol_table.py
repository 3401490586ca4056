"""One checkpoint under several protocols: the table of hand-made results."""

import json

from mmnet_jax.evaluation.protocol_table import protocols_json, protocols_markdown, write_protocols

BAM = {
    "dataset": "pascal5i",
    "split": "protocol",
    "fold": 1,
    "shots": 5,
    "step": 7,
    "protocol": "bam",
    "scoring": "label size",
    "episodes": 1000,
    "seeds": [510, 365],
    "miou": 50.5,
    "interval95": [49, 52.25],
    "fb_iou": 70.25,
    "class_iou": {"bus": 50.5},
    "by_seed": [50, 51],
    "baselines": {"confidence": {"miou": 40.125, "threshold": 0.5}},
    "hardware": "1 x cpu",
}
HSNET = BAM | {"protocol": "hsnet, 48 of 451 queries", "scoring": "400 x 400", "seeds": [0], "miou": 53.75}
HSNET |= {"interval95": [50.0, 56.0], "baselines": {}}


def test_the_table_gives_the_range_of_miou_over_protocols(tmp_path):
    table = protocols_json([BAM, HSNET], {"pfenet": "no class has 6 images."})
    assert table["range"] == 3.25 and (table["fold"], table["shots"], table["step"]) == (1, 5, 7)
    assert [row["fit"] for row in table["rows"]] == ["pad", "squash"] and "hardware" not in table["rows"][0]
    assert table["rows"][0]["baselines"] == {"confidence": 40.125}
    assert protocols_markdown(table).splitlines() == [
        "| protocol | image | scored at | episodes | mIoU [95% interval] | FB-IoU | confidence mIoU |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| bam | padded | label size | 2 x 1,000 | 50.50 [49.00, 52.25] | 70.25 | 40.12 |",
        "| hsnet, 48 of 451 queries | squashed | 400 x 400 | 1,000 | 53.75 [50.00, 56.00] | 70.25 |  |",
        "",
        "The protocol alone changes the mIoU by 3.25 points, from bam to hsnet, 48 of 451 queries.",
        "",
        "Not scored: no class has 6 images.",
    ]
    files = write_protocols(tmp_path / "new" / "all.json", table)
    assert [file.name for file in files] == ["all.json", "all.md"]
    assert json.loads(files[0].read_text()) == table and files[1].read_text() == protocols_markdown(table)


def test_the_range_of_a_single_protocol_is_zero():
    table = protocols_json([BAM], {})
    assert table["range"] == 0 and protocols_markdown(table).count("\n") == 3
