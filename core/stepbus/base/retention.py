"""Which checkpoints stay."""

from __future__ import annotations

from attrs import frozen


@frozen
class Retention:
    """How many checkpoints of a fit stay. Pinned ones stay besides.

    The best ones that are not among the newest give up what only going on needs, such as the optimizer's state: they
    are there to be used.

    Args:
        last: The newest ones that are not among the best; None keeps two, the best among them or not (of a finished
            fit one). While a fit runs, the two newest stay whole whatever this says.
        best: The best ones by the monitored metric; while a fit runs, one stays whatever this says.
        whole: Whether the best ones stay whole as well, to go on from.
        finished: What stays of a fit that is done, once its result is kept; there, both numbers count as they are.
            None keeps what stood until then.
        advice: By which setting more would stay of a finished fit, for whoever misses it: "my_plugin.keep: true".
        every: When checkpoints are written besides those of a new best: "epoch", "best" for at no other time, or the
            updates between two; None says nothing. `stepbus plan` counts by it what a run takes on disk.

    Example:
        >>> Retention(last=3)  # what a plugin's checkpoint_retention returns
        Retention(last=3, best=1, whole=False, finished=None, advice='', every=None)
    """

    last: int | None = None
    best: int = 1
    whole: bool = False
    finished: Retention | None = None
    advice: str = ""
    every: int | str | None = None
