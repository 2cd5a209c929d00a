# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node of ``vla_record``: subscribes, counts, and takes the operator's decisions."""

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from rcl_interfaces.msg import Log
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import QoSReliabilityPolicy
from rclpy.serialization import serialize_message
from std_srvs.srv import Trigger

from vla_ros.data.contract import load_contract
from vla_ros.errors import describe
from vla_ros.errors import VlaError
from vla_ros.recording.bag_reader import complete_bag
from vla_ros.recording.bag_reader import find_unfinished
from vla_ros.recording.bag_writer import RecordedTopic
from vla_ros.recording.episode_metadata import EpisodeMetadata
from vla_ros.recording.episode_recorder import EpisodeRecorder
from vla_ros.recording.message_definitions import definition
from vla_ros.recording.parameters import PARAMETERS
from vla_ros.recording.receiver import BagReceiver
from vla_ros.recording.topics import choose_qos
from vla_ros.recording.topics import EVENTS
from vla_ros.recording.topics import message_class
from vla_ros.recording.topics import qos_yaml
from vla_ros.recording.topics import topics_of
from vla_ros.ros.arguments import declare
from vla_ros.ros.motion_loop import LoopGroup
from vla_ros.ros.qos_events import SubscriptionEventCallbacks

#: What an operator can do, by service and key.
DECISIONS = ('start', 'stop', 'success', 'failure', 'discard')


