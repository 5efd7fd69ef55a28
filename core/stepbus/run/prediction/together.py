"""What the fits of a run say together of rows without labels: combined along each axis, then finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from stepbus.base import PluginError, PluginFailure, Problem
from stepbus.kernel import Bus, Fit, FitResult, Predictions, Run, groups_along, grown_axes
from stepbus.storage import from_json, to_json

if TYPE_CHECKING:
    from stepbus.base import Asker

ROWS = "rows"


class Predicting(Run, Protocol):
    """A run, as prediction sees it.

    Attributes:
        bus: Its plugins of scope "run".
        decisions: Plugin name -> what it decided.
    """

    bus: Bus
    decisions: dict[str, Any]


@frozen(eq=False)
class Together:
    """How fits predict together: the same in a run and when it is opened.

    Args:
        bus: The plugins that combine and finish.
        fits: The fits, in the order of the plan, without rows.
        decisions: Plugin name -> what it decided.
    """

    bus: Bus
    fits: tuple[Fit, ...]
    decisions: Mapping[str, Any]

    @classmethod
    def of_run(cls, run: Predicting) -> Together:
        """Return how the fits of a run predict together; those for another purpose are none of them."""
        return cls(run.bus, tuple(evolve(fit, sets={}) for fit in taking_part(run.fits)), run.decisions)

    @property
    def axes(self) -> list[str]:
        """The axes that they are combined along, innermost first."""
        return grown_axes(list(self.fits))

    def combine(self, run: Any, predictions: Sequence[Predictions]) -> Predictions:
        """Return what the fits say of the same rows together.

        Args:
            run: The run, as hooks get it.
            predictions: One for each fit.

        Raises:
            PluginFailure: No plugin combines them, or one did with other rows.
        """
        results = [FitResult(fit, predictions={ROWS: said}) for fit, said in zip(self.fits, predictions, strict=True)]
        for axis in self.axes:
            results = [self._group(run, axis, group) for group in groups_along(axis, results)]
        (result,) = results
        return result.predictions[ROWS]

    def _group(self, run: Any, axis: str, group: list[FitResult]) -> FitResult:
        fits, given = [each.fit for each in group], [each.predictions[ROWS] for each in group]
        said = self.bus.hook.combine_predictions(run=run, axis=axis, predictions=given, fits=fits)
        if said is None:
            raise PluginFailure(
                f"the plan has several fits along {axis}, and no plugin combines what they predict "
                "(combine_predictions); take one fit: its model's folder, or trainer.fits[0]"
            )
        self._check_rows(given[0], said, "combine_predictions")
        scope = {name: place for name, place in fits[0].scope.items() if name != axis}
        return FitResult(evolve(fits[0], scope=scope), predictions={ROWS: said})

    def finish(self, run: Any, predictions: Predictions) -> Predictions:
        """Return what the run says in the end.

        Args:
            run: The run, as hooks get it.
            predictions: What its fits say together.
        """
        decisions = MappingProxyType(dict(self.decisions))
        said: Predictions = self.bus.thread("finish_predictions", run=run, predictions=predictions, decisions=decisions)
        self._check_rows(predictions, said, "finish_predictions")
        return said

    def _check_rows(self, given: Predictions, said: Predictions, hook: str) -> None:
        """Refuse predictions of other rows than were given.

        Raises:
            PluginFailure: They are.
        """
        number = len(given.row_ids)
        if said is given or (len(said.values) == number and said.row_ids.tolist() == given.row_ids.tolist()):
            return
        who = " or ".join(each.plugin_name for each in getattr(self.bus.hook, hook).get_hookimpls())
        raise PluginFailure(
            f"{who}: {hook}: expected predictions of the {number} rows that were given, in their order, got "
            f"{len(said.values)} of other ids; return evolve(given, values=…)"
        )


def taking_part(fits: Sequence[Fit]) -> list[Fit]:
    """Return the fits whose predictions are the run's."""
    return [fit for fit in fits if not fit.auxiliary]


def predicted_sets(fits: Sequence[Fit]) -> list[str]:
    """Return the sets that every fit which takes part predicts and none scores."""
    every = taking_part(fits)
    return [name for name in every[0].sets if all(name in fit.sets and not fit.is_labelled(name) for fit in every)]


def predict_together(run: Predicting, result: FitResult) -> FitResult:
    """Return the result of a run with what its fits say together of the sets that are only predicted.

    Args:
        run: The run, its fits done.
        result: Their results, combined.
    """
    together, found = Together.of_run(run), dict(result.predictions)
    done = {each.fit.name: each for each in run.results}
    for name in predicted_sets(run.fits):
        found[name] = together.combine(run, [done[fit.name].predictions[name] for fit in together.fits])
    found = {name: together.finish(run, said) for name, said in found.items()}
    changed = found.keys() != result.predictions.keys() or any(
        said is not result.predictions[name] for name, said in found.items()
    )
    return evolve(result, predictions=found) if changed else result


def prediction_problems(fits: Sequence[Fit], *, can_predict: bool) -> list[Problem]:
    """Return what is wrong with the sets that a plan only predicts.

    Args:
        fits: The plan.
        can_predict: Whether a plugin combines predictions.
    """
    axes, names = grown_axes(taking_part(fits)), predicted_sets(fits)
    if not (axes and names) or can_predict:
        return []
    words = f"the fits along {axes[0]} predict {names[0]} rows, and no plugin combines what they say"
    return [Problem("plugins", f"{words} (combine_predictions)")]


def as_decision(asker: Asker, decision: Any) -> Any:
    """Return a decision as it is kept and comes back.

    Args:
        asker: Who decides.
        decision: What was decided.

    Raises:
        PluginError: It is no JSON value.
    """
    try:
        return from_json(to_json({"decision": decision}))["decision"]
    except (TypeError, ValueError, RecursionError) as error:
        raise PluginError(f"{asker.said}: run.decide: expected JSON values, got something else ({error})") from error
