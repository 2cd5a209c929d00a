# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Each test follows the advice of an error literally, and the second attempt is accepted."""

import re
import shlex
import subprocess
import sys

import pytest
from vla_ros.data.datasets import load_datasets
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.motion.coverage import Coverage
from vla_ros.motion.timing import action_duration
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.robot.description import load_robot
import yaml


def test_an_undescribed_dataset_loads_with_the_line_that_its_error_suggests(tmp_path):
    unknown = next(one for one in load_datasets().values() if one.missing)
    with pytest.raises(VlaError) as error:
        unknown.require_motion()
    line = re.search(r'with a line like this: (.*?\}\}) \(period_s', str(error.value))[1]
    own = tmp_path / 'own.yaml'
    own.write_text(line)
    assert load_datasets(own)[unknown.key].require_motion().period_s == 0.2


def test_a_rate_above_the_datasets_is_reached_by_the_suggested_speed_scale():
    dataset = load_datasets()['bridge_orig']
    with pytest.raises(ParameterError, match='or set action.rate to 0') as error:
        action_duration(dataset, 1.0, 7.5)
    speed = float(re.search(r'set action.speed_scale to (\S+) ', str(error.value))[1])
    assert action_duration(dataset, speed, 7.5) == pytest.approx(1 / 7.5)
    for rate in (50.0, -1.0):  # no speed helps, so none is named
        with pytest.raises(ParameterError) as error:
            action_duration(dataset, 1.0, rate)
        assert 'set action.speed_scale' not in str(error.value)
    assert action_duration(dataset, 1.0, 0.0) == 0.2


@pytest.mark.parametrize(('repeat', 'named'), [(0.4, True), (5.0, True), (5.2, False)])
def test_action_repeat_is_suggested_only_within_its_range(repeat, named):
    advice = Coverage(0.4, 0.5, 0.2, repeat).advice
    assert ('set action.repeat' in advice) == named and 'use a faster policy' in advice


def test_a_missing_joint_limit_can_be_added_as_its_error_says(tmp_path):
    text = load_text('six_axis_arm.yaml').replace('jerk: [', 'ignored: [', 1)
    content = yaml.safe_load(text)
    content.pop('ignored')
    file = tmp_path / 'arm.yaml'
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(VlaError, match='give jerk, a list with one number for each joint'):
        load_robot(file)
    content['jerk'] = [100.0] * len(content['joints'])
    file.write_text(yaml.safe_dump(content))
    assert load_robot(file).limits.jerk[0] == 100.0


def load_text(name):
    from vla_ros.util.share import find_share
    share = find_share() / 'config' / 'robots'
    return (share / name).read_text().replace('urdf: ', f'urdf: {share}/')


def test_a_user_policy_is_found_once_its_folder_is_on_pythonpath(tmp_path):
    with pytest.raises(VlaError, match='there is no module advised; build and source its package, '
                                       'or put it on PYTHONPATH'):
        load_policy(PolicyConfig(policy='advised:make'))
    (tmp_path / 'advised.py').write_text('')
    code = (f'import sys; sys.path.append({str(tmp_path)!r})\n'
            'from vla_ros.policy.config import PolicyConfig\n'
            'from vla_ros.policy.load import load_policy\n'
            'load_policy(PolicyConfig(policy="advised:make"))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'advised has no function make' in done.stderr.splitlines()[-1]


def test_the_printed_environment_can_be_sourced_as_the_doctor_advises():
    done = subprocess.run(
        ['bash', '-c', f'eval "$({shlex.quote(sys.executable)} -m vla_ros.cli.transport '
         '--print-env fastrtps)"; env'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r'^FAST(DDS|RTPS)_DEFAULT_PROFILES_FILE=.+\.xml$', done.stdout, re.MULTILINE)


def test_the_error_of_an_unknown_option_names_the_option_for_help():
    program = [sys.executable, '-m', 'vla_ros.cli.predict']
    done = subprocess.run([*program, '--no-such'], capture_output=True, text=True)
    assert done.returncode == 2
    advice = re.search(r'see vla_predict (--help)$', done.stderr.strip())[1]
    assert subprocess.run([*program, advice], capture_output=True).returncode == 0
