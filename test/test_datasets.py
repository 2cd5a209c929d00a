# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Descriptions of datasets: known facts, missing facts, and those that a user writes."""

import re

import pytest
from vla_ros.data.datasets import DatasetError
from vla_ros.data.datasets import find_dataset
from vla_ros.data.datasets import load_datasets
from vla_ros.data.datasets import read_datasets
import yaml

# The datasets whose statistics openvla-7b carries (oxe_magic_soup_plus of prismatic's mixtures).
OPENVLA_7B = """
fractal20220817_data kuka bridge_orig taco_play jaco_play berkeley_cable_routing roboturk viola
berkeley_autolab_ur5 toto language_table stanford_hydra_dataset_converted_externally_to_rlds
austin_buds_dataset_converted_externally_to_rlds
nyu_franka_play_dataset_converted_externally_to_rlds
furniture_bench_dataset_converted_externally_to_rlds
ucsd_kitchen_dataset_converted_externally_to_rlds
austin_sailor_dataset_converted_externally_to_rlds
austin_sirius_dataset_converted_externally_to_rlds
dlr_edan_shared_control_converted_externally_to_rlds
iamlab_cmu_pickup_insert_converted_externally_to_rlds utaustin_mutex berkeley_fanuc_manipulation
cmu_stretch bc_z fmb_dataset dobbe droid
""".split()


def test_every_dataset_of_openvla_7b_is_described_and_every_fact_has_a_source():
    datasets = load_datasets()
    assert set(OPENVLA_7B) <= set(datasets)
    facts = ('period_s', 'space', 'frame', 'rotation', 'position_unit_m', 'rotation_unit_rad',
             'grippers')
    for description in datasets.values():
        stated = {name for name in facts if getattr(description, name) is not None}
        assert stated == set(description.sources) & set(facts), description.key


def test_bridge_has_deltas_in_metres_in_the_base_frame_at_5_hz():
    bridge = find_dataset('bridge_orig').require_motion()
    assert bridge.period_s == pytest.approx(0.2)
    assert (bridge.space, bridge.frame, bridge.rotation) == ('eef_delta', 'base', 'euler_xyz')
    assert bridge.position_unit_m == bridge.rotation_unit_rad == 1.0
    (gripper,) = bridge.grippers
    assert (gripper.index, gripper.open, gripper.closed) == (6, 1.0, 0.0)


def test_libero_and_aloha_have_their_own_units_and_bounds():
    libero = find_dataset('libero_spatial_no_noops').require_motion()
    assert libero == load_datasets()['libero_spatial_no_noops']
    assert (libero.position_unit_m, libero.rotation_unit_rad) == (0.05, 0.5)
    aloha = find_dataset('aloha1_put_X_into_pot_300_demos').require_motion()
    assert aloha.normalization == 'bounds'
    assert [gripper.index for gripper in aloha.grippers] == [6, 13]
    assert aloha.missing == ()


def test_a_dataset_with_a_missing_fact_is_refused_for_motion():
    kuka = find_dataset('kuka')
    assert 'frame' in kuka.missing
    with pytest.raises(DatasetError, match='no public source gives frame'):
        kuka.require_motion()


def test_the_error_of_an_unknown_key_shows_a_valid_description(tmp_path):
    with pytest.raises(DatasetError) as raised:
        find_dataset('my_arm')
    message = str(raised.value)
    assert '\n' not in message
    (line,) = re.findall(r'my_arm: {.*}(?= \()', message)
    own = tmp_path / 'own.yaml'
    own.write_text(line)
    mine = find_dataset('my_arm', own).require_motion()
    assert mine.space == 'eef_delta'
    assert find_dataset('bridge_orig', own).period_s == pytest.approx(0.2)


@pytest.mark.parametrize(('entry', 'named'), [
    ({'period_s': 0}, 'period_s: got 0'),
    ({'period_s': 'fast'}, 'my_arm'),
    ({'space': 'cartesian'}, 'eef_delta, eef_pose, joint_delta, joint_position'),
    ({'frame': 'world'}, 'base, eef'),
    ({'grippers': [{'index': 6, 'open': 1, 'closed': 1}]}, 'two different'),
    ({'grippers': [{'index': 6, 'open': 1, 'closed': 0}] * 2}, 'different indices'),
    ({'grippers': [{'place': 6}]}, 'my_arm'),
    ({'perod_s': 0.2}, 'unknown facts perod_s'),
    ({'normalization': 'normal'}, 'bounds_q99, bounds'),
])
def test_an_invalid_fact_of_a_description_is_named(tmp_path, entry, named):
    file = tmp_path / 'own.yaml'
    file.write_text(yaml.safe_dump({'my_arm': entry}))
    with pytest.raises(DatasetError, match=named):
        read_datasets(file)


@pytest.mark.parametrize('content', ['- a\n', 'a: [', 'a: 1\n', '\x00'])
def test_a_datasets_file_of_another_format_is_named(tmp_path, content):
    file = tmp_path / 'own.yaml'
    file.write_text(content)
    with pytest.raises(DatasetError, match='own.yaml'):
        read_datasets(file)


def test_a_missing_datasets_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match='nowhere.yaml'):
        load_datasets(tmp_path / 'nowhere.yaml')
