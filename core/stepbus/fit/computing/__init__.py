"""What computes in a fit, the optimizer and the compiled steps, and when two fits compute alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.computing.explaining import computing_facts as computing_facts
    from stepbus.fit.computing.explaining import conditions_of as conditions_of
    from stepbus.fit.computing.explaining import explained as explained
    from stepbus.fit.computing.explaining import spoiled as spoiled
    from stepbus.fit.computing.explaining import spoiled_arrays as spoiled_arrays
    from stepbus.fit.computing.explaining import spoiled_words as spoiled_words
    from stepbus.fit.computing.explaining import steps_ahead as steps_ahead
    from stepbus.fit.computing.explaining import to_look_at as to_look_at
    from stepbus.fit.computing.losses import head_forward as head_forward
    from stepbus.fit.computing.losses import label_facts as label_facts
    from stepbus.fit.computing.losses import model_facts as model_facts
    from stepbus.fit.computing.making import followed_optimizer as followed_optimizer
    from stepbus.fit.computing.making import new_optimizer as new_optimizer
    from stepbus.fit.computing.making import new_steps as new_steps
    from stepbus.fit.computing.making import scoring_steps as scoring_steps
    from stepbus.fit.computing.phases import phases_of as phases_of
    from stepbus.fit.computing.phases import transformed_model as transformed_model
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        explaining="computing_facts conditions_of explained spoiled spoiled_arrays spoiled_words steps_ahead "
        "to_look_at",
        losses="head_forward label_facts model_facts",
        making="followed_optimizer new_optimizer new_steps scoring_steps",
        phases="phases_of transformed_model",
    )
