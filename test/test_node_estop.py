# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Every emergency stop on DDS stops the node, however short the press is."""

from collections.abc import Iterator
import itertools
import time
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from node_harness import camera_image  # noqa: E402
from node_harness import NodeProcess  # noqa: E402
from node_harness import Observer  # noqa: E402
from node_harness import RELIABLE  # noqa: E402
from node_harness import running_node  # noqa: E402
from rclpy.qos import QoSDurabilityPolicy  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from rclpy.qos import QoSReliabilityPolicy  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

NODE = '/vla_inference_node'
BEST_EFFORT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                     durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Bench:
    """A node with a camera, and publishers of the emergency stop."""

    def __init__(self, node: NodeProcess, observer: Observer) -> None:
        self.node, self.observer = node, observer
        numbers = itertools.count(1)
        observer.node.create_timer(
            0.02, lambda: observer.show(camera_image(next(numbers) % 200)))

    def button(self, qos: QoSProfile = RELIABLE, message_type: Any = Bool) -> Any:
        """Return a publisher that the node has discovered."""
        publisher = self.observer.node.create_publisher(message_type, '/arm/estop', qos)
        if message_type is Bool:
            count = 1 if qos is BEST_EFFORT else 3 if qos is LATCHED else 2
            self._wait_for_match(publisher, count)
        return publisher

    def _wait_for_match(self, publisher: Any, subscriptions: int) -> None:
        """Wait until both sides are matched; messages before that are lost."""
        self.wait_until('the subscriptions',
                        lambda: publisher.get_subscription_count() == subscriptions)
        end = time.monotonic() + 0.3

        def publish_release() -> bool:
            publisher.publish(Bool(data=False))
            return time.monotonic() > end
        self.wait_until('delivery of releases', publish_release)

    def rearm(self) -> Trigger.Response:
        """Call the service."""
        return self.observer.call(Trigger, f'{NODE}/rearm', Trigger.Request(), self.node)

    def wait_for(self, state: str, reason: str = '') -> str:
        """Wait for a state; return its reason."""
        return self.observer.wait_for_state(state, self.node, reason)['message']

    def wait_until(self, what: str, condition: Any) -> None:
        """Poll a condition that no message announces."""
        self.observer.poll(condition, what, self.node)

    def go(self) -> None:
        """Wait for the release, and let the node run again."""
        self.wait_for('ESTOP', 'released')
        assert self.rearm().success
        self.wait_for('RUNNING')


@pytest.fixture(scope='module')
def shared() -> Iterator[Bench]:
    """Run a node until it commands."""
    with running_node(instruction='task 1', status__period='0.1') as (node, observer):
        bench = Bench(node, observer)
        bench.wait_for('RUNNING')
        yield bench


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """Return the same node, and destroy the publishers of a test."""
    buttons, create = [], shared.button
    shared.button = lambda *arguments: buttons.append(  # type: ignore[method-assign]
        create(*arguments)) or buttons[-1]
    yield shared
    shared.button = create  # type: ignore[method-assign]
    for button in buttons:
        shared.observer.node.destroy_publisher(button)
    shared.wait_until('a rearm', lambda: shared.rearm().success)
    shared.wait_for('RUNNING')


@pytest.mark.parametrize('qos', [RELIABLE, BEST_EFFORT, LATCHED],
                         ids=['reliable', 'best effort', 'transient local'])
def test_a_press_released_within_milliseconds_stops_the_node(
        bench: Bench, qos: QoSProfile) -> None:
    """The press lasts 0 to 20 ms, thirty times."""
    button = bench.button(qos)
    for trial in range(30):
        button.publish(Bool(data=True))
        time.sleep(0.02 * (trial % 4) / 3)
        button.publish(Bool(data=False))
        bench.go()


def test_a_second_publisher_cannot_release_the_stop(bench: Bench) -> None:
    """Rearm is refused while one sends pressed at 20 Hz and the other released at 50 Hz."""
    pressed, other = bench.button(), bench.button(BEST_EFFORT)
    node = bench.observer.node
    timers = [node.create_timer(0.05, lambda: pressed.publish(Bool(data=True))),
              node.create_timer(0.02, lambda: other.publish(Bool(data=False)))]
    bench.wait_for('ESTOP', 'pressed')
    responses = [bench.rearm() for _ in range(200)]
    assert not any(response.success for response in responses)
    assert 'pressed by /observer' in responses[0].message
    node.destroy_timer(timers[0])
    pressed.publish(Bool(data=False))
    bench.go()
    node.destroy_timer(timers[1])


