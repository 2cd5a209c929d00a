# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Callbacks for events of publishers and subscriptions, which Humble has in another module."""

try:
    from rclpy.event_handler import PublisherEventCallbacks
    from rclpy.event_handler import SubscriptionEventCallbacks
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
    from rclpy.qos_event import SubscriptionEventCallbacks
    from rclpy.qos_event import UnsupportedEventTypeError

__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'UnsupportedEventTypeError']
