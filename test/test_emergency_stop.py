# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The state of the emergency stop from samples of several publishers and subscriptions."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.robot.hold import Reason
from vla_ros.safety.emergency_stop import ANONYMOUS_GUARD
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.emergency_stop import EstopSample
from vla_ros.safety.emergency_stop import EstopTopicState
from vla_ros.safety.emergency_stop import LATCHED_TIME
from vla_ros.safety.emergency_stop import SETTLE_TIME
from vla_ros.safety.state_machine import Event

PRESSED, RELEASED, SETTLED = Event.ESTOP_PRESSED, Event.ESTOP_RELEASED, Event.ESTOP_SETTLED
BOTH = EstopTopicState(((b'a', '/a'), (b'b', '/b')))
ONLY_B = EstopTopicState(((b'b', '/b'),))


class Input:
    """An emergency stop input with samples and a clock that a test sets."""

    def __init__(self, **settings):
        self.samples, self.time = [], 100.0
        self.stop = EmergencyStop(self.take, now=lambda: self.time, **settings)

    def take(self):
        samples, self.samples = self.samples, []
        return samples

    def poll(self, *samples):
        self.samples += samples
        return self.stop.poll()


def a(pressed, sequence=0):
    return EstopSample(pressed, b'a', sequence)


def b(pressed, sequence=0):
    return EstopSample(pressed, b'b', sequence)


@pytest.mark.parametrize('samples, events', [
    ([], ()), ([a(True)], (PRESSED,)), ([a(False)], (RELEASED,)),
    ([a(True), a(False)], (PRESSED, RELEASED)), ([a(True), b(False)], (PRESSED,)),
    ([b(False), a(True), a(False), b(False)], (PRESSED, RELEASED)),
    ([EstopSample(True, None)], (PRESSED, RELEASED))])
def test_any_press_among_the_polled_messages_is_an_event(samples, events):
    assert Input().poll(*samples) == events


def test_each_publisher_releases_only_its_own_press():
    """Rearm is refused while one sends pressed at 20 Hz and the other released at 50 Hz."""
    estop = Input()
    for moment in range(500):
        estop.time += 0.01
        estop.poll(*([a(True, moment + 1)] if moment % 5 == 0 else []),
                   *([b(False, moment + 1)] if moment % 2 == 0 else []))
        assert 'pressed by /a' in estop.stop.refuse_rearm(BOTH)
    assert RELEASED in estop.poll(a(False, 1000))
    assert estop.stop.refuse_rearm(BOTH) == ''


def test_publishers_without_gid_are_not_rearmed_while_one_of_several_is_pressed():
    """Messages of Humble and Jazzy do not identify their publisher."""
    estop, others = Input(), EstopTopicState(((b'1', '/a'), (b'2', '/b')))
    for moment in range(1, 500):
        estop.time += 0.01
        estop.poll(*([EstopSample(True, stamp=moment)] if moment % 5 == 0 else []),
                   *([EstopSample(False, stamp=10**9 + moment)] if moment % 2 == 0 else []))
        assert moment < 5 or estop.stop.refuse_rearm(others)
    estop.poll(EstopSample(False, stamp=1000))
    assert 'have no identity here' in estop.stop.refuse_rearm(others)
    assert estop.stop.refuse_rearm(EstopTopicState(((b'1', '/a'),))) == ''
    estop.time += ANONYMOUS_GUARD
    assert estop.stop.refuse_rearm(others) == ''


@pytest.mark.parametrize('key', ['sequence', 'stamp'])
def test_a_late_copy_of_a_press_changes_nothing(key):
    """The copy arrives through another subscription, after the release and the rearm."""
    estop = Input()
    press, release = (EstopSample(value, b'a', **{key: order})
                      for value, order in ((True, 1), (False, 2)))
    assert estop.poll(press, release) == (PRESSED, RELEASED)
    estop.stop.rearm(BOTH)
    assert estop.poll(press, release, press) == ()
    assert not estop.stop.is_pressed


def test_a_press_that_arrives_after_its_release_stops_and_counts_as_released():
    """The reliable subscription delivers the release before another one delivers the press."""
    estop = Input()
    assert estop.poll(a(False, 6)) == (RELEASED,)
    assert estop.poll(a(True, 5)) == (PRESSED, RELEASED)


@given(st.lists(st.tuples(st.sampled_from([a, b]), st.booleans()), max_size=30),
       st.lists(st.integers(0, 5), min_size=2, max_size=2), st.data())
