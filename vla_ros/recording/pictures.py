# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The pictures of a bag, decoded where a frame needs them."""

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


def frame_pictures(bag: Bag, contract: ObservationContract, frames: Sequence[tuple[int, ...]]
                   ) -> Iterator[tuple[str, np.ndarray]]:
    """
    Give the pictures of all frames, each camera's in their order: its name, uint8 (H, W, 3).

    :param frames: of each frame, the number of the image in its topic, by camera.
    :raises BagError: one cannot be read.
    """
    wanted = {camera.topic: [frame[index] for frame in frames]
              for index, camera in enumerate(contract.cameras)}
    names = {camera.topic: camera.name for camera in contract.cameras}
    counts, done = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
    for sample in bag.samples():
        if sample.topic not in wanted:
            continue
        number, numbers, place = counts[sample.topic], wanted[sample.topic], done[sample.topic]
        counts[sample.topic] += 1
        if place == len(numbers) or numbers[place] != number:
            continue
        try:
            rgb = read_rgb(sample.type, bag.decode(sample))
        except ImageError as error:
            raise BagError(bag.path, f'image {number} on {sample.topic}: {error}') from None
        # A slow camera's picture may belong to several frames.
        while place < len(numbers) and numbers[place] == number:
            yield names[sample.topic], rgb
            place += 1
        done[sample.topic] = place
