"""The events: every hook, when it fires, what it gives and what a return value does.

The order of a run, held true by a test (`for` repeats its lines, `if` may skip them):

    expand_fits
    prepare_data
    validate_plan
    for each configuration that overrides of fits make:
        prepare_data
        if plugins of a fit look at plans:
            validate_plan
    on_run_start
    for each fit:
        if it comes after others:
            fill_fit
        if its rows were not prepared for the plan:
            prepare_data
        transform_model
        phases
        for each phase:
            trained_parameters
        parameter_groups
        after_update
        transform_export
        if it is the first that this process does:
            checkpoint_retention
        wrap_loss
        wrap_gradient
        transform_gradients
        training_step
        on_fit_start
        if the disk is tried:
            transform_export
        if a checkpoint was asked for at the start:
            transform_export
            checkpoint_retention
            on_checkpoint
        for each epoch:
            if the epoch starts here:
                on_epoch_start
            for each update:
                is_boundary
                on_step_end
                if a log interval ended:
                    on_log
                if an evaluation is due:
                    on_evaluate_start
                    on_predictions
                    on_evaluate
                    on_metrics
                if the epoch ended:
                    on_epoch_end
                if a checkpoint became durable:
                    checkpoint_retention
                    on_checkpoint
                if a checkpoint was asked for:
                    if the one before it had to be waited for:
                        checkpoint_retention
                        on_checkpoint
                    transform_export
                if a phase begins and more updates come:
                    wrap_loss
                    wrap_gradient
                    transform_gradients
                    training_step
        if a checkpoint was still being written:
            checkpoint_retention
            on_checkpoint
        transform_export
        for each set that is scored or predicted at the end:
            prediction_views
            if it is scored, and was not at this very step or has views:
                on_evaluate_start
            if it has views:
                combine_views
            on_predictions
            if it is scored, and was not at this very step or has views:
                on_evaluate
        if it came to its end:
            export_files
        on_fit_end
        if its result is kept:
            checkpoint_retention
        on_fit_result
    for each axis that the plan grew along:
        combine_results
        on_result
    for each set that is only predicted, along each axis:
        combine_predictions
    for each set of the result:
        finish_predictions
    on_run_end
    on_close

`is_boundary` is asked when an update is launched, up to `pipeline_depth` updates before `on_step_end` tells of it.

Beside the order stand `on_message`, `on_report` and `on_artifact`, which anything may cause at any time, and
`on_exception`, which fires before `on_close` when a run fails; where a signal ends it, `on_close` alone says so.

A hook takes only the arguments that it names. "Threaded" means that the value goes through the implementations in
call order, each receiving what the one before returned; None leaves it as it was.

What hooks are given is read-only: who wants to change it takes a copy. An exception in a hook ends the run in one
sentence that names the plugin. One that only watches or finds problems may say `on_error = "disable"` in its class, or
`on_error: disable` among its settings in YAML, which goes first: then an error switches it off, the run goes on, and a
resume leaves it off; `on_close` reaches it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import hookspec

if TYPE_CHECKING:
    from stepbus.base import Problem
    from stepbus.kernel.fits import Fit, FitResult, Predictions
    from stepbus.kernel.parts import StepResult
    from stepbus.kernel.protocols import Plan, Run, Session
    from stepbus.kernel.state import TrainingState

# ---------------------------------------------------------------------------------------------------------------------
# BUILD: before the compiled step exists; may change the computation
# ---------------------------------------------------------------------------------------------------------------------


@hookspec
def validate_plan(plan: Plan) -> list[Problem] | None:
    """Find problems of the plan before weights are loaded; fit-scoped plugins again for each fit's own configuration.

    Args:
        plan: What is going to happen: the configuration, the fits, the metrics and their directions, the steps.

    Returns:
        Problems, those of all plugins are shown together, and nothing starts. `Problem(".from_epoch", …)` is of the
        plugin's own setting, under whatever name the configuration gives the plugin.
    """


@hookspec
def prepare_data(trainer: Session, sets: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Change the cells of rows before they become texts and tokens: in each fit, and whenever its model predicts.
    Threaded over `sets`.

    What is learnt, is learnt from `train` and remembered (`state_dict`): a plugin with this hook is made anew when
    the model is opened, its settings and its memory restored, and gets sets without `train`.

    Args:
        trainer: The session; there is no data and no model yet. Of an opened folder `trainer.mode` is predict.
        sets: Set name -> `stepbus.Rows`. Only those of `train` have labels; the others have lost these columns.

    Returns:
        The same sets, with rows such as `attrs.evolve(rows, frame=…)`. But for `train`, with the same ids in the same
        order and without labels.
    """


