# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the samples of several publishers, through several subscriptions, amount to."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.robot.hold import Reason
from vla_ros.safety.emergency_stop import ANONYMOUS_GUARD
from vla_ros.safety.emergency_stop import EmergencyStop
from vla_ros.safety.emergency_stop import LATCHED_TIME
from vla_ros.safety.emergency_stop import SETTLE_TIME
from vla_ros.safety.emergency_stop import StopSample
from vla_ros.safety.emergency_stop import StopView
from vla_ros.safety.state_machine import Event

PRESSED, RELEASED, SETTLED = Event.ESTOP_PRESSED, Event.ESTOP_RELEASED, Event.ESTOP_SETTLED
BOTH = StopView(((b'a', '/a'), (b'b', '/b')))
ONLY_B = StopView(((b'b', '/b'),))


class Input:
    """An input whose samples and whose time a test gives."""

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
    return StopSample(pressed, b'a', sequence)


def b(pressed, sequence=0):
    return StopSample(pressed, b'b', sequence)


@pytest.mark.parametrize('samples, events', [
    ([], ()), ([a(True)], (PRESSED,)), ([a(False)], (RELEASED,)),
    ([a(True), a(False)], (PRESSED, RELEASED)), ([a(True), b(False)], (PRESSED,)),
    ([b(False), a(True), a(False), b(False)], (PRESSED, RELEASED)),
    ([StopSample(True, None)], (PRESSED, RELEASED))])
def test_any_press_among_the_polled_messages_is_an_event(samples, events):
    assert Input().poll(*samples) == events


def test_each_publisher_releases_only_its_own_press():
    """One pressed at 20 Hz, the other saying false at 50 Hz: no rearm, not once."""
    found = Input()
    for moment in range(500):
        found.time += 0.01
        found.poll(*([a(True, moment + 1)] if moment % 5 == 0 else []),
                   *([b(False, moment + 1)] if moment % 2 == 0 else []))
        assert 'pressed by /a' in found.stop.refuse_rearm(BOTH)
    assert RELEASED in found.poll(a(False, 1000))
    assert found.stop.refuse_rearm(BOTH) == ''


def test_publishers_without_gid_are_not_rearmed_while_one_of_several_presses():
    """As on Humble and Jazzy, whose messages do not tell who sent them."""
    found, others = Input(), StopView(((b'1', '/a'), (b'2', '/b')))
    for moment in range(1, 500):
        found.time += 0.01
        found.poll(*([StopSample(True, stamp=moment)] if moment % 5 == 0 else []),
                   *([StopSample(False, stamp=10**9 + moment)] if moment % 2 == 0 else []))
        assert moment < 5 or found.stop.refuse_rearm(others)
    found.poll(StopSample(False, stamp=1000))
    assert 'have no identity here' in found.stop.refuse_rearm(others)
    assert found.stop.refuse_rearm(StopView(((b'1', '/a'),))) == ''
    found.time += ANONYMOUS_GUARD
    assert found.stop.refuse_rearm(others) == ''


@pytest.mark.parametrize('key', ['sequence', 'stamp'])
def test_a_late_copy_of_a_press_changes_nothing(key):
    """It comes through another subscription, after the release and the rearm."""
    found = Input()
    press, release = (StopSample(value, b'a', **{key: order})
                      for value, order in ((True, 1), (False, 2)))
    assert found.poll(press, release) == (PRESSED, RELEASED)
    found.stop.rearm(BOTH)
    assert found.poll(press, release, press) == ()
    assert not found.stop.is_pressed


def test_a_press_that_arrives_after_its_release_stops_and_counts_as_released():
    """The reliable subscription gave the release before the other one gave the press."""
    found = Input()
    assert found.poll(a(False, 6)) == (RELEASED,)
    assert found.poll(a(True, 5)) == (PRESSED, RELEASED)


@given(st.lists(st.tuples(st.sampled_from([a, b]), st.booleans()), max_size=30),
       st.lists(st.integers(0, 5), min_size=2, max_size=2), st.data())
