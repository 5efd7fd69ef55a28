"""What is passed in Python is dropped on no path: plugins beside a configuration, in any iterable, with settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepbus import (
    BadInput,
    Metric,
    PluginError,
    Trainer,
    create_model,
    create_trainer,
    hookimpl,
    load_config,
    open_trainer,
)
from stepbus.cli.main import main
from stepbus.testing import play

called: list[str] = []


class Odd(Metric):
    def reset(self) -> None: ...
    def update(self, predictions: Any, labels: Any) -> None: ...
    def compute(self) -> float:
        return 0.5


class Brings:
    """Offer a metric, and hear the start of a fit."""

    components = (Odd.component("odd", greater_is_better=True),)

    @hookimpl
    def on_fit_start(self) -> None:
        called.append("brings")


class Other:
    @hookimpl
    def on_fit_start(self) -> None:
        called.append("other")


@pytest.fixture(autouse=True)
def nobody_was_called() -> None:
    called.clear()


def metric(config: Any) -> str:
    return str(config.training.metrics[0].name)


def test_plugins_beside_a_configuration_that_is_there_offer_their_components() -> None:
    plain = load_config({})
    assert metric(load_config(plain, extra_plugins=[Brings]).updated({"metrics": ["odd"]})) == "odd"
    assert metric(load_config(plain, ["training.metrics=[odd]"], extra_plugins=[Brings])) == "odd"
    assert metric(load_config(plain, keywords={"metrics": ["odd"]}, extra_plugins=(each for each in [Brings]))) == "odd"
    assert metric(create_trainer(config=plain, plugins=[Brings], metrics=["odd"]).config) == "odd"
    trainer = Trainer(plain, plugins=[Brings])
    trainer.update_config(metrics=["odd"])
    assert metric(trainer.config) == "odd"


def test_those_that_are_there_stay_and_come_once() -> None:
    both = load_config(load_config({}, extra_plugins=[Brings]), extra_plugins=[Other, Brings])
    assert both.extras == (Brings, Other)
    assert both.updated({"num_epochs": 2}).extras == (Brings, Other)
    assert load_config(both, extra_plugins=[Other]) is both


def test_a_configuration_that_is_there_keeps_its_loader_unless_another_is_given() -> None:
    from stepbus.config.discovery import plugins

    class Loads:
        asked: list[str] = []  # noqa: RUF012  # one test's own

        installed = staticmethod(plugins.installed)

        def load_class(self, name: str, *rest: Any) -> Any:
            self.asked.append(name)
            return plugins.load_class(name, *rest)

    load_config(load_config({}), loader=Loads())
    assert "early_stopping" not in Loads.asked
    assert "bert" in Loads.asked
    mine = load_config({}, loader=Loads())
    Loads.asked.clear()
    load_config(mine, keywords={"early_stopping": True})
    assert "early_stopping" in Loads.asked


@pytest.mark.parametrize(
    "make",
    [
        lambda tree: create_trainer(config=load_config(tree), plugins=[Brings]),
        lambda tree: create_trainer(config=load_config(tree, extra_plugins=[Brings])),
        lambda tree: create_trainer(config=load_config(tree, extra_plugins=[Brings]), plugins=[Brings]),
        lambda tree: create_trainer(config=tree, plugins=(each for each in [Brings])),
        lambda tree: create_trainer(config=tree, plugins=None, callbacks=iter([Brings])),
        lambda tree: Trainer(load_config(tree, extra_plugins=[Brings])),
        lambda tree: Trainer(load_config(tree), plugins=(each for each in [Brings])),
    ],
)
def test_hooks_are_called_however_a_plugin_was_passed(
    make: Callable[[Any], Trainer], tiny_config: Callable[..., dict[str, Any]]
) -> None:
    make(tiny_config(training={"max_steps": 1}, data={"validation": None})).train()
    assert called == ["brings"]


def test_an_opened_model_keeps_the_plugins_that_it_was_opened_with(tiny_config: Callable[..., dict[str, Any]]) -> None:
    tree = tiny_config(training={"max_steps": 1, "metrics": ["odd"]})
    folder = create_trainer(config=tree, plugins=[Brings]).train().model_path
    assert folder is not None
    opened = open_trainer(folder, plugins=(each for each in [Brings]))
    assert opened.evaluate(tree["data"]["validation"])["eval_odd"] == 0.5
    assert opened.plugins == (Brings,)


def test_what_is_no_list_of_plugins_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"expected a list of classes, .*, got Brings; write plugins=\[…\]"):
        create_trainer(plugins=Brings)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="Other: expected a class beside settings, got an object"):
        play((Other(), {"every": 1}))


@pytest.mark.parametrize("words", [["plugins", "list", "--json", "--requirements"], ["hooks", "on_log", "--markdown"]])
def test_words_that_exclude_each_other_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_settings_of_a_model_that_was_given_are_those_of_its_export(
    tiny_config: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    tree = tiny_config(training={"max_steps": 2})
    model = create_model("bert_with_head", **{name: value for name, value in tree["model"].items() if name != "type"})
    tree["model"] = {"pooling": "max", "hidden_size": 16, "num_hidden_layers": 3, "hidden_dropout": 0.9}
    trainer = create_trainer(model, config=tree)
    assert [record.getMessage() for record in caplog.records] == [
        "model.pooling: 'max' has no effect, because a model was given that has 'mean'; say it in create_model",
        "model.num_hidden_layers: 3 has no effect, because a model was given that has 2; say it in create_model",
        "model.hidden_dropout: 0.9 has no effect, because a model was given that was made without it; say it in "
        "create_model",
    ]
    folder = trainer.train().model_path
    assert folder is not None
    dev = tree["data"]["validation"]
    assert np.array_equal(trainer.predict(dev), open_trainer(folder).predict(dev))


def test_a_changed_model_is_built_anew_and_opens_as_what_it_is(
    tiny_config: Callable[..., dict[str, Any]],
) -> None:
    tree = tiny_config(training={"max_steps": 1})
    trainer = create_trainer(config=tree)
    trainer.update_config(pooling="cls")  # there are no weights yet
    assert trainer.train().status == "ok"
    trainer.update_config(pooling="max")
    folder = trainer.train().model_path
    assert folder is not None
    opened = open_trainer(folder)
    assert opened.config.model.settings.pooling.name == "max"
    dev = tree["data"]["validation"]
    assert np.array_equal(trainer.predict(dev), opened.predict(dev))


class Quiet:
    @hookimpl
    def on_epoch_end(self, trainer: Any) -> None: ...


def test_one_object_passed_twice_is_refused() -> None:
    """Its hooks were called once, without a word."""
    quiet = Quiet()
    for passed in ({"callbacks": [quiet, quiet]}, {"plugins": [quiet], "callbacks": [quiet]}):
        with pytest.raises(BadInput, match=r"^plugins: expected each object once, got one Quiet twice, whose hooks"):
            create_trainer(**passed)


def test_messages_speak_of_the_argument_that_was_written() -> None:
    with pytest.raises(BadInput, match=r"^callbacks: expected a list .* got an int; write callbacks=\[…\]$"):
        create_trainer(callbacks=3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^callbacks: expected classes, instances and modules, got 'ema'"):
        create_trainer(callbacks=["ema"])
    with pytest.raises(BadInput, match=r"two metrics passed in Python are called 'odd': .* leave one out of metrics="):
        create_trainer(metrics=[Odd(), Odd()])