@hookspec
def prediction_views(trainer: Session, rows: Any) -> Sequence[tuple[Any, ...]] | None:
    """Give other versions of rows to predict besides (test-time augmentation).

    Fires for each set once at the end of a fit, and whenever its model predicts or evaluates; never during training. A
    plugin with this hook is made anew when the model is opened, as one with `prepare_data` is.

    Args:
        trainer: The session.
        rows: The rows, prepared, without labels.

    Returns:
        A list of (name, rows) or (name, rows, settings of section `data` for them). Each id has to come at least
        once; what is said of several rows of an id is merged by their mean.
    """


@hookspec(firstresult=True)
def combine_views(trainer: Session, predictions: Mapping[str, Predictions]) -> Predictions | None:
    """Combine what is said of rows in several views; the score of the plain one is kept as well (`eval_plain_…`).

    Args:
        trainer: The session.
        predictions: View -> its predictions, without labels, aligned by row id; "plain" is the rows as they are.

    Returns:
        One for all views, of the same rows in the same order; the first plugin that returns one decides.
    """


@hookspec
def transform_model(trainer: Session, model: Any) -> Any:
    """Change what the model is made of: put adapters in, start layers anew, compute them otherwise. Threaded.

    Fires once for each fit, when the weights that it starts with are in place and neither an optimizer nor a checkpoint
    is. What is only frozen is said by `trained_parameters`.

    Args:
        trainer: The session of this fit.
        model: The model, an `mlx.nn.Module`; a copy of the fit's own, which is given back in the end.
            A plain value that is noted on it as a private attribute goes with the weights (`object.__setattr__`).

    Returns:
        The model, changed in place or another one. Where its parameters are others than before, `transform_export` says
        what is left of them in the end.
    """


@hookspec
def phases(trainer: Session) -> Sequence[int] | None:
    """Say after which updates the computation changes: from there on everything that is compiled is built anew.

    Fires once for each fit. At each phase `wrap_loss`, `wrap_gradient`, `transform_gradients` and `training_step` are
    asked again; `trainer.state.step` is the number of updates before it.

    Args:
        trainer: The session of this fit; `trainer.state.steps_per_epoch` and `total_steps` are known.

    Returns:
        Numbers of updates, such as `[2 * trainer.state.steps_per_epoch]` for the third epoch on.
    """


@hookspec
def trained_parameters(trainer: Session, model: Any, names: Sequence[str], step: int) -> Sequence[str] | None:
    """Say which parameters are trained from an update on; the others are frozen. Threaded over `names`.

    Fires before the first update, for 0 and for each step of `phases`: a pure function of its arguments. Optimizer and
    plugins hold state for whatever is trained in any phase; a parameter that begins late counts its own updates.

    Args:
        trainer: The session of this fit.
        model: The model.
        names: The parameters, at first all that are not frozen in the model.
        step: The updates before the phase.

    Returns:
        Some of these names.
    """


