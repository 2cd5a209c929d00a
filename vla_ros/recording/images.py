# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The images of a bag, decoded for the frames that use them."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_ros.camera.image_encodings import to_rgb
from vla_ros.data.compressed_image import decode
from vla_ros.data.contract import COMPRESSED
from vla_ros.data.contract import ObservationContract
from vla_ros.errors import ImageError
from vla_ros.recording.bag_files import BagError
from vla_ros.recording.bag_reader import Bag


def read_rgb(kind: str, message: Any) -> np.ndarray:
    """
    Read a decoded image message, as the node does.

    :param kind: type of the message.
    :returns: uint8 (H, W, 3) RGB.
    :raises ImageError: it cannot be read.
    """
    if kind == COMPRESSED:
        return decode(message.format, message.data)
    return to_rgb(message.encoding, message.height, message.width, message.step, message.data)


def frame_images(bag: Bag, contract: ObservationContract, frames: Sequence[tuple[int, ...]]
                 ) -> Iterator[tuple[str, np.ndarray]]:
    """
    Decode the images of all frames, for each camera in order.

    :param frames: for each frame and camera the number of the image within its topic.
    :returns: name of the camera and pixels, uint8 (H, W, 3).
    :raises BagError: an image cannot be read.
    """
    wanted = {camera.topic: [frame[index] for frame in frames]
              for index, camera in enumerate(contract.cameras)}
    names = {camera.topic: camera.name for camera in contract.cameras}
    counts, done = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
    for sample in bag.samples():
        if sample.topic not in wanted:
            continue
        number, numbers, position = counts[sample.topic], wanted[sample.topic], done[sample.topic]
        counts[sample.topic] += 1
        if position == len(numbers) or numbers[position] != number:
            continue
        try:
            rgb = read_rgb(sample.type, bag.decode(sample))
        except ImageError as error:
            raise BagError(bag.path, f'image {number} on {sample.topic}: {error}') from None
        # An image of a slow camera may belong to several frames.
        while position < len(numbers) and numbers[position] == number:
            yield names[sample.topic], rgb
            position += 1
        done[sample.topic] = position
