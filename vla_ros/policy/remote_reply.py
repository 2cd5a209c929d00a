# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Reads what a policy server says; nothing of it is believed.

Every field has one type and a range. A number written as a string, a truth value or a list is
refused, not converted: its sender means something else than this client does.
"""

from collections.abc import Mapping
import math
from typing import Any

import numpy as np

from vla_ros.errors import InvalidAction
from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import PolicySpec

# More than any policy of the field has: 50 steps, 32 dimensions, 4 cameras, 64 numbers of state.
_MOST_STEPS, _MOST_DIMENSIONS, _MOST_IMAGES, _MOST_STATE = 1000, 256, 16, 1024
_MOST_TOKENS = 2**16
_TEXTS = ('checkpoint', 'unnorm_key', 'device', 'dtype', 'attention', 'attention_reason',
          'quantization')


class ReplyError(VlaError):
    """A field of a reply that is missing or violates the protocol."""


def read_spec(reply: Mapping[str, Any]) -> PolicySpec:
    """
    Read what the server's policy is; fields of a newer server are left out.

    :raises ReplyError: a field is missing, of another type or out of its range.
    """
    shape = reply.get('action_shape')
    if not isinstance(shape, list) or len(shape) != 2:
        raise ReplyError(f'action_shape: got {_short(shape)}, it must be [steps, dimensions]')
    return PolicySpec(
        action_shape=(_integer('action_shape', shape[0], 1, _MOST_STEPS),
                      _integer('action_shape', shape[1], 1, _MOST_DIMENSIONS)),
        image_count=_integer('image_count', reply.get('image_count'), 1, _MOST_IMAGES),
        proprio_dim=_integer('proprio_dim', reply.get('proprio_dim'), 0, _MOST_STATE),
        revision=_text('revision', reply.get('revision', '')),
        **{name: _text(name, reply.get(name)) for name in _TEXTS})


def read_chunk(reply: object, shape: tuple[int, int], elapsed_ms: float) -> ActionChunk:
    """
    Read a reply.

    :param shape: (T, D) that the server's spec promised.
    :param elapsed_ms: milliseconds of the whole exchange.
    :raises ReplyError: a field is missing, of another type, out of its range or not finite.
    """
    if not isinstance(reply, Mapping):
        raise ReplyError(f'chunk: got {_short(reply)}, it must be an object')
    timings = reply.get('timings_ms')
    if not isinstance(timings, Mapping):
        raise ReplyError(f'timings_ms: got {_short(timings)}, it must be an object')
    timings = {_text('timings_ms', name): _number(f'timings_ms.{_short(name)}', value)
               for name, value in timings.items()}
    # Everything that is not the model: writing, sending, waiting, reading.
    timings['network'] = elapsed_ms - sum(timings.values())
    period = reply.get('period_s')
    if period is not None and not _number('period_s', period) > 0.0:
        raise ReplyError(f'period_s: got {period!r}, it must be above zero')
    tokens = _integers('token_ids', reply.get('token_ids'))
    margins = _array('margins', reply.get('margins'))
    if margins.shape != (len(tokens),):
        raise ReplyError(f'margins: got shape {margins.shape}, it must be ({len(tokens)},): one '
                         'for each token')
    return ActionChunk(
        _actions('actions', reply.get('actions'), shape),
        _actions('normalized', reply.get('normalized'), shape),
        tokens, _integers('bins', reply.get('bins')), margins.astype(np.float32),
        _text('prompt', reply.get('prompt')), _integers('input_ids', reply.get('input_ids')),
        timings, period,
        _integer('drafted', reply.get('drafted', 0), 0, _MOST_TOKENS),
        _integer('accepted', reply.get('accepted', 0), 0, _MOST_TOKENS))


def read_invalid_action(reply: object) -> InvalidAction:
    """
    Read why the server has no action.

    :raises ReplyError: it does not say so in the protocol's form.
    """
    if not isinstance(reply, Mapping):
        raise ReplyError(f'invalid: got {_short(reply)}, it must be an object')
    return InvalidAction(
        _text('reason', reply.get('reason')), _integers('token_ids', reply.get('token_ids')),
        _integers('positions', reply.get('positions')), _text('prompt', reply.get('prompt')),
        _integers('input_ids', reply.get('input_ids')))


def _actions(name: str, value: object, shape: tuple[int, int]) -> np.ndarray:
    """Return float64 (T, D), finite."""
    array = _array(name, value)
    if array.shape != shape:
        raise ReplyError(f'{name}: got shape {array.shape}, the spec promised {shape}')
    if not np.isfinite(array).all():
        raise ReplyError(f'{name}: a number is not finite')
    return array.astype(np.float64)


def _array(name: str, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind != 'f':
        kind = value.dtype if isinstance(value, np.ndarray) else _short(value)
        raise ReplyError(f'{name}: got {kind}, it must be an array of floating-point numbers')
    return value


def _integers(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MOST_TOKENS:
        raise ReplyError(f'{name}: got {_short(value)}, it must be a list of at most '
                         f'{_MOST_TOKENS} whole numbers')
    return tuple(_integer(name, number, -1, 2**31) for number in value)


def _integer(name: str, value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ReplyError(f'{name}: got {_short(value)}, it must be a whole number from {least} '
                         f'to {most}')
    return value


def _number(name: str, value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ReplyError(f'{name}: got {_short(value)}, it must be a finite number')
    return float(value)  # type: ignore[arg-type]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ReplyError(f'{name}: got {_short(value)}, it must be a string')
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
