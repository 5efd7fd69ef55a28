"""Several plugins in a tiny or scripted fit: none is dropped in silence, and installed ones are named."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from stepbus import ConfigError, PluginError, hookimpl
from stepbus.testing import planned, play, tiny_fit

HEARD: list[int] = []


class Listens:
    @define(frozen=True, kw_only=True)
    class Config:
        number: int = 1

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def on_fit_start(self) -> None:
        HEARD.append(self.config.number)

    @hookimpl
    def expand_fits(self, fits: Any) -> Any:
        return fits

    scope = "run"


def other_of_the_same_name() -> type:
    class Listens:
        @hookimpl
        def on_fit_start(self) -> None:
            HEARD.append(-1)

    return Listens


def test_the_same_class_twice_is_two_plugins() -> None:
    HEARD.clear()
    fit = tiny_fit(Listens, {"number": 2}, beside=[(Listens, {"number": 3}), other_of_the_same_name()], max_steps=1)
    assert sorted(HEARD) == [-1, 2, 3]
    assert {"listens", "listens_2", "listens_3"} <= {choice.name for choice in fit.trainer.config.plugins}


def test_the_same_class_twice_in_a_scripted_run() -> None:
    HEARD.clear()
    played = play((Listens, {"number": 2}), (Listens, {"number": 3}), epochs=1)
    assert HEARD == [2, 3]
    assert {"listens", "listens_2"} <= played.plugins.keys()
    again = played.run.config.updated({"plugins.listens_2.number": 5})
    assert [choice.settings.number for choice in again.plugins] == [2, 5]
    with pytest.raises(ConfigError, match=r"plugins\.listens_2\.number: expected"):
        planned(Listens, (Listens, {"number": "many"}))


def test_a_mapping_of_plugins_is_laid_under_the_classes() -> None:
    HEARD.clear()
    fit = tiny_fit(
        Listens, max_steps=1, plugins={"gradient_clipping": False, "freeze": {"layers": 1}, "listens": {"number": 7}}
    )
    names = {choice.name for choice in fit.trainer.config.plugins}
    assert "freeze" in names
    assert "gradient_clipping" not in names
    assert HEARD == [7]
    tiny_fit(Listens, {"number": 8}, max_steps=1, plugins={"listens": {"number": 7}})
    tiny_fit(Listens, {"number": 9}, max_steps=1, plugins={"listens": False})
    assert HEARD == [7, 8, 9]


@pytest.mark.parametrize("plugins", [[Listens], Listens, "freeze"])
def test_plugins_that_are_no_mapping_are_refused_in_words(plugins: Any) -> None:
    with pytest.raises(PluginError, match=r"^plugins: expected the settings of installed plugins by name.* in beside"):
        tiny_fit(plugins=plugins)


def test_a_configuration_is_refused_in_words() -> None:
    with pytest.raises(PluginError, match=r"^config: expected sections and settings as keywords"):
        tiny_fit(config={"training": {"num_epochs": 1}})
