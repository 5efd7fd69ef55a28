"""What a plugin implements and gives back, held against the hooks: pluggy would let much of it pass in silence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stepbus.base import PluginError, Problem, Retention, check_arguments, did_you_mean, show
from stepbus.kernel import events

# Every hook and its arguments.
SPECIFICATIONS = events.specifications()


def hooks_of(plugin: Any, label: str, scope: str = "run") -> dict[str, Callable[..., Any]]:
    """Return the hook implementations of a plugin, having checked each.

    Args:
        plugin: An instance, a class or a module.
        label: How messages should name it.
        scope: "fit" refuses the hooks of a run.

    Returns:
        Hook name -> bound function.

    Raises:
        PluginError: Anything that pluggy would let pass in silence, and what it would refuse.
    """
    found = {}
    for name in dir(plugin):
        if name.startswith("__"):
            continue  # most of them, and each takes its time to look up
        function = inspect.getattr_static(plugin, name, None)
        function = getattr(function, "__func__", function)
        if not callable(function):
            continue
        options = getattr(function, "stepbus_impl", None)
        if options is None:
            # A module may well use a hook's name for something of its own; a class that does forgot the decorator.
            if name in SPECIFICATIONS and not inspect.ismodule(plugin):
                raise PluginError(f"{label}: {name} is a hook's name; write @hookimpl above it")
            continue
        _check(name, function, options, label, scope)
        found[name] = getattr(plugin, name)
        check_arguments(name, function, found[name], plugin, label, SPECIFICATIONS[name])
    return found


def _check(hook: str, function: Any, options: dict[str, Any], label: str, scope: str) -> None:
    if options.get("specname"):
        raise PluginError(f"{label}: {hook}: specname= would hide which hook it is; give the method the hook's name")
    if hook not in SPECIFICATIONS:
        raise PluginError(f"{label}: there is no hook {hook!r}{did_you_mean(hook, SPECIFICATIONS)}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{label}: {hook} is an async function, which nobody would wait for; write def")
    if inspect.isgeneratorfunction(function) and not (options.get("wrapper") or options.get("hookwrapper")):
        raise PluginError(
            f"{label}: {hook} has a yield, so calling it would run none of it; write @hookimpl(wrapper=True) if it "
            "goes around the others, or take the yield out"
        )
    if options.get("hookwrapper"):
        raise PluginError(f"{label}: {hook}: hookwrapper=True is pluggy's old way; write wrapper=True")
    if hook in events.THREADED and options.get("wrapper"):
        raise PluginError(f"{label}: {hook} passes a value along, so it cannot be a wrapper")
    if hook in ("on_exception", "on_close") and options.get("wrapper"):
        raise PluginError(f"{label}: {hook} reaches each plugin by itself, so it cannot be a wrapper")
    if hook in events.RUN_HOOKS and scope == "fit":
        raise PluginError(f'{label}: {hook} belongs to the run; write scope = "run" in the class')


def _problems(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, Problem) for each in value)


def _groups(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(group, Mapping) for group in value.values())


def _steps(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in value
    )


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(each, str) for each in value)


def _following(value: Any) -> bool:
    """Whether a value is (arrays, function) or (arrays, function, weights); what the arrays are is seen later."""
    return (
        isinstance(value, tuple | list)
        and len(value) in (2, 3)
        and isinstance(value[0], Mapping)
        and callable(value[1])
        and (len(value) == 2 or value[2] is None or callable(value[2]))
    )


def _files(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(content, str | bytes) for name, content in value.items()
    )


def _fits(value: Any) -> bool:
    from stepbus.kernel.fits import Fit

    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Fit) for each in value)


def _fit(value: Any) -> bool:
    from stepbus.kernel.fits import Fit

    return isinstance(value, Fit)


def _result(value: Any) -> bool:
    from stepbus.kernel.fits import FitResult

    return isinstance(value, FitResult)


def _predictions(value: Any) -> bool:
    from stepbus.kernel.fits import Predictions

    return isinstance(value, Predictions)


def _views(value: Any) -> bool:
    """Whether a value is a list of views: (name, rows) or (name, rows, settings)."""
    return isinstance(value, list | tuple) and all(
        isinstance(view, tuple)
        and len(view) in (2, 3)
        and isinstance(view[0], str)
        and isinstance(view[2] if len(view) == 3 else {}, Mapping)
        for view in value
    )


def _yes_or_no(value: Any) -> bool:
    # NumPy's own kind, by name: this module is imported with every configuration.
    return isinstance(value, int) or type(value).__name__ in ("bool", "bool_")


# Hook -> whether a value will do, and what is expected in words. What other hooks give is not looked at.
RESULTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "validate_plan": (_problems, "a list of stepbus.Problem"),
    "parameter_groups": (_groups, "a mapping from parameter names to mappings of settings"),
    "transform_gradients": (callable, "a function of gradients"),
    "transform_model": (callable, "a model"),
    "phases": (_steps, "a list of whole numbers of at least 1"),
    "trained_parameters": (_names, "a list of names of parameters"),
    "wrap_loss": (callable, "a function loss(forward, batch)"),
    "wrap_gradient": (callable, "a function value_and_grad(parameters, batch)"),
    "after_update": (_following, "(arrays, function) or (arrays, function, weights)"),
    "training_step": (callable, "a function step(model, optimizer, batch)"),
    "transform_export": (lambda value: isinstance(value, Mapping), "a mapping from names to arrays"),
    "export_files": (_files, "a mapping from file names to texts or bytes"),
    "expand_fits": (_fits, "a list of at least one stepbus.Fit"),
    "fill_fit": (_fit, "a stepbus.Fit"),
    "combine_results": (_result, "a stepbus.FitResult"),
    "prepare_data": (lambda value: isinstance(value, Mapping), "a mapping from set names to rows"),
    "prediction_views": (_views, "a list of (name, rows) or (name, rows, settings)"),
    "combine_views": (_predictions, "a stepbus.Predictions"),
    "combine_predictions": (_predictions, "a stepbus.Predictions"),
    "finish_predictions": (_predictions, "a stepbus.Predictions"),
    "is_boundary": (_yes_or_no, "true or false"),
    "checkpoint_retention": (lambda value: isinstance(value, Retention), "a stepbus.Retention"),
}


# Hooks whose collections are looked at one by one, so that a sentence can name what is wrong in them.
_OF_LISTS = ("validate_plan", "phases", "trained_parameters", "expand_fits")
_OF_MAPPINGS = ("parameter_groups", "export_files")
_FOLLOWING = {
    "arrays": lambda value: isinstance(value, Mapping),
    "function": callable,
    "weights": lambda value: value is None or callable(value),
}


def _got(hook: str, value: Any) -> str:
    """Return what a hook gave that it cannot take, in words: of a collection, the first thing that is wrong in it."""
    fits, _ = RESULTS[hook]
    if hook in _OF_MAPPINGS and isinstance(value, Mapping):
        for name, each in value.items():
            if not fits({name: each}):
                return f"a mapping with {show(each)} for {show(name)}"
    if hook in _OF_LISTS and isinstance(value, list | tuple):
        for each in value:
            if not fits([each]):
                return f"a list with {show(each)} in it"
    if hook == "after_update" and isinstance(value, list | tuple):
        if len(value) not in (2, 3):
            return f"a {type(value).__name__} of {len(value)}"
        for (name, fine), each in zip(_FOLLOWING.items(), value, strict=False):
            if not fine(each):
                return f"{show(each)} as {name}"
    return show(value)


# None of them says nothing either: only who combines an axis is asked, and the group waits for one answer.
_ANSWERS = ("combine_results", "combine_predictions")


class WrongReturn(TypeError):
    """A hook gave back what it cannot give."""


def checked(hook: str, function: Callable[..., Any], *, around: bool = False) -> Callable[..., Any]:
    """Return a hook implementation that raises WrongReturn where it gives back what the hook cannot take.

    Args:
        hook: The hook.
        function: Its implementation; or the second half of a wrapper, which takes the generator and the result inside
            it, and gives another result and None.
        around: It is such a half.
    """
    if hook not in RESULTS:
        return function
    fits, expected = RESULTS[hook]
    several = around and hook not in events.FIRST_DECIDES

    def implementation(*arguments: Any) -> Any:
        given = function(*arguments)
        value = given[0] if around else given
        if several:
            fine = isinstance(value, list | tuple) and all(each is None or fits(each) for each in value)
        else:
            fine = fits(value) if value is not None else not around or arguments[1] is None
        if fine:
            return given
        words = f"a list, each item {expected} or None," if several else expected
        words += "" if several or hook in _ANSWERS else " or None"
        got = show(value)
        if several and isinstance(value, list | tuple):
            got = next((_got(hook, each) for each in value if each is not None and not fits(each)), got)
        elif not several:
            got = _got(hook, value)
        mend = "; end it with return what the yield gave" if around else ""
        raise WrongReturn(f"expected {words} from it, got {got}{mend}")

    return implementation


def placed(hook: str, function: Callable[..., Any], place: str, *, around: bool = False) -> Callable[..., Any]:
    """Return a hook implementation whose problems have whole paths, see `stepbus.Problem`.

    Args:
        hook: The hook.
        function: Its implementation, checked; or the second half of a wrapper.
        place: Where the settings of the plugin stand.
        around: It is such a half.
    """
    if hook != "validate_plan":
        return function

    def implementation(*arguments: Any) -> Any:
        given = function(*arguments)
        if not around:
            return None if given is None else [each.below(place) for each in given]
        found, raised = given
        return [each and [problem.below(place) for problem in each] for each in found or ()], raised

    return implementation
