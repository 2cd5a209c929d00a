# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Reads and checks the inputs and outputs that a GR00T server declares."""

from collections.abc import Mapping
from dataclasses import dataclass
import json

from vla_ros.errors import VlaError
from vla_ros.policy.observation_keys import shorten

_NAMES = ('video', 'state', 'action', 'language')
# N1.5 writes the content as JSON within msgpack, later releases as a map.
_MARKERS = ('__ModalityConfig_class__', '__ModalityConfig__')
# More than any robot has.
_MOST = 1000


class ModalityError(VlaError):
    """A server's modalities that violate the protocol or do not fit."""


@dataclass(frozen=True)
class Modality:
    """
    One kind of input or output.

    :param keys: its parts, without the kind before them.
    :param offsets: the steps of time that each part covers, 0 being the present one.
    """

    keys: tuple[str, ...]
    offsets: tuple[int, ...]


def read_modalities(content: object) -> tuple[dict[str, Modality], bool]:
    """
    Read the reply to ``get_modality_config``.

    :returns: the modalities by name, and whether the protocol is the flat one of N1.5.
    :raises ModalityError: it has another form.
    """
    if not isinstance(content, Mapping):
        raise ModalityError(f'modality config: got {shorten(content)}, it must be a map')
    forms = set()
    modalities = {}
    for name in _NAMES:
        entry = content.get(name)
        if not isinstance(entry, Mapping) or not any(marker in entry for marker in _MARKERS):
            raise ModalityError(f'modality config: {name}: got {shorten(entry)}, it must be a '
                                'modality of a GR00T N1.5, N1.6 or N1.7 server')
        body = entry.get('as_json', entry.get('as_dict'))
        forms.add(isinstance(body, str))
        if isinstance(body, str):
            try:
                body = json.loads(body)
            except (ValueError, RecursionError):
                body = None
        modalities[name] = _read_modality(name, body)
    if len(forms) > 1:
        raise ModalityError('modality config: one of N1.5 and one of another release')
    return modalities, forms.pop()


def _read_modality(name: str, body: object) -> Modality:
    keys, offsets = ((body.get('modality_keys'), body.get('delta_indices'))
                     if isinstance(body, Mapping) else (None, None))
    if not isinstance(keys, list) or len(keys) > _MOST or not all(
            isinstance(key, str) for key in keys):
        raise ModalityError(f'modality config: {name}: modality_keys: got {shorten(keys)}, it '
                            'must be a list of names')
    if not isinstance(offsets, list) or len(offsets) > _MOST or not all(
            type(offset) is int for offset in offsets):
        raise ModalityError(f'modality config: {name}: delta_indices: got {shorten(offsets)}, it '
                            'must be a list of whole numbers')
    return Modality(tuple(key.removeprefix(f'{name}.') for key in keys), tuple(offsets))
