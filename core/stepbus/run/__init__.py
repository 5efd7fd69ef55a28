"""The outer loop: fits in order, the run's folder, ledger, resume and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.files import CHECKPOINTS as CHECKPOINTS
    from stepbus.run.files import PREDICT_FILE as PREDICT_FILE
    from stepbus.run.files import RUN_FILE as RUN_FILE
    from stepbus.run.folder_store import FolderStore as FolderStore
    from stepbus.run.models import fits_of as fits_of
    from stepbus.run.models import is_run as is_run
    from stepbus.run.models import models_of as models_of
    from stepbus.run.outer_loop import Run as Run
    from stepbus.run.resume import Start as Start
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        files="CHECKPOINTS PREDICT_FILE RUN_FILE",
        folder_store="FolderStore",
        models="fits_of is_run models_of",
        outer_loop="Run",
        resume="Start",
    )
