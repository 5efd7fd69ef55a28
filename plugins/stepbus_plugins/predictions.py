"""What a run predicts of the rows of `data.test`, as a file."""

from __future__ import annotations

from typing import Any, ClassVar

from stepbus import FitResult, hookimpl, write_decoded

FILE = "test_predictions.csv"


class PredictedRows:
    """Write what the run predicts of its test rows, all fits together, as `stepbus predict` would."""

    scope: ClassVar[str] = "run"
    affects_result: ClassVar[bool] = False
    writes: ClassVar[tuple[str, ...]] = (FILE,)

    @hookimpl
    def on_run_end(self, run: Any, result: FitResult) -> None:
        """Write the file, where the run had rows to predict."""
        predictions = result.predictions.get("test")
        # Predictions of a loader's batches have no names to write.
        if predictions is None or predictions.labels is not None or run.codec is None:
            return
        path = run.directory / FILE
        remedy = "let a spreadsheet import them as text"
        for note in write_decoded(path, predictions, run.codec, run.config.data.settings.id, remedy=remedy):
            run.message(note, "warning")
        run.artifact("predictions", path)
