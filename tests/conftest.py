"""Tests run on 8 virtual CPU devices, check types and shapes, and refuse implicit promotion."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")  # nothing is written into the user's cache
# on arrays as small as these, PyTorch's threads mostly wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest

from tests.strict import be_strict

be_strict()
# most tests run small arrays once: compiling them is the cost
jax.config.update("jax_disable_most_optimizations", True)

TESTS = Path(__file__).parent
REFERENCE = TESTS / "reference"
FAST = ("cli", "data", "drawing", "reproduction", "storage", "test_compare", "test_config", "test_manifest_command")
FAST += ("test_packaging", "test_score", "test_train_command", "evaluation/test_draws", "evaluation/test_comparison")
FAST += ("evaluation/test_html_report", "evaluation/test_m", "evaluation/test_p", "evaluation/test_report")
FAST += ("evaluation/test_shipped", "evaluation/test_stored", "evaluation/test_transfer", "inference/test_folder")
FAST += ("inference/test_sheet", "inference/test_supports", "pretraining/test_crops", "pretraining/test_imagenet")
FAST += ("weights/test_checkpoints", "weights/test_files", "weights/test_table", "workdir/test_folder")
FAST += ("workdir/test_provenance",)
"""Path prefixes of the tests marked ``fast``: data, configs, files, commands and metrics."""


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
    """Compiles with all of XLA's optimisations, as for users."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A stream whose reader has ended, as standard output after ``| head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


def folder_or_skip(variable: str, name: str, what: str) -> Path:
    """The folder that an environment variable names, or the one beside the checkout; skips the test if it is absent."""
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
    """The folder of small faulty inputs from practice, which only some machines have."""
    return folder_or_skip("MMNET_CASES", "cases", "inputs from practice")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = {
        outcome: sum("test_goldens" in report.nodeid for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "skipped")
    }
    if any(outcomes.values()):
        terminalreporter.write_line("goldens: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))
