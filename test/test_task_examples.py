# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The behaviour of docs/tasks.md in a tree of py_trees, with the real node."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='a ROS installation or the ros-rclpy wheel is needed')
pytest.importorskip('pinocchio', reason='pinocchio is not installed: pip install pin')
pytest.importorskip('ruckig', reason='ruckig is not installed: pip install ruckig')
pytest.importorskip('vla_ros_msgs.action', reason='vla_ros_msgs is not built')
py_trees = pytest.importorskip(
    'py_trees', reason='py_trees is not installed: pip install -r requirements-test.txt')

from arm_harness import assert_held  # noqa: E402, I100
from arm_harness import robot  # noqa: E402

PAGE = Path(__file__).parents[1] / 'docs' / 'tasks.md'


def test_a_behaviour_tree_runs_tasks_in_sequence_and_cancels_a_halted_one():
    _, _, after_marker = PAGE.read_text().partition('```python\n')
    names = {}
    exec(after_marker.partition('```')[0], names)
    task = names['RunTaskBehaviour']
    with robot(instruction='""') as (arm, _):
        arm.wait_for('WAITING', 'no instruction')
        node = arm.observer.node
        tree = py_trees.composites.Sequence('tidy up', memory=True, children=[
            task(node, 'swing', timeout=1.5, success='timeout'),
            task(node, 'swing again', timeout=1.5, success='timeout')])

        def is_over():
            tree.tick_once()
            return tree.status != py_trees.common.Status.RUNNING
        arm.observer.poll(is_over, 'the end of the tree', arm.node)
        assert tree.status == py_trees.common.Status.SUCCESS, arm.node.report(
            str([(child.status, child.feedback_message) for child in tree.children]))
        assert [child.feedback_message.split(':')[0] for child in tree.children] == [
            'succeeded', 'succeeded']

        endless = task(node, 'swing', timeout=300.0, success='timeout')
        root = py_trees.composites.Selector('until halted', memory=False, children=[endless])

        def is_moving():
            root.tick_once()
            return arm.observer.diagnostics[-1]['state'] == 'RUNNING'
        arm.observer.poll(is_moving, 'a task that runs', arm.node)
        root.stop(py_trees.common.Status.INVALID)
        arm.wait_for('HOLD', 'task ended')
        assert_held(arm)
