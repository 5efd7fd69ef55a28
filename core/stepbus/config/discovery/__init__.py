"""What is installed to choose from: plugins, presets and commands, found without importing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.config.discovery.plugin_sources import find_module as find_module
    from stepbus.config.discovery.plugin_sources import may_implement as may_implement
    from stepbus.config.discovery.plugin_sources import may_offer_components as may_offer_components
    from stepbus.config.discovery.plugin_sources import purpose as purpose
    from stepbus.config.discovery.plugins import NAME as NAME
    from stepbus.config.discovery.plugins import InstalledPlugin as InstalledPlugin
    from stepbus.config.discovery.plugins import LoadedPlugin as LoadedPlugin
    from stepbus.config.discovery.plugins import check_hooks_version as check_hooks_version
    from stepbus.config.discovery.plugins import import_module as import_module
    from stepbus.config.discovery.plugins import installed as installed
    from stepbus.config.discovery.plugins import load_class as load_class
    from stepbus.config.discovery.plugins import offering as offering
    from stepbus.config.discovery.plugins import reading as reading
    from stepbus.config.discovery.plugins import switch_on as switch_on
    from stepbus.config.discovery.presets import configs_folder as configs_folder
    from stepbus.config.discovery.presets import preset_names as preset_names
    from stepbus.config.discovery.presets import preset_path as preset_path
    from stepbus.config.discovery.presets import preset_summary as preset_summary
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        plugin_sources="find_module may_implement may_offer_components purpose",
        plugins="InstalledPlugin LoadedPlugin NAME check_hooks_version import_module installed load_class offering "
        "reading switch_on",
        presets="configs_folder preset_names preset_path preset_summary",
    )
