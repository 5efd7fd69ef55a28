"""The two pluggy markers of the project.

Example:
    >>> class Says:
    ...     @hookimpl
    ...     def on_epoch_end(self, state):
    ...         print("epoch", state.epoch)
    >>> _ = create_trainer(config="run.yaml", plugins=[Says()], num_epochs=1).train()
    epoch 0
"""

import pluggy

hookspec = pluggy.HookspecMarker("stepbus")
hookimpl = pluggy.HookimplMarker("stepbus")
