"""What only watches may come, go and change at a resume; what takes part may not, in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define

from stepbus import CheckpointError, PluginError, create_trainer, hookimpl
from stepbus.fit.plugins.watchers import compare_watchers, watches
from stepbus.testing import Recorder, assert_conforms


class Watches:
    """Count updates, and remember how many."""

    affects_result = False

    @define(frozen=True, kw_only=True)
    class Config:
        every: int = 1

    def __init__(self, config: Any) -> None:
        self.config, self.seen = config, 0

    @hookimpl
    def on_step_end(self) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = saved["seen"]


class TakesPart(Watches):
    """Say nothing of itself."""

    affects_result = True


def hooks(*names: str, **attributes: Any) -> Any:
    functions = {name: hookimpl(lambda self: None) for name in names}
    return type("Plugin", (), {"affects_result": False, **functions, **attributes})()


def test_who_only_watches() -> None:
    assert watches(Watches(None), "mine")
    assert not watches(TakesPart(None), "mine")
    assert watches(hooks("on_step_end", "validate_plan", "checkpoint_retention", asks=("checkpoint",)), "mine")
    # Whoever listens where the computation is made may change it.
    assert not watches(hooks("parameter_groups"), "mine")
    assert not watches(Recorder(), "mine")


@pytest.mark.parametrize("asks", [("stop",), ("best", "checkpoint"), ("evaluation",)])
def test_who_decides_cannot_say_that_it_only_watches(asks: tuple[str, ...]) -> None:
    plugin = hooks("on_step_end", asks=asks)
    with pytest.raises(PluginError, match=r"^mine: affects_result = False is for plugins that only watch .* asks for"):
        watches(plugin, "mine")
    with pytest.raises(AssertionError, match='breaks the rule "is well made": affects_result = False'):
        assert_conforms(type(plugin))


def test_tables_are_compared_by_name() -> None:
    from stepbus.kernel.member import Member

    members = [Member(name, name, plugin(None)) for name, plugin in (("a", Watches), ("b", TakesPart), ("c", Watches))]
    saved: dict[str, Any] = {
        "a": {"watches": True}, "b": {"watches": True}, "d": {"watches": True}, "e": {"watches": False}, "f": {},
    }  # fmt: skip
    changed = compare_watchers(saved, members)
    assert changed.free == ["plugins.a", "plugins.c", "plugins.d"]
    assert changed.differences == ["plugins.b only watched, and now takes part in the result"]
    assert changed.said == [
        "c only watches, and is there from here on",
        "d only watched, and is left out from here on",
    ]


@pytest.fixture
def cut(tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """Return a function that trains 4 of 6 updates with some plugins, and goes on with others."""

    class Cuts:
        affects_result = False

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 4:
                trainer.run.signal = 2

    def resume(before: list[Any], after: list[Any], **options: Any) -> Any:
        said: list[str] = []

        class Hears:
            affects_result = False
            scope = "run"

            @hookimpl
            def on_message(self, text: str) -> None:
                said.append(text)

        config = tiny_config(training={"max_steps": 6}, plugins={"history": False})
        with pytest.raises(Exception, match="interrupted"):
            create_trainer(config=config, plugins=[*before, Cuts]).train()
        result = create_trainer(config=config, plugins=[*after, Hears()]).train(resume=True, **options)
        return result, [text for text in said if "only watch" in text]

    return resume


def test_a_watcher_may_be_left_out_at_a_resume(cut: Callable[..., Any]) -> None:
    result, said = cut([Watches], [])
    assert result.steps == 6
    assert said == [
        "cuts only watched, and is left out from here on",
        "hears only watches, and is there from here on",
        "watches only watched, and is left out from here on",
    ]


def test_a_watcher_may_come_at_a_resume_and_change(cut: Callable[..., Any]) -> None:
    result, said = cut([], [Watches])
    assert result.steps == 6
    assert "watches only watches, and is there from here on" in said
    result, said = cut([Watches], [Watches(Watches.Config(every=5))])
    assert result.steps == 6
    assert not any(text.startswith("watches ") for text in said)


def test_who_takes_part_may_not_come_or_go_in_silence(cut: Callable[..., Any]) -> None:
    for before, after, words in (
        ([TakesPart], [], r"plugins\.takes_part was TakesPart \w+, is off"),
        ([], [TakesPart], r"plugins\.takes_part was off, is TakesPart \w+"),
    ):
        with pytest.raises(CheckpointError, match=words):
            cut(before, after)
        assert cut(before, after, allow_changed=True)[0].steps == 6


def test_a_resume_of_a_resume_may_do_the_same(tiny_config: Callable[..., dict[str, Any]]) -> None:
    config = tiny_config(training={"max_steps": 3})
    folder = create_trainer(config=config, plugins=[Watches]).train().directory
    for plugins in ([], [Watches], []):
        (folder / "fits" / "fit" / "result.json").unlink()
        assert create_trainer(config=config, plugins=plugins).train(resume=True).steps == 3


def test_a_watcher_that_takes_part_from_now_on_is_named(tiny_config: Callable[..., dict[str, Any]]) -> None:
    config = tiny_config(training={"max_steps": 3})
    for first, second in ((False, True), (True, False)):
        plugins = [
            type("Mine", (Watches,), {"affects_result": each, "__module__": "nowhere"}) for each in (first, second)
        ]
        folder = create_trainer(config=config, plugins=[plugins[0]]).train().directory
        (folder / "fits" / "fit" / "result.json").unlink()
        config["environment"]["output_dir"] = str(folder)
        with pytest.raises(CheckpointError, match=r"plugins\.mine (only watched, and now takes|took part, and now)"):
            create_trainer(config=config, plugins=[plugins[1]]).train(resume=True)
