from __future__ import annotations

import time

from mmnet_jax import benchmark


def test_tasks_take_turns_after_a_first_run_each():
    order, said = [], []
    seconds = benchmark.measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, said.append)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(s) for name, s in seconds.items()} == {"a": 2, "b": 2}
    assert [line.split(":")[0] for line in said] == ["a", "b"]


def test_seconds_are_those_of_the_task():
    seconds = benchmark.measure({"nap": lambda: time.sleep(0.05)}, 1, lambda line: None)
    assert 0.05 <= seconds["nap"][0] < 1


def test_the_table_has_medians_in_milliseconds():
    assert benchmark.table({"step": [0.1, 0.3, 0.2]}).splitlines()[-1] == "| step | 200 | 100 | 300 |"
