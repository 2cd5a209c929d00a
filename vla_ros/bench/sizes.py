# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Sizes of frames, as they are given on a command line."""

from vla_ros.errors import ParameterError


def parse_size(text: str) -> tuple[int, int]:
    """
    Read ``640x480`` as (width, height).

    :raises ParameterError: it is not written so.
    """
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ParameterError('--size', text, 'WIDTHxHEIGHT, for example 640x480')
    return int(width), int(height)
