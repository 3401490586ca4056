"""Every test runs on 8 virtual CPU devices, with the package's types and shapes checked and no implicit promotion."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")  # nothing is written into the user's cache
# PyTorch's threads spend more time waiting for each other than computing on arrays this small
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest

from tests.strict import be_strict

be_strict()
# most tests run small arrays once: compiling them is the cost
jax.config.update("jax_disable_most_optimizations", True)

TESTS = Path(__file__).parent
REFERENCE = TESTS / "reference"
FAST = ("cli", "data", "drawing", "evaluation/test_draws", "evaluation/test_m", "evaluation/test_p")
FAST += ("evaluation/test_comparison", "evaluation/test_html_report", "evaluation/test_report")
FAST += ("evaluation/test_shipped", "evaluation/test_stored", "evaluation/test_transfer")
FAST += ("test_compare", "test_manifest_command")
FAST += ("inference/test_folder", "inference/test_sheet", "inference/test_supports")
FAST += ("pretraining/test_crops", "pretraining/test_imagenet")
FAST += ("reproduction", "storage", "test_config", "test_packaging", "test_score", "test_train_command")
FAST += (
    "weights/test_checkpoints",
    "weights/test_files",
    "weights/test_table",
    "workdir/test_folder",
    "workdir/test_provenance",
)
"""Where paths of the tests marked ``fast`` begin: data, configs, files and commands, and metrics."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(FAST) and "slow" not in item.keywords:
            item.add_marker(pytest.mark.fast)
        if "slow" in item.keywords and not config.getoption("--slow") and config.getoption("-m") != "slow":
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow, or alone with -m slow"))


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    """For tests of what users get: XLA with all its optimisations."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A stream that nobody reads any more, as standard output is after ``| head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


def folder_or_skip(variable: str, name: str, what: str) -> Path:
    """The folder that an environment variable names, or the usual one beside the checkout; skips where it is absent."""
    folder = Path(os.environ.get(variable, Path(__file__).parents[2] / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {what} at {folder} ({variable} may name another folder)")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs (VOCdevkit among them), which only some machines have."""
    return folder_or_skip("MMNET_REAL_DATA", "data", "real photographs")


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs from practice that went wrong, which only some machines have."""
    return folder_or_skip("MMNET_CASES", "cases", "inputs from practice")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = {
        outcome: sum("test_goldens" in report.nodeid for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "skipped")
    }
    if any(outcomes.values()):
        terminalreporter.write_line("goldens: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))
