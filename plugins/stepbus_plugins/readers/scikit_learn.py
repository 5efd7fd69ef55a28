"""The tables that come with scikit-learn, with words for classes: sklearn:breast_cancer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus import DataError, Source, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")


class ScikitLearn:
    """Reads a table that ships with scikit-learn.

    Args:
        config: Nothing.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self, source: Source) -> pd.DataFrame:
        """Return the table, its features first.

        Raises:
            DataError: There is no table of the name.
        """
        import pandas as pd
        from sklearn import datasets

        name = source.rest
        if name not in BUNDLED:
            near = did_you_mean(name, BUNDLED)
            raise DataError(f"{source}: expected one of {', '.join(BUNDLED)}, got {name!r}{near}")
        # scikit-learn's diabetes is standardised unless told otherwise; a template wants years and mm Hg.
        options = {"scaled": False} if name == "diabetes" else {}
        bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
        frame: pd.DataFrame = bunch.frame.copy()
        if name != "diabetes":
            words = np.asarray([str(word) for word in bunch.target_names], dtype=object)
            frame[bunch.target.name] = pd.Series(words[bunch.target.to_numpy()], dtype=object)
        return frame
