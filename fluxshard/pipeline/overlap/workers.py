"""Threads that work for a run, and end with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def worker(name: str) -> ThreadPoolExecutor:
    """One thread that does what it is given in that order; `end` ends it.

    Args:
      name: what it does, for whoever looks at threads.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"fluxshard-{name}")


def end(workers: tuple[ThreadPoolExecutor, ...]) -> None:
    """Ends threads: what they do now is finished, what waits is dropped.

    Raises:
      KeyboardInterrupt: somebody asked meanwhile; the threads have ended.
    """
    interrupt: KeyboardInterrupt | None = None
    for one in workers:
        while True:
            try:
                one.shutdown(wait=True, cancel_futures=True)
                break
            except KeyboardInterrupt as error:  # files and videos must not be closed below a thread that uses them
                interrupt = error
    if interrupt is not None:
        raise interrupt
