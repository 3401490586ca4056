import time

from mmnet_jax import benchmark


def test_tasks_take_turns_after_a_first_run_each_and_are_timed_by_themselves():
    order, said = [], []
    tasks = {"a": lambda: order.append("a"), "nap": lambda: order.append("nap") or time.sleep(0.05)}
    seconds = benchmark.measure(tasks, 2, said.append)
    assert order == 3 * ["a", "nap"]
    assert {name: len(s) for name, s in seconds.items()} == {"a": 2, "nap": 2}
    assert 0.05 <= min(seconds["nap"]) < 1
    assert [line.split(":")[0] for line in said] == ["a", "nap"]


def test_the_table_has_medians_in_milliseconds():
    assert benchmark.table({"step": [0.1, 0.3, 0.2]}).splitlines()[-1] == "| step | 200 | 100 | 300 |"
