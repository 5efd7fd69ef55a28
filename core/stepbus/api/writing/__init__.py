"""Files of results: where they may be written, and predictions in words and units."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.writing.output_files import find_output as find_output
    from stepbus.api.writing.prediction_files import write_predictions as write_predictions
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        output_files="find_output",
        prediction_files="write_predictions",
    )
