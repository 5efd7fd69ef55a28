"""What subclasses of other libraries' trainers write, and what does the same here."""

from __future__ import annotations

from stepbus.base import did_you_mean
from stepbus.kernel import SPECIFICATIONS

_HOOK = "write {hook} with @hookimpl in a class of its own, and hand that over: plugins=[…]"
_LOSS = f"pick a loss in section loss, or {_HOOK.format(hook='wrap_loss')}"
_GRADIENT = f"write process_gradients(self, gradients), or {_HOOK.format(hook='transform_gradients')}"
_OPTIMIZER = (
    "pick one in section optimizer, or write one: `stepbus plugins new NAME --kind optimizer`; parameter_groups gives "
    "single parameters settings of their own"
)
_SCHEDULER = "pick one in section scheduler, or write one: `stepbus plugins new NAME --kind scheduler`"
_LOOP = f"write training_step(self, batch, state); for what comes around it {_HOOK.format(hook='on_epoch_start')}"
_SCORE = (
    f"the run evaluates by itself; {_HOOK.format(hook='on_predictions')}, or write a metric: "
    "`stepbus plugins new NAME --kind metric`"
)
_METRIC = "write a metric: `stepbus plugins new NAME --kind metric`, and pick it in training.metrics"
_LOG = f"{_HOOK.format(hook='on_log')}; training_step may return (loss, {{name: array}}), which is logged"
_DATA = f"hand loaders to train(loader, validation_loader), or {_HOOK.format(hook='prepare_data')}"
_MODEL = f"hand the model over: create_trainer(model), or {_HOOK.format(hook='transform_model')}"
_SAVE = f"the run saves by itself; {_HOOK.format(hook='on_checkpoint')}; export_files gives files beside the model"
_RESUME = f"the run goes on by itself with train(resume=True); {_HOOK.format(hook='on_fit_start')}"
_STOP = f"{_HOOK.format(hook='on_metrics')}, and let it call trainer.control.request_stop"
_PLUGINS = "hand plugins over: create_trainer(model, plugins=[…])"
_NOTHING = "there is nothing of the kind here; leave it out"

_BY_ADVICE = {
    _LOSS: "compute_loss compute_loss_func compute_loss_context_manager loss_fn loss_function criterion get_loss "
    "calculate_loss label_smoother",
    _GRADIENT: "compute_gradients clip_gradients clip_grad_norm clip_grad_norm_ _clip_grad_norm backward "
    "manual_backward configure_gradient_clipping transform_gradients accumulate_gradients",
    _OPTIMIZER: "create_optimizer configure_optimizers create_optimizer_and_scheduler optimizer_step "
    "get_optimizer_cls_and_kwargs get_optimizer_group get_decay_parameter_names optimizer_zero_grad update_parameters "
    "update_weights apply_gradients",
    _SCHEDULER: "create_scheduler lr_scheduler_step get_learning_rates _get_learning_rate adjust_learning_rate",
    _LOOP: "train_epoch training_epoch train_one_epoch training_loop train_loop _train_epoch _training_loop "
    "_inner_training_loop _run_epoch fit run_epoch before_training after_training",
    _SCORE: "evaluation_step validation_step eval_step test_step prediction_step predict_step evaluation_loop "
    "prediction_loop validate validation_epoch evaluate_epoch eval_epoch _evaluate _validate _validation_epoch "
    "test",
    _METRIC: "compute_metrics preprocess_logits_for_metrics _determine_best_metric",
    _LOG: "log log_metrics save_metrics metrics_format _maybe_log_save_evaluate report_metrics",
    _DATA: "get_train_dataloader get_eval_dataloader get_test_dataloader train_dataloader val_dataloader "
    "test_dataloader get_batch_samples data_collator collate_fn _prepare_inputs _prepare_input _get_train_sampler "
    "_get_eval_sampler _get_dataloader _remove_unused_columns num_examples setup",
    _MODEL: "call_model_init model_init build_model init_model forward _wrap_model _move_model_to_device "
    "configure_model",
    _SAVE: "save_model save_state _save _save_checkpoint create_model_card push_to_hub export save _load_best_model "
    "_save_optimizer_and_scheduler _save_rng_state",
    _RESUME: "load_model load_state resume_from_checkpoint _load_from_checkpoint _load_optimizer_and_scheduler "
    "_load_rng_state _load_callback_state",
    _STOP: "should_stop should_stop_early check_early_stopping early_stopping",
    _PLUGINS: "add_callback pop_callback remove_callback configure_callbacks callbacks",
    _NOTHING: "autocast_smart_context_manager create_accelerator_and_postprocess floating_point_ops "
    "get_cp_size get_sp_size get_tp_size get_num_trainable_parameters get_total_train_batch_size "
    "hyperparameter_search init_hf_repo is_local_process_zero is_world_process_zero loss_is_scaled_for_ga "
    "set_initial_training_values store_flos num_tokens end ipex_optimize_model torch_jit_model_eval "
    "propagate_args_to_deepspeed",
}
# Method of a trainer of the original's or of another library's -> what to do here.
FOREIGN = {name: advice for advice, names in _BY_ADVICE.items() for name in names.split()}

# Event of another library -> the hook that fires there.
EVENTS = {
    "on_init_end": "on_run_start",
    "on_train_begin": "on_fit_start",
    "on_train_start": "on_fit_start",
    "on_train_end": "on_fit_end",
    "on_epoch_begin": "on_epoch_start",
    "on_train_epoch_start": "on_epoch_start",
    "on_train_epoch_end": "on_epoch_end",
    "on_batch_end": "on_step_end",
    "on_train_batch_end": "on_step_end",
    "on_optimizer_step": "on_step_end",
    "on_validation_start": "on_evaluate_start",
    "on_validation_epoch_start": "on_evaluate_start",
    "on_validation_end": "on_evaluate",
    "on_validation_epoch_end": "on_evaluate",
    "on_evaluate_end": "on_evaluate",
    "on_predict": "on_predictions",
    "on_save": "on_checkpoint",
    "on_save_checkpoint": "on_checkpoint",
    "on_pre_optimizer_step": "transform_gradients",
    "on_before_optimizer_step": "transform_gradients",
    "on_after_backward": "transform_gradients",
}


def advice_on(name: str) -> str:
    """Return what does here what a method of that name does elsewhere; "" where nobody would expect anything of it.

    Args:
        name: The method's name.
    """
    if name in SPECIFICATIONS or name in EVENTS:
        return f"it is a hook: {_HOOK.format(hook=EVENTS.get(name, name))}"
    if name in FOREIGN:
        return FOREIGN[name]
    if name.startswith("on_"):
        return f"no such hook fires{did_you_mean(name, SPECIFICATIONS)}; `stepbus hooks` lists those that do"
    return ""
