"""A plugin whose memory is alive: what its `state_dict` returns is what it goes on to change."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepbus import hookimpl


class Remembers:
    """Remember the losses of a fit, and add up what an update told."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.by_name: dict[str, list[float]] = {"rates": []}
        self.sums = np.zeros(40_000)

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        """Change everything in place."""
        self.losses.append(step.loss)
        self.by_name["rates"].append(step.learning_rate)
        self.sums += step.loss

    def state_dict(self) -> dict[str, Any]:
        """Return the memory itself."""
        return {"losses": self.losses, "by_name": self.by_name, "sums": self.sums}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take it over."""
        self.losses, self.by_name, self.sums = saved["losses"], saved["by_name"], saved["sums"]