@hookspec
def parameter_groups(trainer: Session, model: Any) -> dict[str, dict[str, float]] | None:
    """Give single parameters settings of their own, once for each fit, before the optimizer's state exists.

    Args:
        trainer: The session of this fit.
        model: The model, with its weights.

    Returns:
        Parameter name -> {"weight_decay": …, "learning_rate_scale": …}. Names are merged; where two plugins give
        the same setting of the same parameter, the later one wins, and scales multiply. For `trace_key` see
        `transform_gradients`.
    """


@hookspec
def wrap_loss(trainer: Session, loss: Callable[..., Any]) -> Callable[..., Any] | None:
    """Change the loss of the training step: add a term, mix rows, run the model twice. Threaded over `loss`.

    Asked once for each phase. The function is `loss(forward, batch) -> (row losses [B], {name: scalar array})`. The
    engine weighs the rows and adds them up. `forward(batch)` gives the outputs, of text logits float32 [B, K]; it may
    be called several times, each with dropout of its own, and on a changed batch. Of a model of text
    `forward.pooled(batch)` gives the pooled vectors [B, D], `forward.logits(pooled)` the rest, and
    `forward.head(pooled)` the rest without its dropout. What is handed to the inner loss as `forward` may be a function
    of one's own.

    Args:
        trainer: The session of this fit.
        loss: The loss so far; the innermost is that of section `loss`.

    Returns:
        The new loss. A named scalar is the mean of its batch, or an array [B] that is weighed like the losses; all are
        logged by name. For `trace_key` see `transform_gradients`.
    """


@hookspec
def wrap_gradient(trainer: Session, value_and_grad: Callable[..., Any]) -> Callable[..., Any] | None:
    """Change how the gradient is taken: at other weights, on other inputs, more than once. Threaded over it.

    Asked once for each phase. The function is `value_and_grad(parameters, batch) -> (total, weight, scalars,
    gradients)`, for each batch that is accumulated: the sum of the row losses by weight, the sum of the weights, the
    sums of named scalars by weight, and the gradient of the total. All are float32 and free of any loss scale.

    Args:
        trainer: The session of this fit.
        value_and_grad: The function so far. `parameters` and `gradients` are dictionaries by parameter name, of what is
            trained; called with frozen parameters besides, it gives their gradients as well.

    Returns:
        The new function. For `trace_key` see `transform_gradients`.
    """


@hookspec
def transform_gradients(trainer: Session) -> Callable[[Any], Any] | None:
    """Change the gradients inside the compiled step; asked once for each phase.

    Args:
        trainer: The session of this fit.

    Returns:
        A pure function gradients -> gradients, or gradients -> (gradients, {name: scalar array}). It runs once for
        each trace, not for each step, so it may hold no Python state. Functions are chained in call order. The fits of
        a run share compiled steps where each plugin with this hook, `parameter_groups`, `wrap_loss`, `wrap_gradient`,
        `after_update` or `training_step` has a method `trace_key(trainer)` that gives equal values in both (settings,
        numbers, texts; None is equal to nothing): the promise that its hooks give the same there. A function that holds
        arrays of the model has the values of when the hook was asked, which after a resume are those of the resume; the
        weights of the start belong into the arrays of `after_update`, and present ones are read from `trainer.model`
        inside the function. An update whose gradients it makes to no finite numbers changes nothing, as where they came
        so; a class that says `keeps_finite = True` promises finite gradients for finite ones, and spares that look.
    """


@hookspec
def after_update(trainer: Session) -> tuple[Any, ...] | None:
    """Give arrays that follow the weights, such as averages of them; asked once for each fit.

    They are checkpointed, and where an update is skipped they keep their values; those of a class that says
    `follows_skipped = True` follow it as well, with the parameters as they stand, so that they can count all updates.
    Asked again where a checkpoint's weights are loaded without its optimizer.

    Args:
        trainer: The session of this fit; `trainer.optimizer.trained(trainer.model)` is a dictionary by name of what is
            trained in any phase, and `trainer.state.step` the number of updates so far.

    Returns:
        (arrays, function) or (arrays, function, weights). `arrays` is a dictionary of arrays, or of such dictionaries,
        before the first update; `function(parameters, arrays) -> arrays` gives the new ones after each update, a pure
        function inside the compiled step, with `parameters` as above. `weights(parameters, arrays) -> {name: array}`
        gives what is evaluated, chosen as best and exported in place of the weights of training, which hooks meet in
        `trainer.model` until the fit ends; whoever gives it says `averages = True` in its class, and only one plugin
        or optimizer can. For `trace_key` see `transform_gradients`.
    """


