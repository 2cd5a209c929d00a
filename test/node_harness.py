# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A node process under test, and a node that observes it."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from domains import next_domain
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import String

#: Timeout of every wait in seconds, for a busy machine.
DEADLINE = 90.0
#: Number of attempts to call a service.
_CALLS = 4

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)

_NODE = Path(__file__).with_name('fake_policy_node.py')


class NodeProcess:
    """The node as a process, with a fake policy unless the behaviour is ``real``."""

    def __init__(self, domain: int, behaviour: str, parameters: dict[str, str],
                 namespace: str = '') -> None:
        program = (['-m', 'vla_ros.ros.main', '--ros-args'] if behaviour == 'real' else
                   [str(_NODE), behaviour, '--ros-args', '-p', 'checkpoint:=fake'])
        command = [sys.executable, *program]
        # Tests of black boxes set their folder; others write none.
        for name, value in {'black_box.folder': '""', **parameters}.items():
            command += ['-p', f'{name}:={value}']
        if namespace:
            command += ['-r', f'__ns:=/{namespace}']
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain),
                       'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        self._process = subprocess.Popen(command, env=environment, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
        self._changed = threading.Condition()
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.errors))]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    def wait_for_line(self, text: str, after: int = 0) -> int:
        """Wait for a line on stdout that contains a text; return the number of the next line."""
        def find() -> int:
            return next((number + 1 for number, line in enumerate(self.lines[after:], after)
                         if text in line), 0)
        with self._changed:
            assert self._changed.wait_for(find, DEADLINE), self.report(f'no line with {text!r}')
            return find()

    def finish_inference(self) -> None:
        """Let a stepwise policy finish one inference."""
        assert self._process.stdin is not None
        self._process.stdin.write('\n')
        self._process.stdin.flush()

    def end(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Send a signal; return the exit status and how many seconds it took."""
        start = time.monotonic()
        self._process.send_signal(number)
        status = self.wait()
        return status, time.monotonic() - start

    def wait(self) -> int:
        """Wait until the process has ended; return its exit status."""
        try:
            return self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            for reader in self._readers:
                reader.join()
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                stream.close()

    def report(self, problem: str) -> str:
        """Describe a failure with the whole output of the process."""
        return '\n'.join([problem, '--- stdout', *self.lines, '--- stderr', *self.errors])

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip('\n'))
                self._changed.notify_all()


class Observer:
    """A node in the test's process: camera, operator, and subscriber of commands and status."""

    def __init__(self, domain: int, takes_commands: bool = True) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('observer', context=self.context)
        self.commands: list[JointState] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self._service_clients: dict[str, Any] = {}
        if takes_commands:
            self.listen(JointState, '/arm/joint_command', RELIABLE, self.commands.append)
        self.listen(DiagnosticArray, '/diagnostics', 10, self._note)
        self.camera = self.node.create_publisher(Image, '/camera/image_raw', NEWEST)
        self.operator = self.node.create_publisher(String, '/vla/instruction', RELIABLE)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._leaving: Future = Future()
        self._thread = threading.Thread(target=self._executor.spin_until_future_complete,
                                        args=(self._leaving,))
        self._thread.start()

    def _note(self, message: DiagnosticArray) -> None:
        if message.status[0].name.endswith(': policy'):  # a recorder has diagnostics, too
            self.diagnostics.append(_flatten(message))

    def listen(self, message_type: Any, topic: str, qos: Any, take: Callable[[Any], None]) -> Any:
        """Subscribe; each message notifies waiting tests."""
        def received(message: Any) -> None:
            with self.changed:
                take(message)
                self.changed.notify_all()
        return self.node.create_subscription(message_type, topic, received, qos)

    def listen_with_info(self, message_type: Any, topic: str, qos: Any,
                         take: Callable[[Any, dict[str, Any]], None]) -> Any:
        """Subscribe in the same way, with the information of the middleware on each message."""
        def received(message: Any, info: dict[str, Any]) -> None:
            with self.changed:
                take(message, info)
                self.changed.notify_all()
        return self.node.create_subscription(message_type, topic, received, qos)

    def wait(self, condition: Callable[[], Any], what: str, node: NodeProcess) -> Any:
        """Wait for a condition that a message fulfils."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE), node.report(
                f'not within {DEADLINE} s: {what}; last diagnostics: {self.diagnostics[-1:]}')
            return condition()

    def wait_for_state(self, state: str, node: NodeProcess, reason: str = '') -> dict[str, Any]:
        """Wait until the last status has this state, and a reason that contains a text."""
        self.wait(lambda: self.diagnostics and self.diagnostics[-1]['state'] == state
                  and reason in self.diagnostics[-1]['message'], f'{state} {reason}', node)
        return self.diagnostics[-1]

    def poll(self, condition: Callable[[], Any], what: str, node: NodeProcess) -> Any:
        """Poll a condition that no message announces, and return its value."""
        pause = threading.Event()
        end = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < end, node.report(f'not within {DEADLINE} s: {what}')
            pause.wait(0.01)
        return found

    def wait_for_match(self, publisher: Any, node: NodeProcess) -> None:
        """Wait until the node subscribes to a publisher; rclpy of Humble has no event for it."""
        self.poll(lambda: publisher.get_subscription_count() > 0,
                  f'a subscription to {publisher.topic_name}', node)

    def call(self, service_type: Any, name: str, request: Any, node: NodeProcess) -> Any:
        """Call a service and return its response."""
        client = self._service_clients.get(name)
        if client is None:
            client = self._service_clients[name] = self.node.create_client(service_type, name)
        assert client.wait_for_service(DEADLINE), node.report(f'no service {name}')
        # A server that has not discovered the client's reader yet drops its first response.
        for _ in range(_CALLS):
            future = client.call_async(request)
            done = threading.Event()
            future.add_done_callback(lambda _, done=done: done.set())
            if done.wait(DEADLINE / _CALLS):
                return future.result()
        raise AssertionError(node.report(f'{name} does not respond'))

    def show(self, image: Image) -> None:
        """Publish an image."""
        self.camera.publish(image)

    def instruct(self, instruction: str) -> None:
        """Publish an instruction."""
        self.operator.publish(String(data=instruction))

    def close(self) -> None:
        """Leave the graph, before processes that share memory with this one are killed."""
        if self._leaving.done():
            return
        # In this order, as rclpy does not protect a thread that still spins.
        self._leaving.set_result(None)
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@contextmanager
def running_node(behaviour: str = 'obedient', **parameters: str
                 ) -> Iterator[tuple[NodeProcess, Observer]]:
    """Run a node and observe it; a double underscore in a parameter's name means a dot."""
    domain = next_domain()
    observer = Observer(domain, parameters.get('output', 'joint_state') == 'joint_state')
    values = {name.replace('__', '.'): value for name, value in parameters.items()}
    node = NodeProcess(domain, behaviour, values)
    try:
        yield node, observer
    finally:
        # In this order: leaving the graph after the node was killed has crashed Fast DDS twice in
        # one run of all tests, because of ports that a killed process leaves in shared memory
        # (eProsima/Fast-DDS#6501).
        observer.close()
        node.end(signal.SIGKILL)


def camera_image(red: int, stamp: int = 0, size: tuple[int, int] = (8, 8)) -> Image:
    """Return a valid image whose pixels all have this much red, stamped in nanoseconds."""
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = red
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    image.header.frame_id = 'camera'
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    image.data.frombytes(pixels.tobytes())
    return image


def _flatten(message: DiagnosticArray) -> dict[str, Any]:
    status = message.status[0]
    stamp = message.header.stamp.sec * 10 ** 9 + message.header.stamp.nanosec
    return {'stamp': stamp, 'message': status.message,
            **{item.key: item.value for item in status.values}}
