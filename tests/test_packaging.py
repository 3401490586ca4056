import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import mmnet_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def files(folder: str) -> set[str]:
    """The files of a folder of the repository, by their paths in it, without what Python and Sphinx write there."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not {"__pycache__", ".pytest_cache"} & set(path.parts)}


def test_wheel_and_sdist_are_complete(tmp_path, monkeypatch):
    hatchling = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    package, configs = files("mmnet_jax"), files("configs")
    with zipfile.ZipFile(tmp_path / hatchling.build_wheel(str(tmp_path))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    # no top-level `configs`: a user's own package may have the name
    assert names == package | {f"mmnet_jax/{name}" for name in configs}
    with tarfile.open(tmp_path / hatchling.build_sdist(str(tmp_path))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    root = {"README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", ".ci/run"}
    assert names >= package | configs | files("scripts") | files("tests") | files("docs") | root


def test_citation_and_changelog_name_the_version():
    assert f"\nversion: {mmnet_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {mmnet_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_requirements_file_and_package_have_the_same_dependencies():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert required == set(PROJECT["dependencies"]) - {"jax>=0.10"} | set(EXTRAS["cuda12"])


def test_every_dependency_is_used():
    modules = {
        "absl-py": "absl",
        "array-record": "array_record",  # TFDS imports it for this file format
        "ml-collections": "ml_collections",
        "orbax-checkpoint": "orbax",
        "pillow": "PIL",
        "tensorflow-datasets": "tensorflow_datasets",
    }
    source = "\n".join(path.read_text() for path in (ROOT / "mmnet_jax").rglob("*.py"))
    for requirement in PROJECT["dependencies"]:
        name = re.split(r"[><=]", requirement)[0]
        assert re.search(rf"\b{modules.get(name, name)}\b", source), name


def test_hooks_and_contributors_run_the_checks_of_ci():
    def first_block(text):
        return re.search(r"```bash\n(.*?)```", text, re.DOTALL)[1].splitlines()

    checks = re.search(r'say "lint and types"\n(.*?)\nsay ', (ROOT / ".ci" / "run").read_text(), re.DOTALL)[1]
    commands = [line for line in checks.splitlines() if line.startswith(".venv/bin/")]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert len(commands) == 3 and commands == re.findall(r"entry: (.*)", hooks)
    assert "repo: local" in hooks and hooks.count("repo:") == 1  # committing needs no network

    setup, tests, lint = first_block((ROOT / "CONTRIBUTING.md").read_text())
    assert tests == first_block((ROOT / "README.md").read_text().partition("<!-- test -->")[2])[-1]
    assert lint == ".venv/bin/pre-commit run --all-files"
    assert re.search(r"'\.\[(.*?)\]'", setup)[1] == "test,dev" and {"test", "dev"} <= set(EXTRAS)
