"""A model card beside the exported model: README.md as the Hugging Face hub reads it."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define

from stepbus import hookimpl, setting

CARD = "README.md"


class ModelCard:
    """Write a model card, README.md, beside the exported model: data, settings, scores, limits and how to use it.

    After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993), with the metadata that the Hugging
    Face hub reads. It holds no path of the machine, and of settings only numbers and the names of components. Its words
    are settings here, because stepbus.json vouches for the file; on the hub it may be edited, where opening leaves it.
    """

    affects_result: ClassVar[bool] = False
    exports: ClassVar[tuple[str, ...]] = (CARD,)

    @define(frozen=True, kw_only=True)
    class Config:
        name: str | None = setting(None, "what the model is called; none says what it does")
        license: str | None = setting(None, "its license, as the hub names it: apache-2.0, mit, …")
        language: list[str] = setting(factory=list, meaning="languages of its texts, as the hub names them: en, de, …")
        intended_use: str | None = setting(None, "what it is meant for, as Markdown")
        limitations: str | None = setting(None, "what it is not meant for, and where it errs, as Markdown")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def export_files(self, trainer: Any) -> dict[str, str]:
        """Return the card of a fit."""
        from stepbus_plugins.model_card.card import card
        from stepbus_plugins.model_card.facts import facts_of

        return {CARD: card(facts_of(trainer), self.config)}
