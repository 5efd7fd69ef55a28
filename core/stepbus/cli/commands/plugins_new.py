"""`stepbus plugins new`."""

from __future__ import annotations

import argparse
import shlex

from stepbus.cli.commands.printing import show


def plugins_new(arguments: argparse.Namespace) -> None:
    """Write a new plugin, and print what to do next and the YAML lines that switch it on."""
    from stepbus.author import scaffold
    from stepbus.cli.commands.output_folder import output_folder

    plugin, folder = scaffold.names(arguments.name, arguments.kind), output_folder(arguments.output)
    if arguments.package:
        made = scaffold.write_distribution(plugin, folder)
        show(f"wrote {made}; install it, test it, and name it in a configuration file:\n")
        path = shlex.quote(str(made) if made.is_absolute() else f"./{made}")
        show(f"    pip install -e {path}\n    pytest {path}\n")
        show(scaffold.yaml_lines(plugin), end="")
    else:
        file = scaffold.write_file(plugin, folder)
        show(f"wrote {file}; name it in a configuration file (a path there starts at that file):\n")
        show(scaffold.yaml_lines(plugin, file), end="")
    if plugin.kind == "technique":
        show("\n`stepbus hooks wrap_loss` says what it gets and returns, and so for the other hooks of a step")
    elif plugin.kind != "plugin":
        show(f"\n`stepbus contracts {plugin.kind}` says what it gets and returns")
