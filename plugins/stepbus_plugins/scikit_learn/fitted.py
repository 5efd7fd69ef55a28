"""The run that a fit left: a folder in this process, the bytes of its files in a pickle."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepbus import BadInput, open_trainer

_NOT_NEEDED = "checkpoints"  # to go on with training, and nobody predicts with them


def temporary_folder() -> Path:
    """Return a new folder; whoever asked for it removes it."""
    return Path(tempfile.mkdtemp(prefix="stepbus-"))


class FittedRun:
    """A finished run, ready to predict.

    Args:
        folder: The run's folder.
        temporary: A folder to remove with this object, or at the end of the process.

    Attributes:
        plugins: What was passed in Python; whoever trained says it.
    """

    def __init__(self, folder: Path, temporary: Path | None = None) -> None:
        self._folder: Path | None = folder
        self.plugins: Sequence[Any] = ()
        self._files: dict[str, bytes] = {}
        self._opened, self._writing = threading.local(), threading.Lock()
        self._removed_with(temporary)

    def _removed_with(self, temporary: Path | None) -> None:
        if temporary is not None:
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    @property
    def trainer(self) -> Any:
        """What predicts; opened on first use, by each thread for itself: what MLX computes belongs to a thread."""
        if not hasattr(self._opened, "trainer"):
            # It holds what a fit of this process wrote, or came with a pickle, which is code in any case.
            self._opened.trainer = open_trainer(self.folder, trust=True, plugins=self.plugins)
        return self._opened.trainer

    @property
    def folder(self) -> Path:
        """The run's folder; that of a pickle's is written on first use."""
        with self._writing:
            if self._folder is None:
                folder = temporary_folder()
                self._removed_with(folder)
                for name, content in self._files.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)
                self._folder, self._files = folder, {}
            return self._folder

    def __getstate__(self) -> dict[str, Any]:
        """Return the files by their place in the folder: safetensors, JSON, tables of tokens; no checkpoint."""
        if self._folder is None:
            return {"files": self._files, "plugins": self.plugins}
        if not self._folder.is_dir():
            raise BadInput(
                f"{self._folder}: expected the run that the estimator was fitted by, found nothing; fit it anew"
            )
        found = {}
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder)
            if _NOT_NEEDED not in name.parts and path.is_file() and not path.is_symlink():
                found[name.as_posix()] = path.read_bytes()
        return {"files": found, "plugins": self.plugins}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._folder, self._files, self.plugins = None, state["files"], state["plugins"]
        self._opened, self._writing = threading.local(), threading.Lock()
