"""From YAML, presets and keywords to one checked configuration, and what is installed to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.config.between import check_schedule as check_schedule
    from stepbus.config.choices import PluginChoice as PluginChoice
    from stepbus.config.choices import Plugins as Plugins
    from stepbus.config.choices import choice as choice
    from stepbus.config.layers import COMPONENT_SECTIONS as COMPONENT_SECTIONS
    from stepbus.config.layers import FOR_MODELS as FOR_MODELS
    from stepbus.config.layers import TOP_KEYS as TOP_KEYS
    from stepbus.config.layers import merge as merge
    from stepbus.config.layers import merge_all as merge_all
    from stepbus.config.layers import model_defaults as model_defaults
    from stepbus.config.layers import read_defaults as read_defaults
    from stepbus.config.layers import read_layers as read_layers
    from stepbus.config.load import Config as Config
    from stepbus.config.load import load_config as load_config
    from stepbus.config.normaliser import Normaliser as Normaliser
    from stepbus.config.original import value_spellings as value_spellings
    from stepbus.config.sections import BASES as BASES
    from stepbus.config.sections import DataSettings as DataSettings
    from stepbus.config.sections import ModelSettings as ModelSettings
    from stepbus.config.sections import SchedulerSettings as SchedulerSettings
    from stepbus.config.sections import Task as Task
    from stepbus.config.sections import TrainingSettings as TrainingSettings
    from stepbus.config.showing import settings_in_brief as settings_in_brief
    from stepbus.config.suggestions import Suggestions as Suggestions
    from stepbus.config.suggestions import aliases as aliases
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        between="check_schedule",
        choices="PluginChoice Plugins choice",
        layers="COMPONENT_SECTIONS FOR_MODELS TOP_KEYS merge merge_all model_defaults read_defaults read_layers",
        load="Config load_config",
        normaliser="Normaliser",
        original="value_spellings",
        sections="BASES DataSettings ModelSettings SchedulerSettings Task TrainingSettings",
        showing="settings_in_brief",
        suggestions="Suggestions aliases",
    )
