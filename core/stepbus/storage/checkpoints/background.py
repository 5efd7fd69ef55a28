"""Checkpoints written by a thread, one at a time, while the main thread goes on with what it was at."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BEHIND = 19  # niceness above that of the other threads: whoever computes goes before


class Writer:
    """Does work on the disk in the order in which it is given; what goes wrong is raised where one asks for it.

    Its threads are no daemons: an interpreter that exits waits for them. A fork has no part in what its parent began.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._last: threading.Thread | None = None  # what was begun last; it waits for what was begun before
        self._ended = threading.Event()  # whether no checkpoint is being written
        self._ended.set()
        self._written: list[Path] = []
        self._error: BaseException | None = None

    def start(self, write: Callable[[], Path], *, beside: bool = True) -> None:
        """Begin to write a checkpoint; the one before is waited for.

        Args:
            write: Writes it and returns its folder. It may not call MLX.
            beside: Whether in a thread; else it is written now.
        """
        self.wait()
        if not beside:
            self._written.append(write())
            return

        def work() -> None:
            try:
                path = write()
                self._written.append(path)
            finally:
                self._ended.set()

        try:
            self._ended.clear()
            self.also(work)
        except BaseException:
            self._ended.set()
            raise

    def also(self, work: Callable[[], object]) -> None:
        """Begin with something else, once what was begun before is done.

        Args:
            work: Does it; what it raises is raised where one asks for checkpoints.
        """
        before, self._process = self._begun, os.getpid()
        self._last = threading.Thread(target=self._run, args=(work, before), name="stepbus-checkpoint", daemon=False)
        self._last.start()

    @property
    def failed(self) -> bool:
        """Whether `written` is going to raise."""
        return self._error is not None

    def written(self) -> list[Path]:
        """Return the checkpoints that became durable since the last call.

        Raises:
            BaseException: What went wrong, once.
        """
        if self._begun is not None and not self._ended.is_set():
            return []
        if self._written:
            self._written, found = [], self._written
            return found
        self._error, error = None, self._error
        if error is not None:
            raise error
        return []

    def wait(self, *, everything: bool = False) -> None:
        """Wait for the checkpoint that is being written, to its end: the folder is this process's until then.

        Args:
            everything: Wait for all else as well.

        Raises:
            KeyboardInterrupt: The user asked for the end meanwhile.
        """
        interrupt: BaseException | None = None
        while (begun := self._begun) is not None and (everything or not self._ended.is_set()):
            try:
                begun.join() if everything else self._ended.wait()
            except BaseException as error:
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt

    @property
    def _begun(self) -> threading.Thread | None:
        """The thread of this process that does what was begun last."""
        alive = self._last is not None and self._process == os.getpid() and self._last.is_alive()
        return self._last if alive else None

    def _run(self, work: Callable[[], object], before: threading.Thread | None) -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own
            with suppress(OSError):
                niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness + BEHIND)
        if before is not None:
            before.join()
        try:
            work()
        except BaseException as error:
            self._error = self._error or error
