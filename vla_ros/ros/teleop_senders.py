# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whose commands count in a takeover: those of the node that holds the deadman."""

from dataclasses import dataclass
import time
from typing import Any

from rclpy.node import Node

#: Seconds for which what the graph says of a sender counts.
_VALID = 0.5
#: Of a gid that count; some distributions pad it to 24. The first twelve are those of the process,
#: with Fast DDS.
_GID_BYTES, _PROCESS_BYTES = 16, 12


@dataclass(frozen=True)
class SenderCheck:
    """
    What becomes of a command.

    :param problem: why it does not count; empty if it does.
    :param is_foreign: it is another teleoperator's, who does not disturb the one that holds the
        deadman. Otherwise it is not known whose it is, and nothing may move.
    """

    problem: str = ''
    is_foreign: bool = False


class TeleopSenders:
    """
    Compares the publisher of a command with that of the deadman.

    Where each topic has one publisher, these belong together, whatever nodes they are of: a pedal
    and a leader arm. Where one has several, they must be of the same node.
    """

    def __init__(self, node: Node, deadman: str) -> None:
        """
        Start with nobody known.

        :param deadman: topic of the deadman.
        """
        self._node = node
        self._deadman = node.resolve_topic_name(deadman)
        self._known: dict[str, tuple[bytes, bytes, float, SenderCheck]] = {}

    def check(self, topic: str, sender: bytes, holder: bytes) -> SenderCheck:
        """
        Return whether a command counts.

        :param topic: that it came on.
        :param sender: gid of its publisher, empty where the middleware gives none.
        :param holder: gid of the deadman's.
        """
        now = time.monotonic()
        known = self._known.get(topic)
        if known is not None and known[:2] == (sender, holder) and now < known[2]:
            return known[3]
        check = self._compare(self._node.resolve_topic_name(topic), sender, holder)
        self._known[topic] = sender, holder, now + _VALID, check
        return check

    def _compare(self, topic: str, sender: bytes, holder: bytes) -> SenderCheck:
        commanding = self._publishers(topic)
        holding = self._publishers(self._deadman)
        if len(commanding) <= 1 and len(holding) <= 1:
            return SenderCheck()
        names = dict(commanding + holding)
        if sender not in names or holder not in names:
            return SenderCheck(
                f'{topic} and {self._deadman} have {len(commanding)} and {len(holding)} '
                'publishers, and this middleware does not say who has sent: end all but one of '
                'each')
        alike = [gid for gid, name in commanding if name == names[holder]]
        is_same = sender in alike and (
            len(alike) == 1 or sender[:_PROCESS_BYTES] == holder[:_PROCESS_BYTES])
        if is_same:
            return SenderCheck()
        return SenderCheck(f'commands of {names[sender]} on {topic} are refused: {names[holder]} '
                           'holds the deadman; of several publishers that node alone counts', True)

    def _publishers(self, topic: str) -> list[tuple[bytes, str]]:
        return [(bytes(one.endpoint_gid)[:_GID_BYTES],
                 f'{one.node_namespace.rstrip("/")}/{one.node_name}')
                for one in self._node.get_publishers_info_by_topic(topic)]


def gid_of(info: Any) -> bytes:
    """Return the publisher's gid out of what the middleware says of a message; empty for none."""
    gid = info.get('publisher_gid') or {}
    return bytes(gid.get('data', b''))[:_GID_BYTES]
