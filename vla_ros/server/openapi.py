# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The OpenAPI description of the REST application, for clients and for tools that test it."""

from collections.abc import Mapping
from typing import Any

import vla_ros

_ARRAY = {
    'type': 'object', 'required': ['__numpy__', 'dtype', 'shape'],
    'description': 'An array as json-numpy writes it: base64 of its bytes, dtype and shape.',
    'properties': {
        '__numpy__': {'type': 'string', 'format': 'byte'},
        'dtype': {'type': 'string', 'examples': ['|u1', '<f8']},
        'shape': {'type': 'array', 'maxItems': 8, 'items': {'type': 'integer', 'minimum': 0}}}}
_VECTOR = {'anyOf': [_ARRAY, {'type': 'array', 'items': {'type': 'number'}}]}
_STRING = {'type': 'string'}
_OBSERVATION = {
    'type': 'object', 'required': ['images', 'instruction'],
    'properties': {
        'images': {'type': 'array', 'items': _ARRAY, 'description': 'uint8 (height, width, 3)'},
        'instruction': _STRING,
        'proprio': {'anyOf': [_VECTOR, {'type': 'null'}]},
        'request': {'description': 'Anything; the reply repeats it.'},
        'deadline_s': {'anyOf': [{'type': 'number', 'exclusiveMinimum': 0}, {'type': 'null'}],
                       'description': 'Seconds after which nobody wants the reply.'}}}
_OPENVLA = {
    'type': 'object', 'required': ['image', 'instruction'],
    'properties': {'image': _ARRAY, 'instruction': _STRING,
                   'unnorm_key': {'type': ['string', 'null']}}}
_OFT = {
    'type': 'object', 'required': ['full_image', 'instruction'],
    'properties': {'full_image': _ARRAY, 'instruction': _STRING, 'state': _VECTOR}}
_ENCODED = {
    'type': 'object', 'required': ['encoded'], 'additionalProperties': False,
    'properties': {'encoded': {'type': 'string', 'description': 'The body as a string.'}}}
_ERROR = {'type': 'object', 'required': ['error'], 'properties': {'error': _STRING}}
_DETAIL = {'type': 'object', 'required': ['detail'], 'properties': {'detail': _STRING}}
_INVALID = {'type': 'object', 'required': ['invalid'], 'properties': {'invalid': {
    'type': 'object', 'required': ['reason', 'token_ids', 'positions', 'prompt', 'input_ids']}}}


def describe(is_oft: bool, is_strict: bool, wants_key: bool) -> dict[str, Any]:
    """
    Describe the application of ``create_app``, OpenAPI 3.1.

    :param is_oft: ``/act`` is that of OpenVLA-OFT's server.
    :param is_strict: a failure of ``/act`` is a status.
    :param wants_key: every request must carry one.
    """
    infer_failures = {
        '400': _reply('The request does not fit.', _ERROR),
        '409': _reply('Nobody has chosen the dataset.', _ERROR),
        '413': _reply('The body is too large.', _DETAIL),
        '422': _reply('The output is no action.', _INVALID),
        '500': _reply('Anything else.', _ERROR),
        '503': {**_reply('It would be too late, or the device is lost.', _ERROR),
                'headers': {'Retry-After': {'schema': {'type': 'integer'}}}}}
    act_failures = {**infer_failures, '422': _reply(
        'The body is not a JSON object' + (', or the output is no action.' if is_strict else '.'),
        {'anyOf': [_DETAIL, _ERROR]})}
    if not is_strict:
        act_failures = {status: act_failures[status] for status in ('413', '422', '503')}
    paths = {
        '/act': {'post': _operation(
            "An action, as the official server's client asks for it.",
            {'200': _reply('The action.' if is_strict else 'The action, or "error".', {}),
             **act_failures}, {'anyOf': [_OFT if is_oft else _OPENVLA, _ENCODED]})},
        '/infer': {'post': _operation(
            'Everything that the policy says about an observation.',
            {'200': _reply('The chunk.', {'type': 'object', 'required': ['request', 'chunk']}),
             **infer_failures}, _OBSERVATION)},
        '/spec': {'get': _operation('What the policy is.', {
            '200': _reply('The policy.', {'type': 'object', 'required': ['action_shape']}),
            '409': infer_failures['409']})},
        '/stats': {'get': _operation('Requests and replies so far.', {
            '200': _reply('Counts.', {'type': 'object', 'required': ['batches']})})},
        '/healthz': {'get': _operation('Whether requests are answered.', {
            '200': _reply('They are.', _STRING, 'text/plain'),
            '503': _reply('The device is lost to this process.', _STRING, 'text/plain')})}}
    description: dict[str, Any] = {
        'openapi': '3.1.0', 'info': {'title': 'vla_serve', 'version': vla_ros.__version__},
        'paths': paths}
    if wants_key:
        description['components'] = {'securitySchemes': {
            'key': {'type': 'http', 'scheme': 'bearer'}}}
        description['security'] = [{'key': []}]
        for path in paths.values():
            for operation in path.values():
                operation['responses']['401'] = _reply('It wants the key.', _DETAIL)
    return description


def _operation(summary: str, responses: Mapping[str, Any],
               body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {'summary': summary, 'responses': dict(responses)}
    if body is not None:
        operation['requestBody'] = {'required': True,
                                    'content': {'application/json': {'schema': body}}}
    return operation


def _reply(description: str, schema: Mapping[str, Any],
           kind: str = 'application/json') -> dict[str, Any]:
    return {'description': description, 'content': {kind: {'schema': schema}}}
