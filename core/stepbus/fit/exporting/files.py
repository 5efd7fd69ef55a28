"""Files of plugins beside an exported model, which stepbus.json vouches for like the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from stepbus.base import PluginFailure, show_python
from stepbus.storage import AVERAGED, DESCRIPTION, LINEAGE, PLAIN_NAME, checkpoints
from stepbus.text.tokens import TOKENIZER_FILES

if TYPE_CHECKING:
    from stepbus.fit import Fitting

HOOK = "export_files"
LONGEST = 200  # letters of a name
# Those of weights by their names, because what knows them imports MLX, which a scripted run does without.
_WEIGHTS = ("config.json", "model.safetensors", "model.safetensors.index.json")
_OWN = (*_WEIGHTS, AVERAGED, DESCRIPTION, LINEAGE, checkpoints.MANIFEST, "modules.json", *TOKENIZER_FILES)
_SHARD = re.compile(r"model-.*-of-.*\.safetensors", re.IGNORECASE)


def files_of_plugins(session: Fitting, taken: Collection[str]) -> dict[str, bytes]:
    """Return what plugins write beside the model of a fit, by file name.

    Args:
        session: The fit, its last scores known.
        taken: The names that the model's folder has anyway.

    Raises:
        PluginFailure: A name is no plain one, or is taken.
    """
    # macOS takes README.md and readme.md for one file.
    owners = {name.casefold(): "the model" for name in (*_OWN, *taken)}
    found: dict[str, bytes] = {}

    def add(member: str, given: Mapping[str, str | bytes]) -> None:
        for name, content in given.items():
            if not PLAIN_NAME.fullmatch(name) or len(name) > LONGEST:
                raise PluginFailure(
                    f"{member}: {HOOK}: expected plain file names (letters, digits, _ . -), got {show_python(name)}"
                )
            other = "the model" if _SHARD.fullmatch(name) else owners.get(name.casefold())
            if other is not None:
                raise PluginFailure(
                    f"{member}: {HOOK}: expected names that are not taken, got {name!r}, a file of {other}; give it "
                    "another name"
                )
            owners[name.casefold()] = member
            try:
                found[name] = content.encode() if isinstance(content, str) else bytes(content)
            except UnicodeEncodeError as error:
                raise PluginFailure(
                    f"{member}: {HOOK}: {name}: expected text that UTF-8 can hold, got half of a letter at place "
                    f"{error.start + 1}"
                ) from error

    for member in session.bus.members_with(HOOK):
        for given in session.bus.asking(member.name, HOOK)(trainer=session):
            add(member.label, given)
    return found
