from typing import Any, NamedTuple

import pytest

from mmnet_jax.training.stages import train
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_training import evaluated_config, tiny_dataset


class Finished(NamedTuple):
    workdir: Workdir
    lines: list[str]  # its output
    scored: Any  # the return value of ``train``


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """An uninterrupted training of ``evaluated_config``."""
    workdir, lines = Workdir(tmp_path_factory.mktemp("finished") / "run"), []
    return Finished(workdir, lines, train(evaluated_config(), workdir, lines.append, tiny_dataset()))
