# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Relays the images of the simulator, like a camera driver: a process that can be killed."""

import rclpy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import Image

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)

if __name__ == '__main__':
    rclpy.init()
    node = rclpy.create_node('image_relay')
    publisher = node.create_publisher(Image, '/camera/image_raw', NEWEST)
    node.create_subscription(Image, '/camera/driver', publisher.publish, NEWEST)
    rclpy.spin(node)
