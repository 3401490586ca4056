"""Interrupts: SIGINT, SIGTERM and SIGHUP end a long job at a safe place."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = b"stopping after this step, with a checkpoint; once more stops now, without\n"
_requests: list[Callable[[], None]] = []  # what asks each job inside ``interrupts`` to stop, the innermost last


class Stopped(Exception):
    """A stage was interrupted and ended with a checkpoint."""


def request_stop() -> bool:
    """Asks the job inside ``interrupts`` to stop after this step, as a first signal does; False if there is none."""
    if _requests:
        _requests[-1]()
    return bool(_requests)


@contextmanager
def interrupts(message: bytes = STOPPING) -> Iterator[Callable[..., bool]]:
    """Catches SIGINT (Ctrl-C), SIGTERM and SIGHUP. First signal: stop after this step; second: stop immediately.

    Of several processes all stop at the same step, whichever got the signal: jax's preemption service agrees on it
    in the background. It needs the handler of SIGTERM that ``jax.distributed.initialize`` installs, so that one stays,
    and the other signals are passed on to it. All call ``stop_requested(step)`` at every step.
    """
    import jax
    from jax.experimental import multihost_utils

    # asked first, since counting processes takes hold of the GPUs, which a runner leaves to its processes
    several = jax.distributed.is_initialized() and jax.process_count() > 1
    caught = 0
    first: int | None = None

    def catch(number: int, frame: Any) -> None:
        nonlocal caught
        caught += 1
        if caught > 1:
            raise KeyboardInterrupt
        os.write(2, message)  # unbuffered: the signal may have interrupted a print
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
        # A signal that came before the first step is agreed on for number 1.
        return multihost_utils.reached_preemption_sync_point(step - first + 1)

    wanted = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        wanted.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, catch) for number in wanted}
    except ValueError:  # signals are caught in the main thread alone
        yield lambda step=0: False
        return
    _requests.append(request)
    try:
        yield stop_requested
    finally:
        _requests.remove(request)
        for number, handler in before.items():
            signal.signal(number, handler)
