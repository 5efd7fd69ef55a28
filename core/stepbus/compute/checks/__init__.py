"""What parts of plugins give inside a step, looked at where it comes in: when the step is traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.checks.gradients import check_name as check_name
    from stepbus.compute.checks.gradients import transformed as transformed
    from stepbus.compute.checks.kept import check_kept as check_kept
    from stepbus.compute.checks.numbers import all_finite as all_finite
    from stepbus.compute.checks.numbers import before_and_after as before_and_after
    from stepbus.compute.checks.numbers import still_finite as still_finite
    from stepbus.compute.checks.numbers import still_numbers as still_numbers
    from stepbus.compute.checks.numbers import sums_are_finite as sums_are_finite
    from stepbus.compute.checks.parts import called as called
    from stepbus.compute.checks.parts import encoded as encoded
    from stepbus.compute.checks.parts import handed_out as handed_out
    from stepbus.compute.checks.parts import kind_of as kind_of
    from stepbus.compute.checks.parts import maker_of as maker_of
    from stepbus.compute.checks.parts import pooled_by as pooled_by
    from stepbus.compute.checks.parts import pooled_width as pooled_width
    from stepbus.compute.checks.parts import shape_of as shape_of
    from stepbus.compute.checks.parts import shown as shown
    from stepbus.compute.checks.updates import GROUP_SETTINGS as GROUP_SETTINGS
    from stepbus.compute.checks.updates import check_groups as check_groups
    from stepbus.compute.checks.updates import checked_scalars as checked_scalars
    from stepbus.compute.checks.updates import checked_state as checked_state
    from stepbus.compute.checks.updates import checked_update as checked_update
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        gradients="check_name transformed",
        kept="check_kept",
        numbers="all_finite before_and_after still_finite still_numbers sums_are_finite",
        parts="called encoded handed_out kind_of maker_of pooled_by pooled_width shape_of shown",
        updates="GROUP_SETTINGS check_groups checked_scalars checked_state checked_update",
    )
