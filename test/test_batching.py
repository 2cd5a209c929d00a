# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Requests of several robots are batched fairly and within their deadlines."""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
import json
import math
import threading
import time

import pytest
from rest_harness import IMAGE
from rest_harness import post
from rest_harness import serving
from rest_harness import Stub

from vla_ros.data.json_numpy import dumps
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.policy.base import Observation
from vla_ros.server.batching import BatchCollector
from vla_ros.server.batching import OverloadedError

BODY = dumps({'images': [IMAGE], 'instruction': 'stop'})


class BatchStub(Stub):
    """Waits before each batch until it is released; keeps the instructions and drafts of each."""

    max_batch = 8

    def __init__(self):
        super().__init__()
        self.batches = []
        self.drafts = []
        self.seconds = 0.0

    def infer(self, observation):
        self.batches.append([observation.instruction])
        return self.infer_one(observation)

    def infer_batch(self, observations, drafts=None):
        self.batches.append([observation.instruction for observation in observations])
        self.drafts.append(drafts)
        return [self.infer_or_error(observation) for observation in observations]

    def infer_one(self, observation):
        if observation.instruction == 'unfit':
            raise ObservationError('this one does not fit')
        time.sleep(self.seconds)
        return super().infer(observation)

    def infer_or_error(self, observation):
        try:
            return self.infer_one(observation)
        except (InvalidAction, ObservationError) as error:
            return error


class Robots:
    """A collector, and robots that send requests to it from threads."""

    def __init__(self, policy, **settings):
        self.policy = policy
        self.collector = BatchCollector(policy, **settings)
        self.pool = ThreadPoolExecutor(64)

    def ask(self, instruction, client='a', deadline=math.inf):
        """Return the future of a request that waits in the queue or is being inferred."""
        before = self.queued()
        was_busy = self.policy.busy.is_set()
        future = self.pool.submit(self.collector.infer, Observation((IMAGE,), instruction),
                                  client, deadline)
        end = time.monotonic() + 30
        while not self.policy.go.is_set() and not (
                self.queued() != before if was_busy else self.policy.busy.is_set()):
            assert time.monotonic() < end
            time.sleep(0.001)
        return future

    def queued(self):
        stats = self.collector.statistics()
        return stats['waiting'], stats['refused']

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.policy.go.set()
        self.collector.close()
        self.pool.shutdown()


def start_robots(busy=True, policy=None, **settings):
    """Start a collector whose policy is busy with a first request."""
    made = Robots(policy or BatchStub(), **settings)
    if busy:
        made.policy.go.clear()
        made.ask('first', 'first')
    return made


def test_waiting_requests_share_one_pass():
    with start_robots() as robots:
        futures = [robots.ask(str(number), f'robot {number}') for number in range(10)]
        robots.policy.go.set()
        for future in futures:
            assert future.result(30).token_ids == (31999,)
        assert robots.policy.batches == [['first'], list('01234567'), ['8', '9']]
        assert robots.collector.statistics()['batches'] == {'1': 1, '2': 1, '8': 1}


def test_a_batch_is_at_most_as_large_as_the_policy_allows():
    policy = BatchStub()
    policy.max_batch = 2
    with start_robots(policy=policy) as robots:
        futures = [robots.ask(str(number), f'robot {number}') for number in range(3)]
        robots.policy.go.set()
        for future in futures:
            future.result(30)
        assert robots.policy.batches == [['first'], ['0', '1'], ['2']]
        assert robots.collector.statistics()['max_batch'] == 2


def test_the_draft_of_a_request_is_its_clients_last_result():
    with start_robots() as robots:
        robots.policy.go.set()
        robots.ask('x', 'a').result(30)
        robots.policy.go.clear()
        robots.policy.busy.clear()
        robots.ask('running', 'c')
        futures = robots.ask('x', 'a'), robots.ask('y', 'b')
        robots.policy.go.set()
        for future in futures:
            future.result(30)
        assert robots.policy.drafts == [[(31999,), ()]]


def test_clients_are_served_in_turn():
    with start_robots(max_batch=3) as robots:
        for number in range(6):
            robots.ask(f'busy {number}', 'busy')
        late = robots.ask('quiet', 'quiet'), robots.ask('other', 'other')
        robots.policy.go.set()
        for future in late:
            future.result(30)
        assert robots.policy.batches[1] == ['busy 0', 'quiet', 'other']


def test_a_policy_without_infer_batch_serves_clients_one_by_one_in_turn():
    stub = Stub()
    with start_robots(policy=stub) as robots:
        futures = [robots.ask('busy', 'busy') for _ in range(3)] + [robots.ask('quiet', 'quiet')]
        robots.policy.go.set()
        for future in futures:
            future.result(30)
    assert [seen.instruction for seen in stub.seen] == ['first', 'busy', 'quiet', 'busy', 'busy']


def test_an_invalid_request_fails_alone_and_a_crash_fails_its_batch():
    with start_robots() as robots:
        mumble, fine = robots.ask('mumble', 'a'), robots.ask('fine', 'b')
        robots.policy.go.set()
        assert isinstance(mumble.exception(30), InvalidAction)
        assert fine.result(30).token_ids == (31999,)
    with start_robots() as robots:
        unfit, fine = robots.ask('unfit', 'a'), robots.ask('fine', 'b')
        robots.policy.go.set()
        assert 'this one' in str(unfit.exception(30))
        assert fine.result(30).token_ids == (31999,)
    with start_robots() as robots:
        futures = [robots.ask('crash', 'a'), robots.ask('fine', 'b')]
        robots.policy.go.set()
        assert [type(future.exception(30)) for future in futures] == [RuntimeError] * 2
        assert robots.ask('next').result(30).token_ids == (31999,)


