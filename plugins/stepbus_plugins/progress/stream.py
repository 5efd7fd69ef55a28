"""The stream that progress writes to, which outlives its reader."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import IO

log = logging.getLogger(__name__)


class TolerantFile:
    """A text stream that never raises: a reader that has gone away must not end a training run.

    Args:
        file: The stream to write to.
        strip: Whether blanks at the ends of lines are dropped.
    """

    def __init__(self, file: IO[str], strip: bool = False) -> None:
        self.file = file
        self.strip = strip
        self.encoding = getattr(file, "encoding", None) or "utf-8"
        self.dead = False

    def write(self, text: str) -> int:
        if not self.dead:
            try:
                self.file.write(re.sub(r" +(?=\n)", "", text) if self.strip else text)
            except UnicodeEncodeError:
                self.file.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError) as error:
                self._die(error)
        return len(text)

    def flush(self) -> None:
        if not self.dead:
            try:
                self.file.flush()
            except (OSError, ValueError) as error:
                self._die(error)

    def isatty(self) -> bool:
        try:
            return self.file.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        return self.file.fileno()

    def _die(self, error: Exception) -> None:
        self.dead = True
        if isinstance(error, BrokenPipeError):
            # What is still buffered would raise again when Python flushes it at exit.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.file.fileno())
                os.close(nowhere)
        elif isinstance(error, OSError):
            log.warning("progress cannot be shown any more: %s; the run goes on", error.strerror)
