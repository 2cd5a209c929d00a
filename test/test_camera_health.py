# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Missing images are reported with their cause and its remedy."""

import pytest

from vla_ros.camera.health import CameraState
from vla_ros.camera.health import diagnose

TOPIC = '/camera/image_raw'
RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


@pytest.mark.parametrize('view, texts', [
    ({}, ['no publisher on /camera/image_raw']),
    ({'cameras': ('/cam',), 'middleware': 'rmw_fastrtps_cpp'},
     ['/cam is connected on /camera/image_raw, but nothing arrives', '--print-env fastrtps']),
    ({'cameras': ('/cam',), 'middleware': 'rmw_cyclonedds_cpp'}, ['transport:=cyclonedds']),
    ({'cameras': ('/cam',), 'middleware': 'rmw_zenoh_cpp'}, ['over the same middleware']),
    ({'cameras': ('/cam',), 'mismatch': 'DURABILITY'}, ['/cam offers another DURABILITY']),
    ({'other_types': (COMPRESSED,)}, [f'carries {COMPRESSED}', 'image.source:=compressed']),
    ({'other_types': ('std_msgs/msg/String',)}, ['use another topic']),
    ({'source': 'compressed', 'other_types': (RAW,)}, ['image.source:=topic']),
    ({'source': 'iceoryx2'}, ['vla_ros.camera.iceoryx2']),
])
def test_each_cause_of_missing_images_is_reported_with_its_remedy(view, texts):
    seen = CameraState(**{'source': 'topic', 'topic': TOPIC, 'silence': 3.0, **view})
    sentence = diagnose(seen)
    assert all(text in sentence for text in texts), sentence
    assert '\n' not in sentence


def test_a_camera_with_a_recent_image_is_not_reported():
    assert diagnose(CameraState('topic', TOPIC, silence=0.1)) == ''
