"""What plugins may ask the engine for, and what an error in one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.requests.asking import POLICIES as POLICIES
    from stepbus.base.requests.asking import REQUESTS as REQUESTS
    from stepbus.base.requests.asking import Asker as Asker
    from stepbus.base.requests.asking import Caller as Caller
    from stepbus.base.requests.asking import UndeclaredError as UndeclaredError
    from stepbus.base.requests.asking import as_caller as as_caller
    from stepbus.base.requests.asking import asks_of as asks_of
    from stepbus.base.requests.asking import may_select as may_select
    from stepbus.base.requests.asking import policy_of as policy_of
    from stepbus.base.requests.asking import scope_of as scope_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        asking="POLICIES REQUESTS Asker Caller UndeclaredError as_caller asks_of may_select policy_of scope_of",
    )
