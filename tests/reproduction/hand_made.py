"""Workdirs of finished runs, written by hand: what a training leaves, without training."""

from __future__ import annotations

import json

from mmnet_jax.reproduction.runs import Settings, planned
from mmnet_jax.workdir.provenance import code_fingerprint

SETTINGS = ("training.steps=8", "evaluation.episodes=4", "model.random_backbone=True", "training.cache_features=False")


def settings(folder, *changes):
    return Settings(folder / "runs", str(folder / "data"), str(folder / "weights"), (*SETTINGS, *changes))


def plan_one(folder, reference="photographs:paper", fold=1, seed=321, changes=()):
    return planned(reference, fold, seed, settings(folder, *changes))


def begin(run, workdir=None, step=4, code=None):
    """A workdir with a checkpoint."""
    workdir = workdir or run.folder
    (workdir / "checkpoints" / str(step)).mkdir(parents=True)
    text = {"version": "0.1.0", "format": 1, "config": json.loads(run.config.to_json_best_effort())}
    text["code"] = code or code_fingerprint(run.config)
    (workdir / "config.json").write_text(json.dumps(text))
    return workdir


def finish(run, hits, workdir=None, code=None, classes="aabb", queries=None, **summary):
    """A workdir with a result: episode i, of query i if not told, hits ``hits[i]`` of a union of 100 pixels."""
    workdir = begin(run, workdir, step=8, code=code)
    ious = {c: sum(h for h, k in zip(hits, classes, strict=True) if k == c) / classes.count(c) for c in set(classes)}
    (workdir / "results").mkdir()
    text = {
        "dataset": "pascal5i",
        "fold": run.fold,
        "shots": run.config.shots,
        "protocol": "pfenet",
        "episodes": len(hits),
        "miou": sum(ious.values()) / len(ious),
        "class_iou": ious,
        "step": 8,
        "commit": "c0ffee",
        "code": code or code_fingerprint(run.config),
        "hardware": "1 x cpu",
        "date": "2026-01-02T03:04:05+00:00",
    } | summary
    (workdir / "results" / "result.json").write_text(json.dumps(text))
    asked = zip(queries or range(len(hits)), classes, hits, strict=True)
    rows = [f"q{q},{k},s{i},100,{h},100,{h}" for i, (q, k, h) in enumerate(asked)]
    head = "query,class,supports,area,intersection,union,iou"
    (workdir / "results" / "result.episodes.csv").write_text("\n".join([head, *rows]) + "\n")
    return workdir
