"""What the fits of a run say together of rows without labels: combined along each axis, then finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from stepbus.base import PluginError, PluginFailure, listed
from stepbus.kernel import Bus, Fit, FitResult, Predictions, Run, groups_along, grown_axes
from stepbus.run.plans import declared, predicted_sets, ranked, taking_part
from stepbus.storage import from_json, to_json

if TYPE_CHECKING:
    from stepbus.base import Asker
    from stepbus.fit import Prototype

ROWS = "rows"


class Predicting(Run, Protocol):
    """A run, as prediction sees it.

    Attributes:
        bus: Its plugins of scope "run".
        planners: The prototypes of all its plugins.
        decisions: Plugin name -> what it decided.
    """

    bus: Bus
    planners: list[Prototype]
    decisions: dict[str, Any]


@frozen(eq=False)
class Together:
    """How fits predict together: the same in a run and when it is opened.

    Args:
        bus: The plugins that combine and finish.
        fits: The fits, in the order of the plan, without rows.
        combiners: Axis -> the name of the plugin that combines what lies along it, innermost first.
        decisions: Plugin name -> what it decided.
    """

    bus: Bus
    fits: tuple[Fit, ...]
    combiners: Mapping[str, str]
    decisions: Mapping[str, Any]

    @classmethod
    def of_run(cls, run: Predicting) -> Together:
        """Return how the fits of a run predict together; those for another purpose are none of them."""
        fits = taking_part(run.fits)
        grown = {each.axis.name: each for each in declared(run.planners)}
        axes = grown_axes(fits, ranked(each.axis for each in grown.values()))
        bare = tuple(Fit(fit.name, {}, fit.seed, fit.scope) for fit in fits)
        return cls(run.bus, bare, {axis: grown[axis].combiner for axis in axes}, run.decisions)

    def combine(self, run: Any, predictions: Sequence[Predictions]) -> Predictions:
        """Return what the fits say of the same rows together.

        Args:
            run: The run, as hooks get it.
            predictions: One for each fit.

        Raises:
            PluginFailure: Who is to combine them gives nothing, or other rows.
        """
        results = [FitResult(fit, predictions={ROWS: said}) for fit, said in zip(self.fits, predictions, strict=True)]
        for axis, name in self.combiners.items():
            # Who has no place on it, and nobody beside who has one, waits for an outer axis.
            results = [
                self._group(run, axis, name, group) if any(axis in each.fit.scope for each in group) else group[0]
                for group in groups_along(axis, results)
            ]
        (result,) = results
        return result.predictions[ROWS]

    def _group(self, run: Any, axis: str, name: str, group: list[FitResult]) -> FitResult:
        fits, given = [each.fit for each in group], [each.predictions[ROWS] for each in group]
        ask = self.bus.asking(name, "combine_predictions")
        said: Predictions | None = ask(run=run, axis=axis, predictions=given, fits=fits)
        if said is None:
            raise PluginFailure(
                f"{name} combines the fits along {axis}, and gave no predictions for {listed(f.name for f in fits)} "
                "(combine_predictions); take one fit: its model's folder, or trainer.fits[0]"
            )
        self._check_rows(given[0], said, name, "combine_predictions")
        scope = {other: place for other, place in fits[0].scope.items() if other != axis}
        return FitResult(evolve(fits[0], scope=scope), predictions={ROWS: said})

    def finish(self, run: Any, predictions: Predictions) -> Predictions:
        """Return what the run says in the end.

        Args:
            run: The run, as hooks get it.
            predictions: What its fits say together.
        """
        decisions = MappingProxyType(dict(self.decisions))
        said: Predictions = self.bus.thread("finish_predictions", run=run, predictions=predictions, decisions=decisions)
        who = " or ".join(each.plugin_name for each in self.bus.hook.finish_predictions.get_hookimpls())
        self._check_rows(predictions, said, who, "finish_predictions")
        return said

    @staticmethod
    def _check_rows(given: Predictions, said: Predictions, who: str, hook: str) -> None:
        """Refuse predictions of other rows than were given.

        Raises:
            PluginFailure: They are.
        """
        number = len(given.row_ids)
        if said is given or (len(said.values) == number and said.row_ids.tolist() == given.row_ids.tolist()):
            return
        raise PluginFailure(
            f"{who}: {hook}: expected predictions of the {number} rows that were given, in their order, got "
            f"{len(said.values)} of other ids; return evolve(given, values=…)"
        )


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
