"""What is fixed in a compiled step, held against what another fit would fix in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.stepping.alike.fingerprints import Unknown as Unknown
    from stepbus.compute.stepping.alike.fingerprints import leaves as leaves
    from stepbus.compute.stepping.alike.fingerprints import of_model as of_model
    from stepbus.compute.stepping.alike.fingerprints import of_value as of_value
    from stepbus.compute.stepping.alike.held import Held as Held
    from stepbus.compute.stepping.alike.held import held_by as held_by
    from stepbus.compute.stepping.alike.held import same_held as same_held
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        fingerprints="Unknown leaves of_model of_value",
        held="Held held_by same_held",
    )