def test_a_publisher_that_dies_while_pressed_stays_pressed_until_the_rearm(bench: Bench) -> None:
    """The release of another publisher does not release it."""
    dying, other = bench.button(), bench.button()
    dying.publish(Bool(data=True))
    bench.wait_for('ESTOP', 'pressed')
    other.publish(Bool(data=False))
    assert 'still pressed' in bench.rearm().message
    bench.observer.node.destroy_publisher(dying)
    bench.wait_for('ESTOP', 'its publisher is gone')
    assert bench.rearm().success
    bench.wait_for('RUNNING')


def test_a_publisher_of_another_type_holds_until_it_is_gone(bench: Bench) -> None:
    """The publisher is named, and its hold ends only by a rearm."""
    wrong = bench.button(RELIABLE, String)
    reason = bench.wait_for('HOLD', 'emergency stop cannot be received')
    assert '/observer publishes std_msgs/msg/String on /arm/estop' in reason
    assert any('cannot be received' in line for line in bench.node.errors)
    assert 'change or end that publisher' in bench.rearm().message
    bench.observer.node.destroy_publisher(wrong)
    bench.wait_until('a rearm', lambda: bench.rearm().success)
    bench.wait_for('RUNNING')


def test_a_press_within_a_flood_of_releases_stops_the_node(bench: Bench) -> None:
    """The press comes from a publisher with a deep queue, among 5000 releases of another one."""
    # A queue of one replaces the press by the release before the press can be sent again,
    # where the flood has filled the socket.
    flood = bench.button()
    button = bench.button(QoSProfile(depth=10, reliability=RELIABLE.reliability))
    for number in range(5000):
        flood.publish(Bool(data=False))
        if number == 2500:
            button.publish(Bool(data=True))
            button.publish(Bool(data=False))
    bench.go()


@pytest.mark.parametrize('is_pressed', [True, False], ids=['pressed', 'released'])
def test_a_latched_press_before_the_start_stops_the_node_and_a_release_does_not(
        is_pressed: bool) -> None:
    """The latched message is received by a first and by a second start of the node."""
    domain = next_domain()
    observer = Observer(domain)
    button = observer.node.create_publisher(Bool, '/arm/estop', LATCHED)
    button.publish(Bool(data=is_pressed))
    try:
        for _ in range(2):  # started, and started again
            observer.diagnostics.clear()
            node = NodeProcess(domain, 'obedient', {'instruction': 'task 1',
                                                    'status.period': '0.1'})
            try:
                bench = Bench(node, observer)
                bench.wait_for('ESTOP' if is_pressed else 'RUNNING')
                if is_pressed:
                    assert not observer.commands
                    assert 'still pressed by /observer' in bench.rearm().message
            finally:
                node.end()
    finally:
        observer.close()


def test_a_required_emergency_stop_holds_before_its_first_message_and_after_its_last() -> None:
    """After silence the node holds until a rearm."""
    with running_node(instruction='task 1', status__period='0.1', safety__require_estop='true',
                      safety__estop_timeout='1.5') as (node, observer):
        bench = Bench(node, observer)
        bench.wait_for('WAITING', 'no message of an emergency stop came on /arm/estop')
        assert not observer.commands
        button = bench.button(BEST_EFFORT)  # releases are published until it is matched

        def publish_release() -> None:
            button.publish(Bool(data=False))
        timer = observer.node.create_timer(0.05, publish_release)
        bench.wait_for('RUNNING')
        observer.node.destroy_timer(timer)
        bench.wait_for('HOLD', 'emergency stop silent')
        assert 'sent a message in the last 1.5 s' in bench.rearm().message
        timer = observer.node.create_timer(0.05, publish_release)
        bench.wait_until('a rearm', lambda: bench.rearm().success)
        bench.wait_for('RUNNING')
        observer.node.destroy_timer(timer)


def test_activation_is_refused_while_an_emergency_stop_cannot_be_received() -> None:
    """The status gives the reason before and after the policy is loaded."""
    domain = next_domain()
    observer = Observer(domain)
    observer.node.create_publisher(String, '/arm/estop', RELIABLE)
    node = NodeProcess(domain, 'delay=0', {'instruction': 'task 1', 'status.period': '0.1',
                                           'autostart': 'false'})
    try:
        bench = Bench(node, observer)
        bench.wait_for('UNCONFIGURED', '/observer publishes std_msgs/msg/String')

        def change(number: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=number))
            return bool(observer.call(ChangeState, f'{NODE}/change_state', request, node).success)
        assert change(Transition.TRANSITION_CONFIGURE)
        assert not change(Transition.TRANSITION_ACTIVATE)
        bench.wait_for('WAITING', 'activation is refused')
        assert not observer.commands
    finally:
        observer.close()
        node.end()
