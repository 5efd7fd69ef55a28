"""The folder that `--output` names."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def output_folder(given: str) -> Path:
    """Return the folder that was typed; `null` and quotes mean nothing else in it, as they would in YAML.

    Args:
        given: What stands after --output.

    Raises:
        BadInput: It can be no folder of this machine.
    """
    from stepbus.base import BadInput, is_url, usable

    if not given:
        raise BadInput("--output: expected a folder, got '': it is empty; name one, or leave --output out")
    if is_url(given):
        raise BadInput(f"--output: expected a folder of this machine, got {given!r}")
    return usable(given, setting="--output")
