"""Plain values as YAML text that `yaml_tree` reads back as the same values."""

from __future__ import annotations

import re
from typing import Any

import yaml

from stepbus.base import yaml_float
from stepbus.base.trees.yaml_tree import FLOAT


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back as the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _write_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", yaml_float(value))


def _write_text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # In other styles these count as line breaks, and would come back as spaces.
    style = '"' if re.search("[\x85\u2028\u2029]", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(float, _write_float)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT.pattern})$"), list("-+.0123456789"))


def to_yaml(tree: Any) -> str:
    """Return plain values as YAML text that reads back as the same values."""
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10**6)
    return str(text)
