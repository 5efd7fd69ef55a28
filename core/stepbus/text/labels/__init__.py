"""From the cells of the label column to numbers, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.labels.class_counts import ClassCounts as ClassCounts
    from stepbus.text.labels.codec import LabelCodec as LabelCodec
    from stepbus.text.labels.columns import Column as Column
    from stepbus.text.labels.columns import distinct as distinct
    from stepbus.text.labels.numbers import label_counts as label_counts
    from stepbus.text.labels.numbers import labels_in_words as labels_in_words
    from stepbus.text.labels.numbers import weights_in_words as weights_in_words
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        class_counts="ClassCounts",
        codec="LabelCodec",
        columns="Column distinct",
        numbers="label_counts labels_in_words weights_in_words",
    )
