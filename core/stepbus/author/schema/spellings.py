"""What else a configuration's schema lets stand: other names of settings, other spellings of values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stepbus.config import aliases, value_spellings

Schema = dict[str, Any]


def key_of(*names: Any) -> str:
    """Return a name under $defs that needs no escapes in a reference."""
    return ".".join(re.sub(r"[^\w-]", "_", str(name)) for name in names)


def reference_to(*names: Any) -> Schema:
    return {"$ref": f"#/$defs/{key_of(*names)}"}


def add_spellings(definitions: dict[str, Schema], offered: Mapping[str, Any]) -> None:
    """Let every setting be written as configs/aliases.yaml allows, and its values as configs/original.yaml does.

    Args:
        definitions: The schemas under $defs, which are changed.
        offered: Kind -> name of a component -> the schema of its settings.
    """
    for (section, *plugin, name), target in aliases().items():
        keys = [key_of(section, part) for part in offered.get(str(section), ())] or [str(section)]
        for key in [key_of("plugin", *plugin)] if plugin else keys:
            home = definitions.get(key, {})
            for each in home.get("anyOf", [home]):
                if "properties" in each and (not plugin or target is None or target[-1] in each["properties"]):
                    each["properties"][name] = _alias(target, definitions, key)
    for path, spellings in value_spellings().items():
        outer, _, name = path.rpartition(".")
        home = definitions.get(key_of("plugin", outer.removeprefix("plugins.")), {})
        for each in home.get("anyOf", ()):
            choices = each.get("properties", {}).get(name, {})
            if "enum" in choices:
                choices["enum"] += [written for written, meant in spellings.items() if meant in choices["enum"]]


def _alias(target: tuple[Any, ...] | None, definitions: Mapping[str, Schema], key: str) -> Schema:
    if target is None:
        return {"description": "Accepted, and changes nothing here.", "deprecated": True}
    section, *path = target
    about = {"description": f"The same as {'.'.join(map(str, target))}."}
    if section == "plugins":
        home = definitions.get(key_of("plugin", path[0]))
        if home is None:
            return about
        if len(path) == 1:
            return {**about, **reference_to("plugin", path[0])}
        homes = home["anyOf"]
    else:
        homes = [definitions.get(key if key.partition(".")[0] == section else str(section), {})]
    found: Schema = next((each["properties"][path[-1]] for each in homes if path[-1] in each.get("properties", {})), {})
    return {**found, **about}
