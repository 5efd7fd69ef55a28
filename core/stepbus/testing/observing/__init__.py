"""What two runs came to, compared, and what code touched while it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.testing.observing.comparing import class_values as class_values
    from stepbus.testing.observing.comparing import comparable as comparable
    from stepbus.testing.observing.comparing import difference as difference
    from stepbus.testing.observing.comparing import is_array as is_array
    from stepbus.testing.observing.comparing import without as without
    from stepbus.testing.observing.watching import device_calls as device_calls
    from stepbus.testing.observing.watching import files_touched as files_touched
    from stepbus.testing.observing.watching import watched as watched
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        comparing="class_values comparable difference is_array without",
        watching="device_calls files_touched watched",
    )
