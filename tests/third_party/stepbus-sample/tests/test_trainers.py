from __future__ import annotations

import stepbus


def test_stepbus_has_the_name() -> None:
    assert "create_restarts_trainer" in dir(stepbus)
    trainer = stepbus.create_restarts_trainer(cycles=4, goal=0.5, num_epochs=2)
    assert isinstance(trainer, stepbus.BaseTrainer)
    assert (trainer.config.scheduler.name, trainer.config.scheduler.settings.cycles) == ("cosine_restarts", 4)
    assert trainer.config.resolved()["plugins"]["stop_at_goal"]["goal"] == 0.5
    assert trainer.config.training.num_epochs == 2
