"""``scripts/port_weights.py`` run in the tests' own process."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.cli.call import call

SCRIPT = Path(__file__).parents[2] / "scripts/port_weights.py"


def port_weights(word, *arguments):
    """Calls the script with its first argument, which is no flag, and its flags."""
    spec = importlib.util.spec_from_file_location("port_weights", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return call(lambda: script.define_flags(word), lambda: script.main(word), *arguments)
