# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_serve`` on Ray Serve: arguments, health checks, and a killed replica."""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
import os
import signal
import socket

from fleet_load import load
import pytest
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import running
from rest_harness import Stub

from vla_ros.data.json_numpy import dumps
from vla_ros.errors import DeviceLostError
from vla_ros.errors import ParameterError
from vla_ros.server import ray_app
from vla_ros.server.ray_app import read_arguments
from vla_ros.server.ray_app import Replica
from vla_ros.util.demo_checkpoint import checkpoint_folder
from vla_ros.util.demo_checkpoint import ensure_checkpoint

BODY = dumps({'images': [IMAGE], 'instruction': 'stop', 'deadline_s': 30.0})


def get(port, path):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('GET', path)
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    return response.status, content


def test_text_arguments_are_converted_to_the_types_of_a_file():
    text = {'checkpoint': 'x', 'device': 'cpu', 'image_count': '2', 'max_wait_s': '0.01'}
    file = {**text, 'image_count': 2, 'max_wait_s': 0.01}
    assert read_arguments(text) == read_arguments(file)
    config, batches = read_arguments(text)
    assert (config.image_count, batches) == (2, {'max_wait_s': 0.01})


@pytest.mark.parametrize(('change', 'problem'), [
    ({'device': 'auto'}, 'device: .*cpu, cuda'), ({'checkpoint': ''}, 'checkpoint'),
    ({'checkpont': 'x'}, 'checkpont: .*checkpoint, chunk_length'),
    ({'image_count': 'two'}, 'image_count: .*a whole number'), ({'dtype': 'half'}, 'dtype'),
    ({'image_count': 1.5}, 'image_count: .*a whole number'), ({'replicas': 0}, 'replicas'),
    ({'max_wait_s': 'x'}, 'max_wait_s: .*a number')])
def test_an_invalid_argument_is_named(change, problem):
    with pytest.raises(ParameterError, match=problem):
        read_arguments({'checkpoint': 'x', 'device': 'cpu', **change})


def test_a_replica_with_a_lost_device_is_unhealthy(monkeypatch):
    policy = Stub()
    monkeypatch.setattr(ray_app, 'load_policy', lambda config: policy)
    replica = Replica(read_arguments({'checkpoint': 'x', 'device': 'cpu'})[0], {'max_batch': 4})
    with running(replica.__serve_build_asgi_app__()) as port:
        assert post(port, BODY, '/infer')[0] == 200
        replica.check_health()
        assert get(port, '/healthz') == (200, 'OK\n')

        def fail(observation):
            raise DeviceLostError('cuda:0', RuntimeError('an illegal memory access'))

        policy.infer = fail
        status, _, text = post(port, BODY, '/infer')
        assert status == 503 and 'illegal memory access' in text
        with pytest.raises(DeviceLostError, match='illegal memory access'):
            replica.check_health()
        status, text = get(port, '/healthz')
        assert status == 503 and 'illegal memory access' in text


def test_a_killed_replica_loses_only_its_own_requests():
    ray = pytest.importorskip('ray', reason='pip install -r requirements-ray.txt')
    serve = pytest.importorskip('ray.serve', reason='pip install -r requirements-ray.txt')
    # Ray would run its workers at a lower priority than other processes.
    ray.init(num_cpus=2, include_dashboard=False, _system_config={'worker_niceness': 0})
    try:
        with socket.create_server(('127.0.0.1', 0)) as free:
            port = free.getsockname()[1]
        serve.start(http_options={'host': '127.0.0.1', 'port': port})
        checkpoint = str(ensure_checkpoint(checkpoint_folder()))
        app = ray_app.build({'checkpoint': checkpoint, 'device': 'cpu', 'replicas': 2})
        serve.run(app, name='vla', route_prefix='/')
        url = f'http://127.0.0.1:{port}'
        assert load(url, 2, 2.0, deadline=30.0)['by_status'].keys() == {'200'}
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load, url, 2, 4.0, deadline=30.0)
            first, _ = ray_replicas()
            os.kill(first, signal.SIGKILL)
            counts = loading.result()
        assert counts['by_status']['200'] > 0 and max(counts['failures_of_each_robot']) <= 1
    finally:
        serve.shutdown()
        ray.shutdown()


def ray_replicas():
    """Return the ids of the replica processes of this test's own Ray."""
    import psutil
    return [child.pid for child in psutil.Process().children(recursive=True)
            if 'ServeReplica' in ' '.join(child.cmdline())]
