# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Replies of the REST protocol to random bodies conform to its OpenAPI description."""

from dataclasses import replace
from http.client import HTTPConnection
import json

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import numpy as np
import pytest
from rest_harness import IMAGE
from rest_harness import running
from rest_harness import Stub

from vla_ros.data.json_numpy import dumps
from vla_ros.server.app import create_app
from vla_ros.server.batching import BatchCollector
from vla_ros.server.openapi import describe
from vla_ros.server.rest import Service

JUNK = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text()
    | strategies.floats(), lambda inner: strategies.lists(inner, max_size=3)
    | strategies.dictionaries(strategies.text(max_size=9), inner, max_size=3), max_leaves=6)
ARRAYS = strategies.fixed_dictionaries({
    '__numpy__': strategies.sampled_from(['', 'AAAA', '//79', 'A']) | JUNK,
    'dtype': strategies.sampled_from(['|u1', '<f8', '|O', '(2,)u1', 'U1']) | JUNK,
    'shape': strategies.lists(strategies.integers(-1, 4), max_size=4) | JUNK})
IMAGES = strategies.just(json.loads(dumps(IMAGE)))
PARTS = IMAGES | ARRAYS | JUNK | strategies.lists(IMAGES | ARRAYS, max_size=2)
BODIES = strategies.fixed_dictionaries({}, optional={
    name: PARTS for name in ('images', 'image', 'full_image', 'wrist', 'proprio', 'state',
                             'instruction', 'deadline_s', 'unnorm_key', 'request', 'encoded')})


@pytest.mark.parametrize('is_oft', [False, True])
@settings(max_examples=150, deadline=None, database=None)
@given(path=strategies.sampled_from(['/act', '/infer']), body=BODIES | JUNK,
       change=strategies.none() | strategies.tuples(strategies.integers(0, 400),
                                                    strategies.binary(max_size=3)))
def test_every_reply_conforms_to_the_openapi_description(is_oft, path, body, change):
    content = json.dumps(body).encode()
    if change is not None:
        content = content[:change[0]] + change[1] + content[change[0] + 1:]
    reply = send(path, content, is_oft)
    described = describe(is_oft, True, False)['paths'][path]['post']['responses']
    assert str(reply.status) in described and reply.status != 500
    if reply.status != 200:
        expected = described[str(reply.status)]['content']['application/json']['schema']
        expected = [option['required'][0] for option in expected.get('anyOf', [expected])]
        assert any(name in json.loads(reply.body) for name in expected)


def make_service(is_oft):
    policy = Stub(rows=2 if is_oft else 1)
    if is_oft:
        policy.spec = replace(policy.spec, action_shape=(2, 7), proprio_dim=2)
    return Service(policy, BatchCollector(policy), strict=True)


SERVICES = {is_oft: make_service(is_oft) for is_oft in (False, True)}


def send(path, content, is_oft=False):
    return getattr(SERVICES[is_oft], path[1:])(content, 'a')


@pytest.mark.parametrize('vector', [[None], [True], ['1'], [1e400], [[1.0]], 3, 'x', [10**400],
                                    np.array([np.nan]), np.array([True])])
def test_a_state_must_be_finite_numbers(vector):
    body = dumps({'images': [IMAGE], 'instruction': 'go', 'proprio': vector})
    reply = send('/infer', body.encode())
    assert reply.status == 400 and b'proprio: must be' in reply.body


@pytest.mark.parametrize('deadline', [0, -1, True, '1', 1e400, [1]])
def test_a_deadline_must_be_a_number_above_zero(deadline):
    body = dumps({'images': [IMAGE], 'instruction': 'go', 'deadline_s': deadline})
    reply = send('/infer', body.encode())
    assert reply.status == 400 and b'deadline_s: got' in reply.body


def test_the_openapi_description_has_every_route_and_needs_the_key():
    app = create_app(Stub(), api_key='secret')
    with running(app) as port:
        replies = []
        for key in ('wrong', 'secret'):
            connection = HTTPConnection('127.0.0.1', port, timeout=30)
            connection.request('GET', '/openapi.json', headers={'Authorization': f'Bearer {key}'})
            response = connection.getresponse()
            replies.append((response.status, json.loads(response.read())))
            connection.close()
    assert [status for status, _ in replies] == [401, 200]
    api = replies[1][1]
    assert api['openapi'].startswith('3.1.') and api['security'] == [{'key': []}]
    routes = {route.path: {method.lower() for method in route.methods - {'HEAD'}}
              for route in app.routes if route.path != '/openapi.json'}
    assert {path: set(entry) for path, entry in api['paths'].items()} == routes
