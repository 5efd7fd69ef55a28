"""The outer loop: fits in order, the run's folder, ledger, resume and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.folders import free_folder as free_folder
    from stepbus.run.outer_loop import Run as Run
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        folders="free_folder",
        outer_loop="Run",
    )
