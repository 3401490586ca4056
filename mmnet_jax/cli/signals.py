"""SIGINT, SIGTERM and SIGHUP stop a long job after its current step."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = b"stopping after this step and its checkpoint; a second signal stops immediately\n"
_requests: list[Callable[[], None]] = []  # functions that stop the jobs inside ``interrupts``, the innermost last


class Stopped(Exception):
    """A stage was interrupted and has saved a checkpoint."""


def request_stop() -> bool:
    """Stops the job inside ``interrupts`` after its current step, as a first signal does; False if there is none."""
    if _requests:
        _requests[-1]()
    return bool(_requests)


@contextmanager
def interrupts(message: bytes = STOPPING) -> Iterator[Callable[..., bool]]:
    """Catches SIGINT (Ctrl-C), SIGTERM and SIGHUP. First signal: stop after this step; second: stop immediately.

    Yields ``stop_requested(step)``, to call at every step. Several processes stop at the same step, whichever received
    the signal: jax's preemption service agrees on it. The service needs the SIGTERM handler that
    ``jax.distributed.initialize`` installs; the other signals are forwarded to it.
    """
    import jax
    from jax.experimental import multihost_utils

    # process_count initialises the GPUs, which a launcher must leave to its runs
    several = jax.distributed.is_initialized() and jax.process_count() > 1
    caught = 0
    first: int | None = None

    def catch(number: int, frame: Any) -> None:
        nonlocal caught
        caught += 1
        if caught > 1:
            raise KeyboardInterrupt
        os.write(2, message)  # not print, which the signal may have interrupted
        if several:
            os.kill(os.getpid(), signal.SIGTERM)

    def request() -> None:
        if not caught:
            catch(signal.SIGTERM, None)

    def stop_requested(step: int = 0) -> bool:
        nonlocal first
        if not several:
            return caught > 0
        first = step if first is None else first
        # numbers start at 1: for a signal before the first step, the processes agree on number 1
        return multihost_utils.reached_preemption_sync_point(step - first + 1)

    wanted = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        wanted.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, catch) for number in wanted}
    except ValueError:  # not in the main thread
        yield lambda step=0: False
        return
    _requests.append(request)
    try:
        yield stop_requested
    finally:
        _requests.remove(request)
        for number, handler in before.items():
            signal.signal(number, handler)
