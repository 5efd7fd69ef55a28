"""Which checkpoints stay."""

from __future__ import annotations

from attrs import frozen


@frozen
class Retention:
    """How many checkpoints stay. Pinned ones stay besides, and none counts twice.

    Args:
        last: The newest ones that are not among the best; two stay whatever this says.
        best: The best ones by the monitored metric; one stays whatever this says.
    """

    last: int = 2
    best: int = 1
