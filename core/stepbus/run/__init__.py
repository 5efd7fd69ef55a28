"""The outer loop: fits in order, the run's folder, ledger, resume and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.folder_store import FolderStore as FolderStore
    from stepbus.run.folders import FITS as FITS
    from stepbus.run.folders import read_run as read_run
    from stepbus.run.outer_loop import Run as Run
    from stepbus.run.plan import Plan as Plan
    from stepbus.run.resume import Start as Start
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        folder_store="FolderStore",
        folders="FITS read_run",
        outer_loop="Run",
        plan="Plan",
        resume="Start",
    )
