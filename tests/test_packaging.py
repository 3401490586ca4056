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


def block(text: str, language: str) -> list[str]:
    """The lines of its first block of code in a language."""
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1].splitlines()


def test_hooks_and_contributors_run_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    checks = re.search(r'say "lint and types"\n(.*?)\nsay ', ci, re.DOTALL)[1]
    commands = [line for line in checks.splitlines() if line.startswith(".venv/bin/")]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert len(commands) == 3 and commands == re.findall(r"entry: (.*)", hooks)
    assert "repo: local" in hooks and hooks.count("repo:") == 1  # committing needs no network

    setup, tests, lint = block((ROOT / "CONTRIBUTING.md").read_text(), "bash")
    readme = (ROOT / "README.md").read_text()
    assert tests == block(readme[readme.index("<!-- test -->") :], "bash")[-1]
    assert lint == ".venv/bin/pre-commit run --all-files"
    assert setup.endswith(".venv/bin/pre-commit install")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.search(r"'\.\[(.*?)\]'", setup)[1] == "test,dev" and {"test", "dev"} <= set(extras)
