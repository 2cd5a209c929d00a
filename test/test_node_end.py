# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node's process ends cleanly and soon, whatever it is doing."""

import signal

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')

from domains import next_domain  # noqa: E402, I100
from node_harness import camera_image  # noqa: E402
from node_harness import NodeProcess  # noqa: E402
from node_harness import running_node  # noqa: E402

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def assert_clean_end(node: NodeProcess, number: int) -> None:
    """End a node, and look at how it did."""
    status, seconds = node.end(number)
    assert status == 0, node.report(f'exit status {status}')
    # A second where nothing else runs; a node that waits for what hangs takes for ever.
    assert seconds < 4.0, node.report(f'it took {seconds:.2f} s')
    assert 'Traceback' not in '\n'.join(node.errors), node.report('a traceback')


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('behaviour', ['hang_loading', 'endless_loading', 'real_loading'])
def test_a_signal_while_loading_ends_the_node(behaviour: str, number: int) -> None:
    """Loading that hangs, that can be cancelled, and what imports PyTorch."""
    node = NodeProcess(next_domain(), behaviour, {})
    node.wait_for_line('loading')
    assert_clean_end(node, number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_while_idle_ends_the_node(number: int) -> None:
    """Nothing to do."""
    with running_node() as (node, observer):
        observer.wait_for_state('WAITING', node, 'no instruction')
        assert_clean_end(node, number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_during_an_inference_ends_the_node(number: int) -> None:
    """An inference that does not come back."""
    with running_node(instruction='hang') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.show(camera_image(1))
        node.wait_for_line('inferring')
        assert_clean_end(node, number)


def test_a_signal_inside_a_kernel_ends_the_node() -> None:
    """Large matrices are multiplied, in threads of PyTorch."""
    pytest.importorskip('torch', reason='needs torch')
    with running_node(instruction='matmul') as (node, observer):
        observer.wait_for_state('WAITING', node, 'no image')
        observer.wait_for_match(observer.camera, node)
        observer.show(camera_image(1))
        node.wait_for_line('multiplying')
        assert_clean_end(node, signal.SIGINT)
