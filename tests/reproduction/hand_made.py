"""Hand-made workdirs of finished runs."""

import json

from mmnet_jax.reproduction.runs import Settings, plan_run
from mmnet_jax.workdir.provenance import CODE

SETTINGS = ("training.steps=8", "evaluation.episodes=4", "model.random_backbone=True", "training.cache_features=False")
OTHER_CODE = CODE._replace(numerics=CODE.numerics - 1, commit="0" * 40)


def settings(folder, *changes, seeds=(321,)):
    return Settings(folder / "runs", seeds, str(folder / "data"), str(folder / "weights"), (*SETTINGS, *changes))


def plan_one(folder, recipe="photographs:paper", fold=1, seed=321, changes=()):
    return plan_run(recipe, fold, seed, settings(folder, *changes))


def begin(run, workdir=None, step=4, code=CODE):
    """A workdir with a checkpoint."""
    workdir = workdir or run.folder
    (workdir / "checkpoints" / str(step)).mkdir(parents=True)
    text = {"format": 1, **code._asdict(), "config": json.loads(run.config.to_json_best_effort())}
    (workdir / "config.json").write_text(json.dumps(text))
    return workdir


def finish(run, hits, workdir=None, code=CODE, classes="aabb", queries=None, **summary):
    """A workdir with a result: episode i (of query i by default) has ``hits[i]`` of 100 pixels of its union."""
    workdir = begin(run, workdir, step=8, code=code)
    ious = {c: sum(h for h, k in zip(hits, classes, strict=True) if k == c) / classes.count(c) for c in set(classes)}
    (workdir / "results").mkdir()
    text = {"dataset": "pascal5i", "fold": run.fold, "shots": run.config.shots, "step": 8, "class_iou": ious}
    text |= {"miou": sum(ious.values()) / len(ious), "protocol": "pfenet", "episodes": len(hits)}
    text |= {"hardware": "1 x cpu", "date": "2026-01-02T03:04:05+00:00"}
    (workdir / "results" / "result.json").write_text(json.dumps(text | code._asdict() | summary))
    asked = zip(queries or range(len(hits)), classes, hits, strict=True)
    rows = [f"q{q},{k},s{i},100,{h},100,{h}" for i, (q, k, h) in enumerate(asked)]
    head = "query,class,supports,area,intersection,union,iou"
    (workdir / "results" / "result.episodes.csv").write_text("\n".join([head, *rows]) + "\n")
    return workdir
