"""What is told of plugins beside their hooks: what they remember, and whether they only watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.plugins.memory import asked_of as asked_of
    from stepbus.fit.plugins.memory import check_memory as check_memory
    from stepbus.fit.plugins.memory import memory_problem as memory_problem
    from stepbus.fit.plugins.memory import restore_state as restore_state
    from stepbus.fit.plugins.memory import restore_stored as restore_stored
    from stepbus.fit.plugins.memory import state_of as state_of
    from stepbus.fit.plugins.watchers import compare_watchers as compare_watchers
    from stepbus.fit.plugins.watchers import watches as watches
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        memory="asked_of check_memory memory_problem restore_state restore_stored state_of",
        watchers="compare_watchers watches",
    )
