# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The emergency stop is heard, from whatever publisher, however shortly it is pressed."""

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


class Stage:
    """A node that answers a camera, and the buttons around it."""

    def __init__(self, node: NodeProcess, observer: Observer) -> None:
        self.node, self.observer = node, observer
        numbers = itertools.count(1)
        observer.node.create_timer(
            0.02, lambda: observer.show(camera_image(next(numbers) % 200)))

    def button(self, qos: QoSProfile = RELIABLE, message_type: Any = Bool) -> Any:
        """Give a publisher that the node has had time to find."""
        publisher = self.observer.node.create_publisher(message_type, '/arm/estop', qos)
        if message_type is Bool:
            self._introduce(publisher, 1 if qos is BEST_EFFORT else 3 if qos is LATCHED else 2)
        return publisher

    def _introduce(self, publisher: Any, subscriptions: int) -> None:
        """Wait until both sides have found each other: what comes before that is nobody's."""
        self.wait_until('the subscriptions',
                        lambda: publisher.get_subscription_count() == subscriptions)
        end = time.monotonic() + 0.3

        def say() -> bool:
            publisher.publish(Bool(data=False))
            return time.monotonic() > end
        self.wait_until('an introduction', say)

    def rearm(self) -> Trigger.Response:
        """Call the service."""
        return self.observer.call(Trigger, f'{NODE}/rearm', Trigger.Request(), self.node)

    def wait_for(self, state: str, reason: str = '') -> str:
        """Wait for a state; give its reason."""
        return self.observer.wait_for_state(state, self.node, reason)['message']

    def wait_until(self, what: str, condition: Any) -> None:
        """Wait until something holds that no message tells of."""
        self.observer.poll(condition, what, self.node)

    def go(self) -> None:
        """Have it run again."""
        self.wait_for('ESTOP', 'released')
        assert self.rearm().success
        self.wait_for('RUNNING')


@pytest.fixture(scope='module')
def shared() -> Iterator[Stage]:
    """Give a node that runs."""
    with running_node(instruction='task 1', status__period='0.1') as (node, observer):
        stage = Stage(node, observer)
        stage.wait_for('RUNNING')
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Give the same, and clear up after it."""
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
def test_a_press_released_within_milliseconds_stops(stage: Stage, qos: QoSProfile) -> None:
    """Thirty times, 0 to 20 ms."""
    button = stage.button(qos)
    for trial in range(30):
        button.publish(Bool(data=True))
        time.sleep(0.02 * (trial % 4) / 3)
        button.publish(Bool(data=False))
        stage.go()


def test_a_second_publisher_cannot_release_the_stop(stage: Stage) -> None:
    """One is pressed at 20 Hz, the other says false at 50 Hz: no rearm is accepted."""
    pressed, other = stage.button(), stage.button(BEST_EFFORT)
    node = stage.observer.node
    timers = [node.create_timer(0.05, lambda: pressed.publish(Bool(data=True))),
              node.create_timer(0.02, lambda: other.publish(Bool(data=False)))]
    stage.wait_for('ESTOP', 'pressed')
    answers = [stage.rearm() for _ in range(200)]
    assert not any(answer.success for answer in answers)
    assert 'pressed by /observer' in answers[0].message
    node.destroy_timer(timers[0])
    pressed.publish(Bool(data=False))
    stage.go()
    node.destroy_timer(timers[1])


def test_a_publisher_that_dies_while_pressed_stays_pressed_until_the_rearm(stage: Stage) -> None:
    """Another one's release does not release it."""
    dying, other = stage.button(), stage.button()
    dying.publish(Bool(data=True))
    stage.wait_for('ESTOP', 'pressed')
    other.publish(Bool(data=False))
    assert 'still pressed' in stage.rearm().message
    stage.observer.node.destroy_publisher(dying)
    stage.wait_for('ESTOP', 'its publisher is gone')
    assert stage.rearm().success
    stage.wait_for('RUNNING')


def test_a_publisher_of_another_type_holds_until_it_is_gone(stage: Stage) -> None:
    """It is named in any state, and a hold that it brought about is left by a rearm only."""
    wrong = stage.button(RELIABLE, String)
    reason = stage.wait_for('HOLD', 'emergency stop cannot be received')
    assert '/observer publishes std_msgs/msg/String on /arm/estop' in reason
    assert any('cannot be received' in line for line in stage.node.errors)
    assert 'change or end that publisher' in stage.rearm().message
    stage.observer.node.destroy_publisher(wrong)
    stage.wait_until('a rearm', lambda: stage.rearm().success)
    stage.wait_for('RUNNING')


def test_a_flood_of_releases_hides_no_press(stage: Stage) -> None:
    """Five thousand at once; the press among them stops, of a button that keeps its words."""
    # One that keeps a single word replaces the press by the release before it can be sent again,
    # where the flood has filled the socket.
    flood = stage.button()
    button = stage.button(QoSProfile(depth=10, reliability=RELIABLE.reliability))
    for number in range(5000):
        flood.publish(Bool(data=False))
        if number == 2500:
            button.publish(Bool(data=True))
            button.publish(Bool(data=False))
    stage.go()


@pytest.mark.parametrize('is_pressed', [True, False], ids=['pressed', 'released'])
def test_a_latched_press_from_before_the_start_is_received(is_pressed: bool) -> None:
    """A button that was pressed when the node starts lets nothing out; a released one does."""
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
                stage = Stage(node, observer)
                stage.wait_for('ESTOP' if is_pressed else 'RUNNING')
                if is_pressed:
                    assert not observer.commands
                    assert 'still pressed by /observer' in stage.rearm().message
            finally:
                node.end()
    finally:
        observer.close()


def test_a_required_emergency_stop_that_falls_silent_holds() -> None:
    """Nothing moves before it is heard, nor after it is silent, nor before the rearm."""
    with running_node(instruction='task 1', status__period='0.1', safety__require_estop='true',
                      safety__estop_timeout='1.5') as (node, observer):
        stage = Stage(node, observer)
        stage.wait_for('WAITING', 'no message of an emergency stop came on /arm/estop')
        button = stage.button(BEST_EFFORT)
        assert not observer.commands

        def say() -> None:
            button.publish(Bool(data=False))
        timer = observer.node.create_timer(0.05, say)
        stage.wait_for('RUNNING')
        observer.node.destroy_timer(timer)
        stage.wait_for('HOLD', 'emergency stop silent')
        assert 'sent a message in the last 1.5 s' in stage.rearm().message
        timer = observer.node.create_timer(0.05, say)
        stage.wait_until('a rearm', lambda: stage.rearm().success)
        stage.wait_for('RUNNING')
        observer.node.destroy_timer(timer)


def test_activation_is_refused_while_an_emergency_stop_cannot_be_received() -> None:
    """The status says why, before and after the policy is loaded."""
    domain = next_domain()
    observer = Observer(domain)
    observer.node.create_publisher(String, '/arm/estop', RELIABLE)
    node = NodeProcess(domain, 'delay=0', {'instruction': 'task 1', 'status.period': '0.1',
                                           'autostart': 'false'})
    try:
        stage = Stage(node, observer)
        stage.wait_for('UNCONFIGURED', '/observer publishes std_msgs/msg/String')

        def change(number: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=number))
            return bool(observer.call(ChangeState, f'{NODE}/change_state', request, node).success)
        assert change(Transition.TRANSITION_CONFIGURE)
        assert not change(Transition.TRANSITION_ACTIVATE)
        stage.wait_for('WAITING', 'activation is refused')
        assert not observer.commands
    finally:
        observer.close()
        node.end()
