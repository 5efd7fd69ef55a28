"""`stepbus config schema`."""

from __future__ import annotations

import argparse
import sys


def config_schema(arguments: argparse.Namespace) -> None:
    """Print the JSON Schema of a configuration with the settings of every installed plugin, for editors."""
    from stepbus.author import Fragment, arguments_for, configuration_schema, named, probe
    from stepbus.base import strict_json
    from stepbus.cli.commands.printing import show
    from stepbus.config.discovery import installed

    chosen = named(arguments.config)[0] if arguments.config is not None else {}
    own = {name: said for name, said in chosen.items() if said.use is not None}
    known = installed()
    names = list(dict.fromkeys([*known, *own]))
    wanted = [
        arguments_for(name, own[name].use, own[name].folder) if name in own else arguments_for(name) for name in names
    ]
    owners = ["" if name in own else known[name].distribution for name in names]
    fragments = []
    for name, found in zip(names, probe(wanted, owners=owners), strict=True):
        use = str(own[name].use) if name in own else ""
        if found.error:
            print(f"stepbus: {name} is left open in the schema: {found.error}", file=sys.stderr)
            fragments.append(Fragment(name, problem=found.error, use=use))
        else:
            fragments.append(Fragment(**{**found.fragment, "use": use}))
    show(strict_json(configuration_schema(fragments)))