def test_a_wrong_number_of_results_fails_every_request():
    policy = BatchStub()
    policy.infer_batch = lambda observations, drafts: [Stub().infer(observations[0])]
    with start_robots(policy=policy) as robots:
        futures = [robots.ask('x', 'a'), robots.ask('y', 'b')]
        robots.policy.go.set()
        assert all('1 results of 2' in str(future.exception(30)) for future in futures)


def test_a_single_robot_does_not_wait_for_a_batch():
    with start_robots(busy=False, max_wait_s=600.0) as robots:
        for _ in range(3):
            robots.ask('x').result(30)


def test_a_request_waits_for_the_request_of_an_expected_robot():
    with start_robots(busy=False, max_wait_s=600.0) as robots:
        robots.ask('x', 'a').result(30)
        first = robots.pool.submit(robots.collector.infer, Observation((IMAGE,), '1'), 'b')
        second = robots.pool.submit(robots.collector.infer, Observation((IMAGE,), '2'), 'a')
        first.result(30), second.result(30)
        assert sorted(robots.policy.batches[-1]) == ['1', '2']


def test_no_request_waits_past_its_own_deadline():
    with start_robots(busy=False, max_wait_s=600.0) as robots:
        robots.ask('x', 'a').result(30)
        began = time.monotonic()
        # The robot that is expected does not come.
        robots.collector.infer(Observation((IMAGE,), '1'), 'b', began + 0.4)
        assert time.monotonic() - began < 30  # not the 600 s


def test_requests_that_would_be_late_are_refused_and_late_ones_are_not_inferred():
    policy = BatchStub()
    policy.seconds = 0.2
    with start_robots(busy=False, policy=policy) as robots:
        robots.ask('measured').result(30)
        policy.go.clear()
        policy.busy.clear()
        robots.ask('running')
        deadline = time.monotonic() + 2.0  # ten batches: it is admitted on a busy machine, too
        late = robots.ask('late', 'b', deadline)
        hopeless = robots.ask('hopeless', 'c', time.monotonic() + 0.05)
        assert isinstance(hopeless.exception(30), OverloadedError)
        assert hopeless.exception().retry_after_s > 0.05 and not late.done()
        while time.monotonic() <= deadline:
            time.sleep(0.01)
        policy.go.set()
        assert 'the deadline passed' in str(late.exception(30))
        stats = robots.collector.statistics()
        assert (stats['refused'], stats['late']) == (1, 1)
    assert policy.batches == [['measured'], ['running']]


def test_a_full_queue_drops_a_request_of_the_client_with_most_requests():
    with start_robots(max_waiting=4) as robots:
        busy = [robots.ask(f'busy {number}', 'busy') for number in range(4)]
        assert isinstance(robots.ask('busy too', 'busy').exception(30), OverloadedError)
        quiet = robots.ask('quiet', 'quiet')
        assert isinstance(busy[3].exception(30), OverloadedError)
        robots.policy.go.set()
        for future in (quiet, *busy[:3]):
            assert future.result(30).token_ids == (31999,)


def test_closing_the_collector_refuses_waiting_requests():
    robots = start_robots()
    waits = robots.ask('waits', 'b')
    closing = threading.Thread(target=robots.collector.close)
    closing.start()
    while not robots.collector._is_closed:
        time.sleep(0.001)
    robots.policy.go.set()
    closing.join()
    assert 'the server ends' in str(waits.exception(30))
    with pytest.raises(OverloadedError, match='the server ends'):
        robots.collector.infer(Observation((IMAGE,), 'x'))
    robots.pool.shutdown()


@pytest.mark.parametrize('settings', [{'max_batch': 0}, {'max_wait_s': -1.0},
                                      {'max_wait_s': math.nan}, {'max_waiting': 0}])
def test_a_collector_setting_out_of_range_is_refused(settings):
    with pytest.raises(ParameterError, match=next(iter(settings))):
        BatchCollector(Stub(), **settings)


def test_the_server_batches_requests_and_sheds_load_with_503_and_retry_after():
    policy = BatchStub()
    policy.go.clear()
    with serving(policy, max_batch=4) as port, ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(post, port, BODY, '/infer')]
        assert policy.busy.wait(30)
        replies += [pool.submit(post, port, BODY, '/infer') for _ in range(4)]
        while get_stats(port)['waiting'] < 4:
            time.sleep(0.005)
        late = pool.submit(post_past_its_deadline, port)
        while get_stats(port)['waiting'] < 5:
            time.sleep(0.005)
        policy.go.set()
        assert [reply.result()[0] for reply in replies] == [200] * 5
        status, retry_after, text = late.result()
        assert status == 503 and int(retry_after) >= 1 and 'overloaded: ' in text
        assert get_stats(port)['batches'] == {'1': 1, '4': 1}


def post_past_its_deadline(port):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('POST', '/infer', BODY.replace('"images"', '"deadline_s": 1e-6, "images"'))
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.getheader('Retry-After'), text


def get_stats(port):
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('GET', '/stats')
    reply = json.loads(connection.getresponse().read())
    connection.close()
    return reply
