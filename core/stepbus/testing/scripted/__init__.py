"""What stands in a scripted fit for a configuration, the parameters of a model, an optimizer, and rows to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.testing.scripted.configuration import loaded_class as loaded_class
    from stepbus.testing.scripted.configuration import own_names as own_names
    from stepbus.testing.scripted.configuration import scripted_config as scripted_config
    from stepbus.testing.scripted.memory_store import MemoryStore as MemoryStore
    from stepbus.testing.scripted.model import ScriptedModel as ScriptedModel
    from stepbus.testing.scripted.model import check_arrays as check_arrays
    from stepbus.testing.scripted.model import uncomputed as uncomputed
    from stepbus.testing.scripted.optimizer import ScriptedOptimizer as ScriptedOptimizer
    from stepbus.testing.scripted.parameters import flat as flat
    from stepbus.testing.scripted.sets import sets_to_predict as sets_to_predict
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        configuration="loaded_class own_names scripted_config",
        memory_store="MemoryStore",
        model="ScriptedModel check_arrays uncomputed",
        optimizer="ScriptedOptimizer",
        parameters="flat",
        sets="sets_to_predict",
    )
