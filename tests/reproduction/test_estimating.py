"""Times: operations counted, speeds from logs, steps, and the whole with several at a time."""

from __future__ import annotations

import json
import platform

import pytest

from mmnet_jax.reproduction import estimating
from mmnet_jax.reproduction.costs import Cost, episode_cost
from mmnet_jax.reproduction.estimating import (
    Rate,
    in_all,
    logged_rate,
    measured_rate,
    remaining_seconds,
    store_seconds,
    training_steps,
)
from mmnet_jax.reproduction.states import Planned, State
from tests.reproduction.hand_made import begin, plan_one
from tests.training.tiny_training import tiny_dataset


def test_more_shots_cost_more_and_stored_features_less(tmp_path):
    one, five = (episode_cost(plan_one(tmp_path, f"photographs:{name}").config) for name in ("paper", "qmm_5"))
    cached = episode_cost(plan_one(tmp_path, changes=["training.cache_features=True"]).config)
    assert 1.5 * one.evaluation < five.evaluation < 5 * one.evaluation
    assert cached.evaluation < one.evaluation / 2 and cached.training == pytest.approx(3 * cached.evaluation)
    frozen = one.evaluation - cached.evaluation
    assert one.training == pytest.approx(frozen + cached.training)


def test_the_rate_comes_from_logs_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "episode_cost", lambda config: Cost(10.0, 4.0))
    for seed, host, speed in ((1, platform.node(), 3.0), (2, "elsewhere", 99.0)):
        workdir = begin(plan_one(tmp_path, seed=seed))
        (workdir / "log").mkdir()
        records = [{"step": i, "episodes_per_second": s} for i, s in enumerate([0.1, speed, speed])]
        (workdir / "log" / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        workdir.with_name(f"seed{seed}.log").write_text(f"# 2026-01-02T03:04:05+00:00 on {host}: python -m x\n")
    rate = logged_rate(tmp_path / "runs")
    assert rate[:2] == (30.0, "by the logs of 1 run(s) on this machine")
    assert rate.of(plan_one(tmp_path, fold=2)) == 30
    assert rate._replace(operations=7).of(plan_one(tmp_path, fold=2)) == 30  # its own configuration's
    assert rate._replace(operations=7).of(plan_one(tmp_path, "photographs:global")) == 7
    assert logged_rate(tmp_path / "none") is None


def test_a_run_takes_what_is_left_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "episode_cost", lambda config: Cost(10.0, 4.0))
    run = plan_one(tmp_path, changes=["training.batch_size=2"])
    rate = Rate(2.0, "")
    assert remaining_seconds(Planned(run, State("new", run.folder)), rate) == (8 * 2 * 10 + 4 * 4) / 2
    assert remaining_seconds(Planned(run, State("begun", run.folder, 5)), rate) == (3 * 2 * 10 + 4 * 4) / 2
    assert remaining_seconds(Planned(run, State("done", run.folder, 8)), rate) == 0
    often = plan_one(tmp_path, changes=["training.evaluate_every=4", "training.evaluation_episodes=6"])
    seconds = remaining_seconds(Planned(often, State("new", often.folder)), rate)
    assert seconds == (8 * 4 * 10 + (2 * 6 + 4) * 4) / 2
    later = remaining_seconds(Planned(often, State("begun", often.folder, 5)), rate)
    assert later == (3 * 4 * 10 + (1 * 6 + 4) * 4) / 2
    odd = plan_one(tmp_path, changes=["training.evaluate_every=3", "training.evaluation_episodes=6"])
    assert remaining_seconds(Planned(odd, State("new", odd.folder)), rate) == (8 * 4 * 10 + (3 * 6 + 4) * 4) / 2


def test_a_missing_store_of_features_takes_its_time_once(tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "image_cost", lambda config: 10.0)
    monkeypatch.setattr(estimating, "missing_data", lambda config: None)
    monkeypatch.setattr(estimating, "open_dataset", lambda config: tiny_dataset())
    cached = ["training.cache_features=True", "data.image_size=33"]
    names = ("paper", "global", "pfenet")
    runs = [plan_one(tmp_path, f"photographs:{name}", changes=cached) for name in names]
    splits = tiny_dataset().train, tiny_dataset().test
    images = sum(map(len, splits))
    masks = sum(1 + int((split.counts[:, 1:] > 0).sum()) for split in splits)
    assert store_seconds(runs[:2], Rate(2.0, "")) == images * 10 / 2
    assert store_seconds(runs, Rate(2.0, "")) == (images + masks) * 10 / 2
    assert store_seconds([plan_one(tmp_path)], Rate(2.0, "")) == 0
    monkeypatch.setattr(estimating, "rows_to_compute", lambda *_: 0)  # all there
    assert store_seconds(runs, Rate(2.0, "")) == 0


def test_steps_are_assumed_where_the_data_are_missing(tmp_path):
    run = plan_one(tmp_path, "pascal_1shot", changes=["training.epochs=2"])
    assert training_steps(run.config) == (8, False)
    run.config.training.steps = None
    assert training_steps(run.config) == (2 * 1250, True)


def test_several_at_a_time_take_as_long_as_the_fullest():
    assert in_all([3, 1, 1, 1], 2) == 3
    assert in_all([1, 1, 5], 2) == 6
    assert in_all([], 4) == 0


def test_a_convolution_tells_a_speed_shared_by_processes():
    assert measured_rate(1, seconds=0.05).operations > 1e8
