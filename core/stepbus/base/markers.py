"""The two pluggy markers of the project."""

import pluggy

hookspec = pluggy.HookspecMarker("stepbus")
hookimpl = pluggy.HookimplMarker("stepbus")
