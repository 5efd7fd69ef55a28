"""From YAML, presets and keywords to one checked configuration, and what is installed to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.config.choices import PluginChoice as PluginChoice
    from stepbus.config.choices import Plugins as Plugins
    from stepbus.config.choices import choice as choice
    from stepbus.config.layers import COMPONENT_SECTIONS as COMPONENT_SECTIONS
    from stepbus.config.layers import TOP_KEYS as TOP_KEYS
    from stepbus.config.layers import merge as merge
    from stepbus.config.layers import merge_all as merge_all
    from stepbus.config.layers import read_layers as read_layers
    from stepbus.config.layers import shown as shown
    from stepbus.config.load import Config as Config
    from stepbus.config.load import check_schedule as check_schedule
    from stepbus.config.load import load_config as load_config
    from stepbus.config.normaliser import Normaliser as Normaliser
    from stepbus.config.sections import BASES as BASES
    from stepbus.config.sections import DataConfig as DataConfig
    from stepbus.config.sections import ModelConfig as ModelConfig
    from stepbus.config.sections import SchedulerConfig as SchedulerConfig
    from stepbus.config.sections import Task as Task
    from stepbus.config.sections import TrainingConfig as TrainingConfig
    from stepbus.config.suggestions import Suggestions as Suggestions
    from stepbus.config.suggestions import aliases as aliases
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        choices="PluginChoice Plugins choice",
        layers="COMPONENT_SECTIONS TOP_KEYS merge merge_all read_layers shown",
        load="Config check_schedule load_config",
        normaliser="Normaliser",
        sections="BASES DataConfig ModelConfig SchedulerConfig Task TrainingConfig",
        suggestions="Suggestions aliases",
    )
