from __future__ import annotations

from stepbus import load_config


def test_the_preset_can_be_loaded_by_its_name() -> None:
    config = load_config("restarts")
    assert config.scheduler.component.name == "cosine_restarts"
    assert config.scheduler.settings.cycles == 2
    assert [choice.settings.goal for choice in config.plugins if choice.name == "stop_at_goal"] == [0.99]
