"""Location, key and failure of the persistent compilation cache."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from mmnet_jax import evaluate, predict, pretrain, train
from mmnet_jax.benchmark.tasks import reset_resident_peak, resident_peak
from mmnet_jax.cli.compilation import COMPILED, MAX_BYTES, cache_compilations, cpu_key, trim_after_compilation
from tests.cli.call import call

SETTINGS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    """Configures jax as without JAX_COMPILATION_CACHE_DIR, and restores its settings afterwards."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compile_something() -> None:
    jax.jit(lambda x: 3 * x + 1)(jnp.ones(7))


def test_programs_are_cached_and_read_again(tmp_path: Path) -> None:
    events: list[str] = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
    cache_compilations(str(tmp_path))
    for _ in range(2):
        jax.clear_caches()
        compile_something()
    kept = list((tmp_path / cpu_key()).glob("*-cache"))
    assert kept and events.count("/jax/compilation_cache/cache_hits") == len(kept)
    assert jax.config.jax_compilation_cache_max_size == MAX_BYTES


def test_the_users_cache_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: str(tmp_path / name))
    cache_compilations(None)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mmnet_jax" / cpu_key())


def test_the_variable_of_jax_takes_precedence(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    cache_compilations(str(tmp_path / "other"))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "other").exists()


def test_off_disables_the_cache(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    cache_compilations("off")
    compile_something()
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_prints_one_line_and_disables_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    cache_compilations(str(tmp_path / "file"))
    compile_something()
    folder = tmp_path / "file" / cpu_key()
    advice = "set --compilation_cache=DIR for another folder, or --compilation_cache=off"
    assert capsys.readouterr().err == f"note: compiled programs are not cached: {folder}: Not a directory; {advice}.\n"


def test_another_cpu_model_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(text: str) -> str:
        monkeypatch.setattr(Path, "read_text", lambda self: text)
        return cpu_key()

    block = "processor\t: {}\nmodel name\t: AMD EPYC\ncpu MHz\t\t: {}\nflags\t\t: fpu sse {}\n\nprocessor\t: 1\n"
    assert key(block.format(0, 2400, "avx")) == key(block.format(3, 3100, "avx"))
    assert key(block.format(0, 2400, "avx")) != key(block.format(0, 2400, "avx512f"))
    assert key(block.format(0, 2400, "avx")).startswith("amd-epyc-")


def test_incomplete_entries_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / cpu_key()
    folder.mkdir()
    for name in ("torn-cache", "whole-cache"):
        (folder / name).touch()
    (folder / "whole-atime").write_bytes(bytes(8))
    cache_compilations(str(tmp_path))
    assert [entry.name for entry in folder.glob("*-cache")] == ["whole-cache"]


@pytest.mark.parametrize("command", [train, pretrain, evaluate, predict])
def test_commands_apply_the_flag(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str | None] = []
    monkeypatch.setattr("mmnet_jax.cli.command.cache_compilations", chosen.append)
    required = ("support", "query", "output") if command is predict else ()
    words = [f"--{name}=x" for name in ("workdir", *required)]
    call(command.define_flags, lambda: None, *words, "--compilation_cache=off")
    assert chosen == ["off"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_after_a_long_compilation_freed_memory_is_returned_to_the_system() -> None:
    def resident() -> int:
        reset_resident_peak()
        return resident_peak() or 0

    trim_after_compilation()
    blocks = [np.ones(10_000) for _ in range(4_000)]  # 320 MB on the heap
    kept, blocks = blocks[::100], []
    for seconds, returned in ((0.1, False), (5.0, True)):
        before = resident()
        jax.monitoring.record_event_duration_secs(COMPILED, seconds)
        assert (resident() < before - 1e8) == returned
    assert len(kept) == 40