@hookspec(firstresult=True)
def training_step(trainer: Session) -> Callable[..., Any] | None:
    """Give a whole training step of one's own; asked once for each phase, and the first plugin with an answer decides.

    It goes with neither accumulation nor `wrap_loss` nor `wrap_gradient`.

    Args:
        trainer: The session of this fit.

    Returns:
        `step(model, optimizer, batch) -> loss`, or (loss, {name: scalar array}): a function inside the compiled step
        that calls `optimizer.update(model, gradients)` once, with the gradients as a tree; what `transform_gradients`
        gives is done there. `optimizer.loss_and_gradients(batch)` gives what the engine's own step begins with. For
        `trace_key` see `transform_gradients`.
    """


@hookspec
def transform_export(trainer: Session, tensors: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Change the tensors that are exported, such as to merge adapters into them. Threaded over `tensors`.

    Fires at the end of each fit, with the weights in place that are exported. What comes out is put into the model as
    it was before `transform_model`, which is scored and written, and which the next `train` starts from. Fires for each
    checkpoint too, whose model everybody can open, and once before the first update, to see that it fits: a pure
    function of its arguments.

    Args:
        trainer: The session of this fit; its model is still the one that was trained.
        tensors: Name in files -> array.

    Returns:
        The new tensors: what `transform_model` put into the model is taken out again, and no shape has changed.
    """


@hookspec
def export_files(trainer: Session) -> Mapping[str, bytes | str] | None:
    """Give files to write beside an exported model, such as a model card.

    Args:
        trainer: The session of this fit, its last scores in `trainer.state.metrics`.

    Returns:
        File name -> content. A name that a model's folder has anyway, or that another plugin gives, is an error, and so
        is a path. stepbus.json vouches for them: once one is changed the folder is refused; without it the folder
        opens. A class that names them, `exports = ("README.md",)`, has a file of the user's found before training.
    """


# ---------------------------------------------------------------------------------------------------------------------
# OUTER LOOP: a plan of fits; pure functions of configuration, data and results
# ---------------------------------------------------------------------------------------------------------------------


@hookspec
def expand_fits(run: Run, fits: list[Fit]) -> list[Fit] | None:
    """Turn each fit into several (folds, members, rounds): the whole plan, all rounds included. Threaded over `fits`.

    A plugin that puts fits along an axis declares it in its class, `grows = (Axis("fold"),)`, and `stepbus.grow` makes
    several of each fit, so that what comes after one comes after its own copy.

    Args:
        run: The run; its rows are read, no weights are loaded.
        fits: The fits so far; at first one, over the whole training set.

    Returns:
        The new list of fits. They are done in this order, but each after those that its `after` names.
    """


@hookspec
def fill_fit(run: Run, fit: Fit, results: Mapping[str, FitResult]) -> Fit | None:
    """Give a fit what it needs of earlier results: rows, their weights, soft labels. Threaded over `fit`.

    Fires for each fit with `after`, once those fits are done and before it begins; in a resume again, for each of them.
    So it is a pure function of its arguments: the same rows come out every time.

    Args:
        run: The run.
        fit: The fit as the plan has it.
        results: Fit name -> its result, of the fits that `after` names; of single fits, never combined ones, whose
            predictions come from weights that have seen every fold.

    Returns:
        The fit with other rows in its sets that train or decide; everything else of it stays.
    """


@hookspec(firstresult=True)
def combine_results(run: Run, axis: str, results: list[FitResult]) -> FitResult | None:
    """Combine the results of fits that differ in one axis, after the last of them; innermost axes come first.

    Only the plugin is asked that combines the axis: the one that grows it, or that it names with `combined_by`.

    Args:
        run: The run.
        axis: "fold", "repeat", "member", "round", "trial", or a plugin's own.
        results: One result for each fit of the group, in order; auxiliary fits are in none.

    Returns:
        One result for the group: `FitResult(results[0].fit, metrics=…, predictions=…, directory=run.directory)`.
        `predictions` holds, of each scored set, what the group says together, with labels and weights; what comes after
        works with it. Of sets that are only predicted, `combine_predictions` says it, and what stands here is replaced.
        `metrics` are by `run.score(said.labels, said.values, said.weights)`, which has no prefix, under names of your
        own: `eval_…` for the set that the fits score as such, or `oof_…` and `cv_…` as cross-validation has them. They
        are shown at the end of the run. The axis is taken out of `fit.scope`; `parts`, `lineage`, `selected` and `seen`
        are filled in.
    """


@hookspec(firstresult=True)
def combine_predictions(run: Run, axis: str, predictions: list[Predictions], fits: list[Fit]) -> Predictions | None:
    """Combine what fits that differ in one axis say of the same rows without labels.

    Fires in the run, once all results are combined, and whenever its models predict afterwards (`stepbus predict RUN`).

    A plugin with this hook is made anew when a run is opened, its settings and what its `state_dict` returned at the
    end of the run restored; so what it learnt in `combine_results` has to be in there.

    Args:
        run: The run; of one that was opened only `id`, `directory`, `config`, `codec`, `fits`, `message` and `report`.
        axis: "fold", "member", …
        predictions: Those of each fit of the group, in order.
        fits: The fits, without their rows; those of an inner axis that were combined are named by the first of them.

    Returns:
        One for the group, of the same rows in the same order; the first plugin that returns one decides.
    """


@hookspec
def finish_predictions(run: Run, predictions: Predictions, decisions: Mapping[str, Any]) -> Predictions | None:
    """Change what a run says in the end: of each set of its result, and of whatever it predicts afterwards. Threaded.

    A plugin with this hook is made anew when a run is opened, as one with `combine_predictions` is.

    Args:
        run: As in `combine_predictions`.
        predictions: What the outermost axis came to.
        decisions: Plugin name -> what it gave to `run.decide`, kept with the run as JSON values.

    Returns:
        The predictions, of the same rows in the same order: with other values, or with what was `decided` of them
        (a threshold), by which they are written as words.
    """


# ---------------------------------------------------------------------------------------------------------------------
# RUN: host numbers only; observe and ask
# ---------------------------------------------------------------------------------------------------------------------


@hookspec
def on_run_start(run: Run) -> None:
    """Fires once, when the fits are known and before the first of them begins."""


@hookspec
def on_run_end(run: Run, result: FitResult) -> None:
    """Fires once, after the last fit of a run that did not fail.

    Args:
        run: The run.
        result: The combined result.
    """


@hookspec
def on_fit_start(trainer: Session, state: TrainingState) -> None:
    """Fires when a fit is about to launch its first step, after a resumed state was put back.

    Args:
        trainer: The session of this fit.
        state: Where it stands; `state.step` is above 0 when it was resumed.
    """


@hookspec
def on_fit_end(trainer: Session, state: TrainingState, result: FitResult) -> None:
    """Fires at the end of every fit, also of one that failed or was interrupted.

    Args:
        trainer: The session of this fit.
        state: Where it stands.
        result: Its result; `result.status` is ok, stopped, interrupted or failed.
    """


@hookspec
def on_fit_result(run: Run, result: FitResult) -> None:
    """Fires after each fit, in the order of the plan and in the process of the run, once its result is kept.

    A resume fires it for fits that were done and not told of, and for none a second time: what was told is written
    down right after the hook, with what every plugin of scope "run" remembers then. A kill between the two has the hook
    called again, with the memory from before it: so what `state_dict` returns has counted each result once, and what a
    plugin did elsewhere (a line in a tracker) may have been done twice.

    Args:
        run: The run.
        result: What came out of the fit; `result.status` is ok or stopped.
    """


@hookspec
def on_result(run: Run, axis: str, result: FitResult) -> None:
    """Fires after the results of fits that differ in one axis were combined; told once, as `on_fit_result` is.

    Args:
        run: The run.
        axis: "fold", "member" or another one that the plan grew along.
        result: The combined result; `result.parts` are those it was made of, `result.fit.scope` its place on the
            other axes.
    """


@hookspec
def on_epoch_start(trainer: Session, state: TrainingState) -> None:
    """Fires before the first step of an epoch; `state.epoch` counts from 0."""


@hookspec
def on_epoch_end(trainer: Session, state: TrainingState) -> None:
    """Fires after the last step of an epoch and its evaluation, before its checkpoint; `state.epoch` is that epoch.

    `state.metrics` has `train_loss` of the epoch, whether or not anything was evaluated.
    """


@hookspec
def is_boundary(trainer: Session, step: int) -> bool | None:
    """Say before an update is launched that something is due after it, so that the device is drained there.

    Args:
        trainer: The session of this fit.
        step: The number of the update, from 1.

    Returns:
        True where this plugin will ask for something at that step; any True makes a boundary.
    """


@hookspec
def on_step_end(trainer: Session, state: TrainingState, step: StepResult) -> None:
    """Fires after each optimizer update, in order, once its numbers are on the host.

    Args:
        trainer: The session of this fit.
        state: Where it stands; `state.step` already counts this update.
        step: The update's numbers.
    """


@hookspec
def on_log(trainer: Session, state: TrainingState, record: dict[str, float]) -> None:
    """Fires at each log interval, and whenever `trainer.log` is called.

    Args:
        trainer: The session of this fit.
        state: Where it stands.
        record: step, epoch, loss (mean of the interval), learning_rate, speeds, and the named scalars of the step.
    """


@hookspec
def on_evaluate_start(trainer: Session, state: TrainingState, name: str, reason: str) -> None:
    """Fires before a set is evaluated.

    Args:
        trainer: The session of this fit.
        state: Where it stands.
        name: The set.
        reason: epoch, steps, final, or who asked.
    """


@hookspec
def on_predictions(trainer: Session, state: TrainingState, name: str, predictions: Predictions, final: bool) -> None:
    """Fires when the predictions of a whole set are on the host.

    Args:
        trainer: The session of this fit.
        state: Where it stands.
        name: The set.
        predictions: Row ids [N]; values, [N, K] probabilities or [N] in their own unit; labels, [N] class numbers,
            [N, K] 0/1 or [N] values, None for a set without labels; weights [N] or None.
        final: True for the last evaluation of the fit.
    """


@hookspec
def on_evaluate(trainer: Session, state: TrainingState, name: str, metrics: dict[str, float]) -> None:
    """Fires after a set was evaluated.

    Args:
        trainer: The session of this fit.
        state: Where it stands; `state.metrics` gets these numbers afterwards.
        name: The set.
        metrics: Its metrics, with their prefix (`eval_loss`, …).
    """


@hookspec
def on_metrics(trainer: Session, state: TrainingState, metrics: dict[str, float]) -> None:
    """Fires once for each evaluation of the monitored set, after the best is known: the place for decisions.

    Args:
        trainer: The session of this fit.
        state: Where it stands; `state.best` already knows this cycle.
        metrics: Its metrics, and of the training the means by weight over the rows of the epoch so far: `train_loss`,
            and `train_NAME` of each part of the loss.
    """


@hookspec(firstresult=True)
def checkpoint_retention(trainer: Session) -> Any:
    """Say which checkpoints stay, each time one has become durable, and at last of a fit that is done.

    It is asked before the first fit too, and by `stepbus plan`, to hold what a run takes on disk against what is free.

    Args:
        trainer: The session of this fit.

    Returns:
        A `stepbus.Retention`; the first plugin that returns one decides. Its `finished` counts at last.
    """


@hookspec
def on_checkpoint(trainer: Session, state: TrainingState, checkpoint: Path) -> None:
    """Fires at the first boundary after a checkpoint is durable and was read back.

    Training goes on while it is written: that may be any boundary after its own, or the end of the fit. A plugin's
    state must not depend on which.

    Args:
        trainer: The session of this fit.
        state: Where it stands now; the checkpoint is of an earlier step, which its name says.
        checkpoint: The checkpoint's folder.
    """


@hookspec
def on_message(run: Run, text: str, level: str) -> None:
    """Fires when there is something to tell the user.

    Args:
        run: The run.
        text: One sentence.
        level: info or warning.
    """


@hookspec
def on_report(run: Run, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Fires when there is a table to show the user.

    Args:
        run: The run.
        title: What it shows.
        columns: The heads.
        rows: The cells, as words.
    """


@hookspec
def on_artifact(run: Run, fit: Fit | None, kind: str, path: Path) -> None:
    """Fires when a file worth keeping was written.

    Args:
        run: The run.
        fit: The fit that it is of; None for one of the whole run.
        kind: model, history, checkpoint, predictions, …
        path: Where it lies.
    """


@hookspec
def on_exception(run: Run, error: BaseException) -> None:
    """Fires when a run fails, before `on_close`; the error goes on its way afterwards. A signal is no failure."""


@hookspec
def on_close(run: Run, status: str) -> None:
    """Fires last and always, for every plugin, one that was switched off by an error included.

    Args:
        run: The run.
        status: ok, stopped, failed or interrupted.
    """


# Hooks whose value goes through the implementations in order, and the argument that carries it.
THREADED = {
    "expand_fits": "fits", "fill_fit": "fit", "prepare_data": "sets", "finish_predictions": "predictions",
    "transform_model": "model", "trained_parameters": "names", "wrap_loss": "loss", "wrap_gradient": "value_and_grad",
    "transform_export": "tensors",
}  # fmt: skip

# Hooks that the first plugin with an answer decides.
FIRST_DECIDES = frozenset(
    {"combine_results", "combine_predictions", "combine_views", "checkpoint_retention", "training_step"}
)

# Hooks that belong to the run rather than to one fit: a fit-scoped plugin cannot implement them.
RUN_HOOKS = frozenset(
    {
        "expand_fits", "fill_fit", "combine_results", "combine_predictions", "finish_predictions", "on_run_start",
        "on_run_end", "on_fit_result", "on_result", "on_message", "on_report", "on_artifact", "on_exception",
        "on_close",
    }
)  # fmt: skip

# Hooks that can change or refuse what is computed: a plugin with one of these cannot be switched off by an error.
BUILD_HOOKS = frozenset(
    {
        "validate_plan", "prepare_data", "parameter_groups", "transform_gradients", "expand_fits", "fill_fit",
        "combine_results", "prediction_views", "combine_views", "combine_predictions", "finish_predictions",
        "transform_model", "phases", "trained_parameters", "wrap_loss", "wrap_gradient", "after_update",
        "training_step", "transform_export", "export_files",
    }
)  # fmt: skip

# Hooks of BUILD that take part whenever a trained run predicts: a plugin with one is made anew for that.
PREDICTION_HOOKS = frozenset(
    {"prepare_data", "prediction_views", "combine_views", "combine_predictions", "finish_predictions"}
)


def specifications() -> dict[str, tuple[str, ...]]:
    """Return every hook and its arguments, read from this module."""
    return {
        name: function.__code__.co_varnames[: function.__code__.co_argcount]
        for name, function in globals().items()
        if hasattr(function, "stepbus_spec")
    }
