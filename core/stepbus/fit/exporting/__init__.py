"""What a fit leaves for use: the model as it was before plugins changed it, with its weights, and files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.exporting.files import files_of_plugins as files_of_plugins
    from stepbus.fit.exporting.stored import TRAINING as TRAINING
    from stepbus.fit.exporting.stored import TRAINING_FILE as TRAINING_FILE
    from stepbus.fit.exporting.stored import check_export as check_export
    from stepbus.fit.exporting.stored import stored_tensors as stored_tensors
    from stepbus.fit.exporting.stored import training_tensors as training_tensors
    from stepbus.fit.exporting.unwrapping import Origin as Origin
    from stepbus.fit.exporting.unwrapping import exported_tensors as exported_tensors
    from stepbus.fit.exporting.unwrapping import set_apart as set_apart
    from stepbus.fit.exporting.unwrapping import thaw as thaw
    from stepbus.fit.exporting.unwrapping import unwrap as unwrap
    from stepbus.fit.exporting.unwrapping import unwrap_at_last as unwrap_at_last
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        files="files_of_plugins",
        stored="TRAINING TRAINING_FILE check_export stored_tensors training_tensors",
        unwrapping="Origin exported_tensors set_apart thaw unwrap unwrap_at_last",
    )
