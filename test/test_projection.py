# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The pinhole camera model with distortion."""

import numpy as np
import pytest
from vla_ros.camera.projection import Calibration
from vla_ros.errors import ParameterError

K = [500.0, 0.0, 319.5, 0.0, 500.0, 239.5, 0.0, 0.0, 1.0]


def test_points_project_relative_to_the_principal_point():
    camera = Calibration.read((640, 480), 'plumb_bob', K, [])
    pixels = camera.project(np.array([[0.0, 0.0, 2.0], [0.64, 0.0, 1.0], [0.0, -0.48, 1.0]]))
    np.testing.assert_allclose(pixels, [[0.5, 0.5], [1.0, 0.5], [0.5, 0.0]])


def test_a_point_behind_the_camera_has_no_projection():
    camera = Calibration.read((640, 480), '', K, [0.0] * 5)
    assert np.isnan(camera.project(np.array([[0.1, 0.1, -1.0], [0.0, 0.0, 0.0]]))).all()


@pytest.mark.parametrize('model, distortion, expected', [
    # x = 0.5, y = 0, so r2 = 0.25.
    ('plumb_bob', [0.1, 0, 0, 0, 0], [0.5 * 1.025, 0.0]),
    ('plumb_bob', [0, 0.1, 0, 0, 0], [0.5 * 1.00625, 0.0]),
    ('plumb_bob', [0, 0, 0.1, 0, 0], [0.5, 0.1 * 0.25]),
    ('plumb_bob', [0, 0, 0, 0.1, 0], [0.5 + 0.1 * 0.75, 0.0]),
    ('plumb_bob', [0, 0, 0, 0, 0.64], [0.5 * 1.01, 0.0]),
    ('rational_polynomial', [0, 0, 0, 0, 0, 1.0, 0, 0], [0.5 / 1.25, 0.0])])
def test_distortion_follows_the_model_of_opencv(model, distortion, expected):
    camera = Calibration.read((640, 480), model, K, distortion)
    pixel = camera.project(np.array([[1.0, 0.0, 2.0]]))[0]
    np.testing.assert_allclose(
        pixel, [(500 * expected[0] + 320) / 640, (500 * expected[1] + 240) / 480])


@pytest.mark.parametrize('size, model, matrix, distortion, problem', [
    ((0, 0), 'plumb_bob', K, [], 'calibrated camera'),
    ((640, 480), 'plumb_bob', [0.0] * 9, [], 'calibrated camera'),
    ((640, 480), 'plumb_bob', [float('nan'), *K[1:]], [], 'calibrated camera'),
    ((640, 480), 'equidistant', K, [0.1] * 4, 'equidistant with 4 numbers'),
    ((640, 480), 'plumb_bob', K, [0.1] * 8, 'plumb_bob with 5 numbers or rational_polynomial')])
def test_an_invalid_calibration_is_refused(size, model, matrix, distortion, problem):
    with pytest.raises(ParameterError, match=problem):
        Calibration.read(size, model, matrix, distortion)
