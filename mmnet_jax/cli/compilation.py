"""The persistent compilation cache: programs compiled once on this machine are later read from files."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import re
import sys
import warnings
from pathlib import Path

from absl import flags

flags.disclaim_key_flags()  # --help lists the flag as one of the command that defines it

FLAG, OFF = "compilation_cache", "off"
MAX_BYTES = 2**30  # for one CPU model; beyond it jax deletes the least recently used entries
COMPILED = "/jax/core/compile/backend_compile_duration"  # jax's event at the end of a compilation
CPU_LINES = "vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features"


def define_cache_flag() -> None:
    """Defines ``--compilation_cache``, which ``cli.command.run`` applies."""
    text = "Folder for compiled programs, or off (default: mmnet_jax in the user's cache folder). "
    flags.DEFINE_string(FLAG, None, text + "JAX_COMPILATION_CACHE_DIR takes precedence.")


def cache_compilations(choice: str | None) -> None:
    """Caches compiled programs in the folder ``choice``; None: in the user's cache folder; ``off``: nowhere.

    Does nothing if ``JAX_COMPILATION_CACHE_DIR`` is set. If the folder cannot be written, prints one line on stderr and
    turns the cache off.
    """
    import jax

    if choice == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
    now = jax.config.values
    if not now["jax_enable_compilation_cache"] or now["jax_compilation_cache_dir"] is not None:
        return
    from platformdirs import user_cache_dir

    folder = Path(choice or user_cache_dir("mmnet_jax", appauthor=False)) / cpu_key()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _delete_incomplete(folder)
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = f"set --{FLAG}=DIR for another folder, or --{FLAG}={OFF}"
        print(f"note: compiled programs are not cached: {folder}: {reason}; {advice}.", file=sys.stderr)
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": MAX_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_enable_xla_caches": "none",  # their size is unbounded
    }
    for name, value in settings.items():
        jax.config.update(name, value)
    # a full disk or a damaged entry only costs time
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


@functools.cache
def trim_after_compilation() -> None:
    """Makes glibc return the memory that a long compilation has freed, 0.2 to 0.6 GB, to the system."""
    import jax

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def listen(event: str, duration_secs: float, **_: object) -> None:
        if event == COMPILED and duration_secs > 0.2:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(listen)


def cpu_key() -> str:
    """A folder name for this CPU's model and instruction set.

    Machines may share a home folder, and code compiled for another CPU may crash.
    """
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        first = ""
    lines = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", first, re.MULTILINE))
    model = lines.get("model name") or platform.processor() or platform.machine()
    text = "\n".join([model, *(lines.get(name, "") for name in CPU_LINES)])
    name = re.sub(r"\W+", "-", model).strip("-").lower()
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _delete_incomplete(folder: Path) -> None:
    """Deletes entries without an access time, left by killed processes: jax writes this file last and requires it.

    Raises ``OSError`` if files cannot be written, locked or deleted there.
    """
    from filelock import FileLock

    with FileLock(folder / ".lockfile", timeout=10):  # jax's own lock
        for entry in folder.glob("*-cache"):
            accessed = entry.with_name(f"{entry.name.removesuffix('-cache')}-atime")
            if not accessed.exists() or accessed.stat().st_size != 8:
                entry.unlink()
