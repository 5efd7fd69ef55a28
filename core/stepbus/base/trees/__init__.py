"""What was written, with where it was written: YAML and Python as trees, and settings made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.trees.flat_settings import UNSET as UNSET
    from stepbus.base.trees.flat_settings import FlatSettings as FlatSettings
    from stepbus.base.trees.python_tree import from_python as from_python
    from stepbus.base.trees.python_tree import plain as plain
    from stepbus.base.trees.saved_state import as_list as as_list
    from stepbus.base.trees.saved_state import built as built
    from stepbus.base.trees.saved_state import count as count
    from stepbus.base.trees.saved_state import fields_of as fields_of
    from stepbus.base.trees.saved_state import named as named
    from stepbus.base.trees.saved_state import number as number
    from stepbus.base.trees.saved_state import text as text
    from stepbus.base.trees.single_precision import LARGEST as LARGEST
    from stepbus.base.trees.structuring import make_settings as make_settings
    from stepbus.base.trees.structuring import select as select
    from stepbus.base.trees.structuring import structure as structure
    from stepbus.base.trees.typed_values import Given as Given
    from stepbus.base.trees.typed_values import Invalid as Invalid
    from stepbus.base.trees.typed_values import collecting as collecting
    from stepbus.base.trees.typed_values import resolve_place as resolve_place
    from stepbus.base.trees.typed_values import show_path as show_path
    from stepbus.base.trees.typed_values import typed as typed
    from stepbus.base.trees.yaml_tree import Keys as Keys
    from stepbus.base.trees.yaml_tree import Mark as Mark
    from stepbus.base.trees.yaml_tree import Node as Node
    from stepbus.base.trees.yaml_tree import parse as parse
    from stepbus.base.trees.yaml_tree import read_tree as read_tree
    from stepbus.base.trees.yaml_writer import to_yaml as to_yaml
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        flat_settings="FlatSettings UNSET",
        python_tree="from_python plain",
        saved_state="as_list built count fields_of named number text",
        single_precision="LARGEST",
        structuring="make_settings select structure",
        typed_values="Given Invalid collecting resolve_place show_path typed",
        yaml_tree="Keys Mark Node parse read_tree",
        yaml_writer="to_yaml",
    )
