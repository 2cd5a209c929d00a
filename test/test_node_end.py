# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A signal ends the node's process cleanly and soon in any state."""

import signal

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from node_harness import camera_image  # noqa: E402
from node_harness import NodeProcess  # noqa: E402
from node_harness import running_node  # noqa: E402

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def assert_clean_end(node: NodeProcess, number: int) -> None:
    """End a node, and check its exit status, duration and errors."""
    status, seconds = node.end(number)
    assert status == 0, node.report(f'exit status {status}')
    # It is one second on an idle machine; a node that waits for a hanging call never ends.
    assert seconds < 4.0, node.report(f'it took {seconds:.2f} s')
    assert 'Traceback' not in '\n'.join(node.errors), node.report('a traceback')


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('behaviour', ['hang_loading', 'endless_loading', 'real_loading'])
def test_a_signal_during_loading_ends_the_node(behaviour: str, number: int) -> None:
    """The loading hangs, can be cancelled, or imports PyTorch."""
    node = NodeProcess(next_domain(), behaviour, {})
    node.wait_for_line('loading')
    assert_clean_end(node, number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_while_idle_ends_the_node(number: int) -> None:
    with running_node() as (node, observer):
        observer.wait_for_state('WAITING', node, 'no instruction')
        assert_clean_end(node, number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_during_an_inference_ends_the_node(number: int) -> None:
    """The inference never returns."""
    with running_node(instruction='hang') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.show(camera_image(1))
        node.wait_for_line('inferring')
        assert_clean_end(node, number)


def test_a_signal_during_a_computation_of_torch_ends_the_node() -> None:
    pytest.importorskip('torch', reason='needs torch')
    with running_node(instruction='matmul') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.show(camera_image(1))
        node.wait_for_line('multiplying')
        assert_clean_end(node, signal.SIGINT)
