# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A robot for tests of the operator's page: a test sets its status, its services and its image."""

from io import BytesIO

from panel_harness import FakeRobot
from PIL import Image
from vla_ros.server.panel.robot import CameraImage

CAMERA = 'camera/image_raw'
STATUS = {
    'state': 'RUNNING', 'reason': '', 'control_mode': 'AUTONOMOUS',
    'instruction': 'push the red block', 'version': 2,
    'loading': 100.0, 'camera_rate': 29.8, 'inference_rate': 4.9, 'command_rate': 100.1,
    'age': 0.183, 'dropped': 120, 'failed': 0, 'commands': 1201, 'attention': 'sdpa',
    'device': 'cuda', 'dtype': 'bfloat16', 'adapter': '', 'limits': [['velocity', 19]]}
ACTION = {'tokens': [31650, 31634, 31770, 31714, 31649, 31714, 31841],
          'instruction': 'push the red block', 'numbers': [0.1] * 7, 'age': 0.18, 'stages': [],
          'path': [[0.4, 0.5], [0.5, 0.6], [0.65, 0.62]]}


class ScriptedRobot(FakeRobot):
    """A robot whose state a test sets."""

    def __init__(self, **changes):
        super().__init__()
        self.status = dict(STATUS)
        self.silence = 0.1
        self.listeners = 3
        self.changes = changes

    def press_stop(self):
        super().press_stop()
        if self.listeners:
            self.status.update(state='ESTOP', reason='the emergency stop is pressed')

    def state(self):
        joints = [{'name': f'joint_{number}', 'measured': 0.1 * number, 'commanded': 0.12 * number}
                  for number in range(1, 7)]
        return {'status': self.status, 'silence': self.silence, 'joints': joints,
                'joints_age': 0.01, 'action': ACTION, 'path_problem': '',
                'stop': {'pressed': self.is_stop_pressed, 'listeners': self.listeners},
                'services': self.services, **self.changes}

    def show_image(self, color=(90, 120, 90)):
        """Show an image of one colour on the page."""
        self.wait(lambda robot: robot.show is not None)
        stream = BytesIO()
        Image.new('RGB', (320, 240), color).save(stream, 'JPEG')
        details = {'width': 320, 'height': 240, 'age': 0.05}
        self.show(CameraImage(CAMERA, stream.getvalue(), details))
