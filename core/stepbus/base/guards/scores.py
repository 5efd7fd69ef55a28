"""Metrics by name, which may also be read by the names that other libraries give them."""

from __future__ import annotations

from typing import Any

from stepbus.base import did_you_mean
from stepbus.base.guards.read_only import ReadOnlyDict

# What stands before the name of a metric: of validation rows, of the epoch's training rows.
PREFIXES = ("eval_", "train_")


class Scores(ReadOnlyDict):
    """Metrics by name; `val_loss` reads `eval_loss`, and `accuracy` reads `eval_accuracy` where nothing else is meant.

    `in` and `get` say the same as reading; what is listed are the metrics' own names.
    """

    def _known(self, name: object) -> list[str]:
        """Return the metrics that another name may stand for."""
        if not isinstance(name, str):
            return []
        wanted = [f"eval_{name.removeprefix('val_')}"] if name.startswith("val_") else [f"{p}{name}" for p in PREFIXES]
        return [each for each in wanted if dict.__contains__(self, each)]

    def __missing__(self, name: Any) -> Any:
        known = self._known(name)
        if len(known) == 1:
            return dict.__getitem__(self, known[0])
        if known:
            raise MissingScore(f"there is no metric {name!r}: read {' or '.join(map(repr, known))}")
        near = did_you_mean(str(name), self)
        raise MissingScore(f"there is no metric {name!r}{near}; there are {', '.join(sorted(self)) or 'none yet'}")

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or len(self._known(name)) == 1

    def get(self, name: Any, default: Any = None) -> Any:
        """Return a metric, or the default where there is none of that name."""
        try:
            return self[name]
        except KeyError:
            return default


class MissingScore(KeyError):
    """A metric that is not there, in words; a KeyError would print them as a key."""

    def __str__(self) -> str:
        return str(self.args[0])