class RecordNode(Node):
    """Records one episode after the other."""

    def __init__(self) -> None:
        """
        Subscribe to everything that the contract names.

        :raises VlaError: a parameter cannot be used.
        """
        super().__init__('vla_record')
        values: dict[str, Any] = declare(self, PARAMETERS)
        self._contract = load_contract(values['contract'])
        self._types = {self.resolve_topic_name(topic): kind for topic, kind in
                       topics_of(self._contract, values['topics']).items()}
        self._classes = {topic: message_class(kind) for topic, kind in self._types.items()}
        self._events = self.resolve_topic_name(EVENTS)
        self._max_seconds = values['max_seconds']
        self._qos: dict[str, Any] = {}
        self.recorder = EpisodeRecorder(
            Path(values['folder']).expanduser(), self._types, values['compression'],
            int(values['queue_mb'] * 1e6), int(values['disk.reserve_mb'] * 1e6), values['late'],
            self._on_ended)
        self._complete_unfinished()
        self._metadata = EpisodeMetadata(
            self, self._contract.with_topics(self.resolve_topic_name), values['node'])
        self._receiver = BagReceiver(self, self._take)
        self._wire()

    def decide(self, decision: str) -> tuple[bool, str]:
        """
        Apply the decision of an operator, one of :data:`DECISIONS`.

        :returns: whether it was done, and what happened, as one line.
        """
        recorder = self.recorder
        try:
            if decision == 'start':
                path = recorder.start(self._recorded_topics(), self._metadata.known())
                self._write_event(f'episode {path.name} begins')
            elif decision == 'discard':
                path = recorder.discard()
            elif recorder.is_recording:
                outcome = 'unmarked' if decision == 'stop' else decision
                self._write_event(f'the operator ends the episode: {outcome}')
                path = recorder.stop(outcome, self._metadata.known())
            else:
                path = recorder.stop('', {}) if decision == 'stop' else recorder.mark(decision)
        except (VlaError, OSError) as error:
            self.get_logger().error(f'{decision}: {describe(error)}')
            return False, describe(error)
        line = f'{decision}: {path}'
        self.get_logger().info(line)
        return True, line

    def close(self) -> None:
        """Finish the episode and take no more messages; to be called before the node ends."""
        if self.recorder.is_recording:
            self.decide('stop')
        self._receiver.stop()

    def _wire(self) -> None:
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        for decision in DECISIONS:
            self.create_service(Trigger, f'~/{decision}', self._service(decision))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._on_timer, clock=steady)
        self._subscribe()

    def _service(self, decision: str) -> Callable[[Any, Any], Any]:
        def call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self.decide(decision)
            return response
        return call

    def _subscribe(self) -> None:
        """Subscribe; renew a subscription whose publishers' QoS have changed."""
        for topic, kind in self._types.items():
            qos = choose_qos(kind, self.get_publishers_info_by_topic(topic))
            before = self._qos.get(topic)
            if before is not None and (before[0].reliability, before[0].durability) == (
                    qos.reliability, qos.durability):
                continue
            # Without events: a message wakes the executor for those of its subscription.
            subscription = self.create_subscription(
                self._classes[topic], topic, lambda _: None, qos, raw=True,
                callback_group=LoopGroup(),
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False))
            self._receiver.replace(topic, subscription)
            if before is not None:
                self.destroy_subscription(before[1])
            self._qos[topic] = qos, subscription

    def _recorded_topics(self) -> list[RecordedTopic]:
        return [RecordedTopic(topic, kind, definition(kind.split('/')[0], kind.split('/')[2]),
                              qos_yaml(self._qos[topic][0]))
                for topic, kind in self._types.items()]

    def _take(self, topic: str, data: bytes, info: dict[str, Any]) -> None:
        now = self.get_clock().now().nanoseconds
        self._metadata.note(self._types[topic], data)
        gid = info.get('publisher_gid')
        self.recorder.take(topic, data, now, int(info['source_timestamp'] or now),
                           bytes(gid['data']) if gid else b'',
                           info.get('publication_sequence_number'))

    def _write_event(self, text: str) -> None:
        now = self.get_clock().now()
        message = Log(stamp=now.to_msg(), level=20, name=self.get_name(), msg=text)
        self.recorder.take(self._events, bytes(serialize_message(message)), now.nanoseconds,
                           now.nanoseconds)

    def _on_ended(self, reason: str) -> None:
        self.get_logger().error(f'the episode has ended by itself: {reason}; its bag is whole: '
                                f'{self.recorder.last}')

    def _on_timer(self) -> None:
        self._subscribe()
        if self._max_seconds and self.recorder.seconds >= self._max_seconds:
            self.decide('stop')
        self._diagnostics.publish(self._report())

    def _report(self) -> DiagnosticArray:
        recorder, now = self.recorder, time.monotonic()
        facts = {'bag': str(recorder.bag or ''), 'seconds': f'{recorder.seconds:.1f}',
                 'disk left [MB]': f'{recorder.free_bytes() / 1e6:.0f}'}
        message = DiagnosticArray(status=[_status(
            f'{self.get_name()}: episode', 'recording' if recorder.is_recording else 'idle',
            facts)])
        for topic, counter in recorder.counters.items():
            if counter.messages:
                is_best_effort = (self._qos[topic][0].reliability
                                  == QoSReliabilityPolicy.BEST_EFFORT)
                facts = {**counter.facts(), 'silent_s': f'{counter.silence(now):.1f}',
                         'qos': 'best effort' if is_best_effort else 'reliable'}
                message.status.append(_status(
                    f'{self.get_name()}: {topic}', f'{counter.rate(now):.1f} Hz', facts,
                    bool(counter.lost or counter.dropped)))
        message.header.stamp = self.get_clock().now().to_msg()
        return message

    def _complete_unfinished(self) -> None:
        for path in find_unfinished(self.recorder.folder):
            count = complete_bag(path, {'outcome': 'unmarked',
                                        'ended_by': 'its recorder was killed'})
            self.get_logger().warning(f'{path} was cut short; it is whole now, with {count} '
                                      'messages')


def _status(name: str, text: str, facts: dict[str, str],
            is_bad: bool = False) -> DiagnosticStatus:
    level = DiagnosticStatus.WARN if is_bad else DiagnosticStatus.OK
    return DiagnosticStatus(level=level, name=name, message=text,
                            values=[KeyValue(key=key, value=value)
                                    for key, value in facts.items()])
