"""From files to batches of tokens: rows, labels, texts, tokens, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.data import TextData as TextData
    from stepbus.text.data import count_steps as count_steps
    from stepbus.text.data import epoch_shapes as epoch_shapes
    from stepbus.text.encoder import RowEncoder as RowEncoder
    from stepbus.text.encoder import TextSource as TextSource
    from stepbus.text.sets import check_labels as check_labels
    from stepbus.text.sets import check_texts as check_texts
    from stepbus.text.sets import read_sets as read_sets
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        data="TextData count_steps epoch_shapes",
        encoder="RowEncoder TextSource",
        sets="check_labels check_texts read_sets",
    )