def test_the_newest_messages_count_in_any_order_of_the_subscriptions(words, sizes, data):
    """Three subscriptions deliver the same samples, each in its order, some of them lossy."""
    samples = [make(pressed, number) for number, (make, pressed) in enumerate(words, 1)]
    queues = [list(samples)] + [[one for one in samples if data.draw(st.booleans())]
                                for _ in range(2)]
    found, events = Input(), []
    while any(queues):
        queue = data.draw(st.sampled_from([one for one in queues if one]))
        events += found.poll(*[queue.pop(0) for _ in range(min(len(queue), sizes[0] + 1))])
    last = {}
    for make, pressed in words:
        last[make] = pressed
    assert found.stop.is_pressed == any(last.values())
    assert (PRESSED in events) == any(pressed for _, pressed in words)


def test_only_a_rearm_forgets_a_publisher_that_died_while_pressed():
    """Time and the graph forget nothing; who comes back says so anew."""
    found = Input()
    found.poll(a(True, 1), b(False, 1))
    found.stop.observe(BOTH)
    assert not found.stop.is_orphaned(BOTH)
    found.time += 1e6
    found.stop.observe(ONLY_B)
    assert found.stop.is_orphaned(ONLY_B) and found.stop.is_pressed
    assert found.stop.refuse_rearm(ONLY_B) == ''
    found.stop.rearm(ONLY_B)
    assert not found.stop.is_pressed
    assert PRESSED in found.poll(a(True, 1))


def test_publishers_unknown_to_the_graph_do_not_count_as_gone():
    """As in rmw_cyclonedds: who presses may be one of those that are there."""
    found, strangers = Input(), StopView(((b'x', '/a'), (b'y', '/b')))
    found.poll(a(True, 1), b(False, 1))
    assert 'still pressed:' in found.stop.refuse_rearm(StopView(strangers.publishers[:1]))
    assert found.stop.refuse_rearm(StopView()) == ''


def test_without_a_publisher_the_input_settles_after_the_discovery_time():
    """Given time to be discovered; if one is required, for ever."""
    found, required = Input(), Input(is_required=True)
    assert found.poll() == required.poll() == ()
    found.time = required.time = 100.0 + SETTLE_TIME
    assert (found.poll(), required.poll()) == ((SETTLED,), ())
    assert found.poll() == ()
    assert required.poll(a(False)) == (RELEASED, SETTLED)


def test_the_message_of_a_latched_publisher_is_awaited():
    """For a while: there may be none."""
    found, silent = Input(), Input()
    view = StopView(BOTH.publishers, latched=(b'a',))
    for one in (found, silent):
        one.stop.observe(view)
        one.poll(b(False, 1))
        one.stop.observe(view)
        one.time += SETTLE_TIME
        assert one.poll() == ()
    assert found.poll(a(True, 1)) == (PRESSED, SETTLED)
    silent.time += LATCHED_TIME
    assert silent.poll() == (SETTLED,)


def test_a_silent_emergency_stop_is_a_fault():
    """Each of them; a rearm needs those that are there, and at least one."""
    found = Input(timeout=0.5)
    assert found.stop.fault() is None
    found.poll(a(False, 1), b(False, 1))
    found.stop.observe(BOTH)
    found.time += 0.4
    found.poll(b(False, 2))
    assert found.stop.fault() is None
    found.time += 0.2
    assert found.stop.fault().reason is Reason.ESTOP_SILENT
    assert 'not every' in found.stop.refuse_rearm(BOTH)
    assert found.stop.refuse_rearm(ONLY_B) == ''
    found.stop.rearm(ONLY_B)
    assert found.stop.fault() is None
    found.time += 0.6
    assert 'no emergency stop sent a message' in found.stop.refuse_rearm(StopView())
    assert RELEASED not in found.poll(b(False, 2))  # a copy, but a sign of life
    assert found.stop.fault() is None


def test_publishers_that_come_and_go_are_not_kept():
    found = Input()
    for number in range(100):
        gid = bytes([number])
        found.poll(StopSample(False, gid, 1))
        found.stop.observe(StopView(((gid, '/one'),)))
    assert len(found.stop._publishers) == 1
