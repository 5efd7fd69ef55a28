"""What authors of plugins test theirs with.

A scripted run is the real loop over steps that say what a script tells them: no MLX, no weights, no data, some
milliseconds. `play` gives back everything that happened:

    from stepbus.testing import assert_conforms, play
    from my_plugin import StopAtGoal

    def test_it_stops_at_the_goal():
        played = play((StopAtGoal, {"goal": 0.9}), metrics=[{"eval_accuracy": 0.8}, {"eval_accuracy": 0.95}], epochs=5)
        assert played.stopped_by == "stop_at_goal at step 10: eval_accuracy is 0.95"
        assert played.names.count("on_epoch_end") == 2

    def test_it_keeps_what_every_plugin_keeps():
        assert_conforms(StopAtGoal, {"goal": 0.7})

`Played` holds `events` and `names` (every hook call, in order), `records` (of `on_log`), `asked` (every request to the
engine), `checkpoints`, `messages`, `reports`, `artifacts`, `state`, `control`, `plugins`, `plugin_states`, `status`,
`stopped_by` and `result`. To cut a run and go on with it:

    first = play(StopAtGoal, interrupt_at=7)
    second = play(StopAtGoal, resume_from=first.checkpoints[-1])

A plugin that makes several fits is played like any other: `played.run.fits` and `played.run.results` have them, and
`fill_fit` and `combine_results` are called. `planned` returns the fits of the plan, with all its checks, and plays
none.

A `Recorder` among the plugins of any run, scripted or real, writes down every hook call.

With stepbus installed, pytest knows these fixtures; none of them imports anything before a test asks for it:

| fixture | what it is |
|---|---|
| `stepbus_play` | `play`, in the test's own folder and with nothing installed to be found |
| `stepbus_bus` | `bus_of`: a bus with the given plugins on it and no others |
| `stepbus_recorder` | a `Recorder` |
| `stepbus_no_discovery` | no entry point of any package is found while the test runs |

What a scripted run cannot show, a tiny real one does, in a second or two: the gradient functions of
`transform_gradients`, and components, picked by their type:

    from stepbus.testing import tiny_fit

    def test_it_stops_a_real_fit():
        done = tiny_fit(StopAtGoal, {"goal": 0.01}, optimizer={"type": "sgd", "learning_rate": 1e-2})
        assert (done.result.status, done.result.steps) == ("stopped", 3)

`TinyFit` holds `result`, the trained `trainer`, `directory`, and `events`, `records`, `messages` as `Played` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.testing.conformance import assert_conforms as assert_conforms
    from stepbus.testing.playing import Played as Played
    from stepbus.testing.playing import bus_of as bus_of
    from stepbus.testing.playing import planned as planned
    from stepbus.testing.playing import play as play
    from stepbus.testing.recorder import Event as Event
    from stepbus.testing.recorder import LateRecorder as LateRecorder
    from stepbus.testing.recorder import Recorder as Recorder
    from stepbus.testing.recorder import Told as Told
    from stepbus.testing.script import Asked as Asked
    from stepbus.testing.script import Snapshot as Snapshot
    from stepbus.testing.tiny import TinyFit as TinyFit
    from stepbus.testing.tiny import tiny_fit as tiny_fit
else:
    # pytest imports this package in every session, whatever is tested.
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        conformance="assert_conforms",
        playing="Played bus_of planned play",
        recorder="Event LateRecorder Recorder Told",
        script="Asked Snapshot",
        tiny="TinyFit tiny_fit",
    )