def test_the_newest_messages_count_in_any_order_of_the_subscriptions(presses, sizes, data):
    """Three subscriptions deliver the same samples, each in order, and two with losses."""
    samples = [make(pressed, number) for number, (make, pressed) in enumerate(presses, 1)]
    queues = [list(samples)] + [[one for one in samples if data.draw(st.booleans())]
                                for _ in range(2)]
    estop, events = Input(), []
    while any(queues):
        queue = data.draw(st.sampled_from([one for one in queues if one]))
        events += estop.poll(*[queue.pop(0) for _ in range(min(len(queue), sizes[0] + 1))])
    last = {}
    for make, pressed in presses:
        last[make] = pressed
    assert estop.stop.is_pressed == any(last.values())
    assert (PRESSED in events) == any(pressed for _, pressed in presses)


def test_only_a_rearm_forgets_a_publisher_that_died_while_pressed():
    """Neither time nor the graph forgets it; a publisher that returns counts anew."""
    estop = Input()
    estop.poll(a(True, 1), b(False, 1))
    estop.stop.observe(BOTH)
    assert not estop.stop.is_orphaned(BOTH)
    estop.time += 1e6
    estop.stop.observe(ONLY_B)
    assert estop.stop.is_orphaned(ONLY_B) and estop.stop.is_pressed
    assert estop.stop.refuse_rearm(ONLY_B) == ''
    estop.stop.rearm(ONLY_B)
    assert not estop.stop.is_pressed
    assert PRESSED in estop.poll(a(True, 1))


def test_publishers_unknown_to_the_graph_do_not_count_as_gone():
    """With rmw_cyclonedds the pressing publisher may be one of those in the graph."""
    estop, strangers = Input(), EstopTopicState(((b'x', '/a'), (b'y', '/b')))
    estop.poll(a(True, 1), b(False, 1))
    assert 'still pressed:' in estop.stop.refuse_rearm(EstopTopicState(strangers.publishers[:1]))
    assert estop.stop.refuse_rearm(EstopTopicState()) == ''


def test_without_a_publisher_the_input_settles_after_the_discovery_time():
    """A required emergency stop is awaited without a limit."""
    estop, required = Input(), Input(is_required=True)
    assert estop.poll() == required.poll() == ()
    estop.time = required.time = 100.0 + SETTLE_TIME
    assert (estop.poll(), required.poll()) == ((SETTLED,), ())
    assert estop.poll() == ()
    assert required.poll(a(False)) == (RELEASED, SETTLED)


def test_the_message_of_a_latched_publisher_is_awaited():
    """The wait is limited, as there may be no message."""
    estop, silent = Input(), Input()
    view = EstopTopicState(BOTH.publishers, latched=(b'a',))
    for one in (estop, silent):
        one.stop.observe(view)
        one.poll(b(False, 1))
        one.stop.observe(view)
        one.time += SETTLE_TIME
        assert one.poll() == ()
    assert estop.poll(a(True, 1)) == (PRESSED, SETTLED)
    silent.time += LATCHED_TIME
    assert silent.poll() == (SETTLED,)


def test_a_silent_emergency_stop_is_a_fault():
    """Each publisher must send; a rearm needs all that are in the graph, and at least one."""
    estop = Input(timeout=0.5)
    assert estop.stop.fault() is None
    estop.poll(a(False, 1), b(False, 1))
    estop.stop.observe(BOTH)
    estop.time += 0.4
    estop.poll(b(False, 2))
    assert estop.stop.fault() is None
    estop.time += 0.2
    assert estop.stop.fault().reason is Reason.ESTOP_SILENT
    assert 'not every' in estop.stop.refuse_rearm(BOTH)
    assert estop.stop.refuse_rearm(ONLY_B) == ''
    estop.stop.rearm(ONLY_B)
    assert estop.stop.fault() is None
    estop.time += 0.6
    assert 'no emergency stop sent a message' in estop.stop.refuse_rearm(EstopTopicState())
    assert RELEASED not in estop.poll(b(False, 2))  # a copy, but a sign of life
    assert estop.stop.fault() is None


def test_publishers_that_come_and_go_are_not_kept():
    estop = Input()
    for number in range(100):
        gid = bytes([number])
        estop.poll(EstopSample(False, gid, 1))
        estop.stop.observe(EstopTopicState(((gid, '/one'),)))
    assert len(estop.stop._publishers) == 1
