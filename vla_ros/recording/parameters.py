# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The parameters of ``vla_record``."""

from vla_ros.control.parameter import Parameter
from vla_ros.recording.bag_writer import COMPRESSIONS

#: How an episode ended.
OUTCOMES = ('success', 'failure', 'unmarked')

PARAMETERS = (
    Parameter('contract', 'tabletop', 'What the policy observes and commands: a YAML file, or the '
              'name of one in config/contracts.'),
    Parameter('folder', '~/vla_episodes', 'Where the bags are written, a folder each.'),
    Parameter('topics', ('',), 'Further topics, NAME=TYPE each, like '
              '/camera/camera_info=sensor_msgs/msg/CameraInfo.'),
    Parameter('instruction', '', 'What is done in the episodes, where no one publishes '
              'vla/instruction.', read_only=False),
    Parameter('node', 'vla_inference_node', 'Node whose checkpoint, revision and robot file are '
              'noted in the bags.'),
    Parameter('compression', 'none', 'Of the bags. zstd makes images some 2 times smaller, and '
              'takes most of a core for two cameras.', choices=COMPRESSIONS),
    Parameter('queue_mb', 256.0, 'Megabytes of messages that may wait for the disk; what comes '
              'beyond is dropped, and counted.', minimum=1.0, maximum=65536.0),
    Parameter('disk.reserve_mb', 500.0, 'An episode ends when fewer megabytes are free.',
              minimum=0.0, maximum=1e6),
    Parameter('late', 0.5, 'Seconds after its stamp from which on a message counts as late.',
              minimum=0.001, maximum=60.0),
    Parameter('max_seconds', 0.0, 'Seconds after which an episode ends by itself, unmarked; 0: '
              'never.', minimum=0.0, maximum=86400.0),
)
#: Of the inference node, what an episode's metadata holds.
NOTED = ('policy', 'checkpoint', 'revision', 'unnorm_key', 'adapters', 'adapter', 'robot.file',
         'contract', 'url')
