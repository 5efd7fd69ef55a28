"""The shapes of an epoch's batches, and their collating ahead of the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.batches.prefetch import Batch as Batch
    from stepbus.text.batches.prefetch import Prefetch as Prefetch
    from stepbus.text.batches.prefetch import accumulated as accumulated
    from stepbus.text.batches.prefetch import epoch_order as epoch_order
    from stepbus.text.batches.prefetch import eval_order as eval_order
    from stepbus.text.batches.shapes import Bucket as Bucket
    from stepbus.text.batches.shapes import ShapePlan as ShapePlan
    from stepbus.text.batches.shapes import plan_shapes as plan_shapes
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        prefetch="Batch Prefetch accumulated epoch_order eval_order",
        shapes="Bucket ShapePlan plan_shapes",
    )
