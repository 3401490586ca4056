from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_requirements_and_package_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    cuda = project["optional-dependencies"]["cuda12"]
    assert required == set(project["dependencies"]) - {"jax>=0.10"} | set(cuda)


def test_every_dependency_is_used():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {
        "absl-py": "absl",
        "array-record": "array_record",  # the format that TFDS is asked for by name
        "ml-collections": "ml_collections",
        "orbax-checkpoint": "orbax",
        "pillow": "PIL",
        "tensorflow-datasets": "tensorflow_datasets",
    }
    source = "\n".join(path.read_text() for path in (ROOT / "mmnet_jax").rglob("*.py"))
    for requirement in project["dependencies"]:
        name = re.split(r"[><=]", requirement)[0]
        assert re.search(rf"\b{modules.get(name, name)}\b", source), name
