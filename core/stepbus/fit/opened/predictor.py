"""A trained model with what turns rows into batches and outputs into answers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import DataError, counted, listed
from stepbus.fit import predict, softmax_twice
from stepbus.fit.predicting import combined, prepared, seen_otherwise, views_of
from stepbus.text import TextData
from stepbus.text.rows import as_texts, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from stepbus.fit.predicting import View
    from stepbus.kernel import FitData, Predictions, Steps

    Array = np.ndarray[Any, Any]

log = logging.getLogger(__name__)


@frozen(eq=False)
class Predictor:
    """What predicts and scores: of a fit that has ended, or of a folder that was opened.

    Args:
        name: What it is called in messages: "fit", "fold-1", a folder.
        data: Turns rows into batches, and outputs into the unit of the labels.
        steps: The compiled evaluation.
        metrics: What scores predictions, by name.
        session: What its plugins get, and has them as `bus`; None where no plugin takes part.
    """

    name: str
    data: FitData
    steps: Steps
    metrics: Sequence[tuple[str, Any]]
    session: Any = None

    def read(self, source: Any, *, labelled: bool = False) -> Any:
        """Return rows of text read from their source, which `predict` takes as well; other sources as they are.

        Raises:
            DataError: They cannot be read, or are bare texts where rows have several columns.
        """
        if not isinstance(self.data, TextData):
            return source
        if (texts := as_texts(source)) is not None:
            source = {self._only_column(len(texts)): texts}
        return read_rows(source, name=_purpose(labelled), config=self.data.config.data.settings)

    def _only_column(self, texts: int) -> str:
        """Return the column that bare texts belong to."""
        columns = list(getattr(self.data.encoder.source, "columns", ()))  # type: ignore[attr-defined]  # TextData has it
        if len(columns) != 1:
            said = listed(map(repr, columns)) if columns else "columns that only its template knows"
            raise DataError(
                f"expected rows with {said}, as the model was trained on, got a list of {counted(texts, 'text')}; "
                "write a dictionary of columns for each row"
            )
        return str(columns[0])

    def predict(self, source: Any, *, labelled: bool = False) -> tuple[Predictions, float, Array]:
        """Return predictions of rows in their order, the mean loss (NaN without labels), and the logits [N, K].

        Args:
            source: What holds the rows.
            labelled: Whether to read labels and compute the loss.
        """
        purpose, session = _purpose(labelled), self.session
        if session is None or not isinstance(self.data, TextData):
            found = predict(self.steps, self.data.other(source, purpose, labelled=labelled))
            if words := softmax_twice(found[0], found[2]):
                log.warning("%s", words)
            return found
        rows = self.read(source, labelled=labelled)
        rows = prepared(session.bus, session, {purpose: rows}, session.config.data.settings)[purpose]
        plain, loss, logits = predict(self.steps, self.data.other(rows, purpose, labelled=labelled))
        views = views_of(session.bus, session, rows)
        if not views:
            return plain, loss, logits

        def said(view: View) -> Predictions:
            return predict(self.steps, seen_otherwise(self.data, session.config, view))[0]

        return combined(session.bus, session, plain, views, said), loss, logits


def _purpose(labelled: bool) -> str:
    return "evaluate" if labelled else "predict"
