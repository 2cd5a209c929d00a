# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""QoS profiles of the topics: one for each kind of data."""

from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSHistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy

#: Images and measurements: a late sample is worth nothing.
NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
#: Commands, instructions and results.
RELIABLE = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)
#: States that a late subscriber needs, too.
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                     durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
#: Messages of the emergency stop that wait to be polled. All publishers share a queue: a flood of
#: one must not push the press of another out while a busy process does not poll. A reliable
#: publisher sends again what finds the queue full; of those that do not, the oldest go.
ESTOP_DEPTH = 1000
#: Deadman of a teleoperator: it repeats itself, and a late message is worth nothing. Several
#: publishers share the queue, and a release must not be pushed out by another's message.
DEADMAN = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)
#: Emergency stop: any publisher; those that send again what is lost; the last message of those
#: that keep it.
ESTOP_PROFILES = (
    QoSProfile(depth=ESTOP_DEPTH, reliability=QoSReliabilityPolicy.BEST_EFFORT),
    QoSProfile(history=QoSHistoryPolicy.KEEP_ALL, reliability=QoSReliabilityPolicy.RELIABLE),
    QoSProfile(history=QoSHistoryPolicy.KEEP_ALL, reliability=QoSReliabilityPolicy.RELIABLE,
               durability=QoSDurabilityPolicy.TRANSIENT_LOCAL))
