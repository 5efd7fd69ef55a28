"""The standard streams of a command, and its last words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.terminal.streams import ESCAPE as ESCAPE
    from stepbus.base.terminal.streams import closed as closed
    from stepbus.base.terminal.streams import end_of as end_of
    from stepbus.base.terminal.streams import leave_pipe as leave_pipe
    from stepbus.base.terminal.streams import nowhere as nowhere
    from stepbus.base.terminal.streams import prepare as prepare
    from stepbus.base.terminal.streams import report as report
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, streams="ESCAPE closed end_of leave_pipe nowhere prepare report")
