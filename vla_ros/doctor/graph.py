# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Findings about a running graph: connections, QoS, and the delivery of images."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from vla_ros.doctor.finding import ERROR
from vla_ros.doctor.finding import Finding
from vla_ros.doctor.finding import OK
from vla_ros.doctor.finding import WARNING

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
_MIB = 2 ** 20
# From weak to strong: a subscription must not ask for more than the publisher offers.
_LIVELINESS = ('AUTOMATIC', 'MANUAL_BY_TOPIC')


@dataclass(frozen=True)
class Endpoint:
    """
    A publisher or a subscription.

    :param is_publisher: whether it offers, or asks for, the following.
    :param depth: of the history; 0 where the middleware gives none.
    :param deadline: longest time between messages in seconds, infinite if there is none.
    :param lease: time after which a silent publisher counts as gone, in seconds.
    """

    node: str
    topic: str
    message_type: str
    is_publisher: bool
    reliability: str
    durability: str
    history: str = 'UNKNOWN'
    depth: int = 0
    deadline: float = math.inf
    liveliness: str = 'AUTOMATIC'
    lease: float = math.inf

    def describe(self) -> str:
        """Return its settings in words."""
        depth = f' {self.depth}' if self.depth else ''
        extra = '' if math.isinf(self.deadline) else f', deadline {self.deadline:g} s'
        extra += '' if math.isinf(self.lease) else f', liveliness {self.lease:g} s'
        return f'{self.reliability}, {self.durability}, {self.history}{depth}{extra}'


@dataclass(frozen=True)
class Stream:
    """
    What came in on an image topic for a few seconds.

    :param published: images, by the sequence numbers of those that came; -1 if unknown.
    :param lost: images that the middleware says are lost.
    :param ages: seconds from stamp to arrival.
    :param size: bytes of the largest image.
    :param segments: bytes of the shared-memory segments of others that are in use.
    :param is_iceoryx: whether this process is connected to RouDi.
    """

    topic: str
    seconds: float
    received: int
    published: int
    lost: int
    ages: Sequence[float]
    size: int
    segments: Sequence[int]
    is_iceoryx: bool
    middleware: str


def mismatches(offered: Endpoint, requested: Endpoint) -> list[str]:
    """Return how to change each setting that keeps a publisher and a subscription apart."""
    if offered.message_type != requested.message_type:
        return [f'{offered.node} publishes {offered.message_type}, {requested.node} wants '
                f'{requested.message_type}: remap one of them']
    problems = []
    if (offered.reliability, requested.reliability) == ('BEST_EFFORT', 'RELIABLE'):
        problems.append(f'reliability: set BEST_EFFORT in {requested.node}, or RELIABLE in '
                        f'{offered.node}')
    if (offered.durability, requested.durability) == ('VOLATILE', 'TRANSIENT_LOCAL'):
        problems.append(f'durability: set VOLATILE in {requested.node}, or TRANSIENT_LOCAL in '
                        f'{offered.node}')
    if offered.deadline > requested.deadline:
        problems.append(f'deadline: {requested.node} asks for {requested.deadline:g} s; remove it '
                        f'there, or offer as much in {offered.node}')
    if _strength(offered.liveliness) < _strength(requested.liveliness):
        problems.append(f'liveliness: set AUTOMATIC in {requested.node}, or MANUAL_BY_TOPIC in '
                        f'{offered.node}')
    if offered.lease > requested.lease:
        problems.append(f'liveliness: {requested.node} asks for {requested.lease:g} s; remove it '
                        f'there, or offer as much in {offered.node}')
    return problems


def _strength(liveliness: str) -> int:
    return _LIVELINESS.index(liveliness) if liveliness in _LIVELINESS else 0


def check_topic(topic: str, endpoints: Sequence[Endpoint]) -> list[Finding]:
    """List the endpoints of a topic, and the pairs that miss each other."""
    publishers = [one for one in endpoints if one.is_publisher]
    subscriptions = [one for one in endpoints if not one.is_publisher]
    findings = []
    for one in (*publishers, *subscriptions):
        role = 'publisher' if one.is_publisher else 'subscriber'
        findings.append(Finding(topic, OK, f'{role} {one.node}: {one.describe()}'))
    if not publishers:
        findings.append(Finding(topic, WARNING, 'no publisher', 'start it, or remap the '
                                'topic'))
    if not subscriptions:
        findings.append(Finding(topic, WARNING, 'no subscriber', 'start it, or remap the '
                                'topic'))
    for offered in publishers:
        # A node that subscribes several times, as this one to an emergency stop, receives by any.
        hearing = {one.node for one in subscriptions if not mismatches(offered, one)}
        for requested in subscriptions:
            if requested.node in hearing:
                continue
            findings += [Finding(topic, ERROR, f'{offered.node} and {requested.node} are not '
                                 'compatible', problem)
                         for problem in mismatches(offered, requested)]
    return findings


def check_stream(stream: Stream) -> list[Finding]:
    """Return how the images on a topic fare."""
    if not stream.received:
        return [Finding(stream.topic, ERROR, f'nothing arrived within {stream.seconds:g} s',
                        _remedy(stream))]
    findings = [_delivery(stream)]
    if stream.middleware.startswith('rmw_fastrtps'):
        findings.append(_fast_dds(stream))
    elif stream.is_iceoryx:
        findings.append(Finding('shared memory', OK, 'in use: iceoryx'))
    else:
        findings.append(Finding('shared memory', OK, 'not in use: images go through the network'))
    return findings


def _delivery(stream: Stream) -> Finding:
    ages = sorted(stream.ages)
    middle, late = (1e3 * ages[min(len(ages) - 1, int(part * len(ages)))] for part in (0.5, 0.99))
    published = max(stream.published, stream.received + stream.lost)
    found = (f'{stream.received} of {published} images arrived in {stream.seconds:g} s '
             f'({stream.received / stream.seconds:.1f} Hz), {published - stream.received} lost; '
             f'age p50 {middle:.1f} ms, p99 {late:.1f} ms; {stream.size / 1e6:.2f} MB each')
    if stream.received < 0.95 * published:
        return Finding(stream.topic, WARNING, found, _remedy(stream))
    if middle < 0.0:
        return Finding(stream.topic, WARNING, found, 'the stamps are in the future: is '
                       'use_sim_time the same everywhere, and are the clocks synchronised?')
    return Finding(stream.topic, OK, found)


def _fast_dds(stream: Stream) -> Finding:
    if not stream.segments:
        return Finding('shared memory', WARNING, 'not in use: images go through the network',
                       'is the camera on this machine, of the same user, and is there room in '
                       '/dev/shm?')
    largest = max(stream.segments)
    found = f'in use: the largest segment of another process has {largest / _MIB:.1f} MiB'
    if largest < 2 * stream.size:
        return Finding('shared memory', WARNING, f'{found}, less than two images',
                       'start the camera driver in the environment of vla_transport --print-env '
                       'fastrtps')
    return Finding('shared memory', OK, found)


def _remedy(stream: Stream) -> str:
    if stream.middleware.startswith('rmw_fastrtps'):
        return ('start the camera driver in the environment of: vla_transport --print-env '
                'fastrtps')
    if stream.middleware.startswith('rmw_cyclonedds'):
        return ('start camera and node with transport:=cyclonedds, and run sudo sysctl -w '
                'net.core.rmem_max=67108864')
    return 'does the camera send, and over the same middleware?'
