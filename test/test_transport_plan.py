# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Plans of transports for each distribution and with variables of the user."""

from pathlib import Path
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.transport.fastrtps import fast_dds_profile
from vla_ros.transport.fastrtps import segment_size
from vla_ros.transport.iceoryx import roudi_configuration
from vla_ros.transport.plan import ConfigurationCheck
from vla_ros.transport.plan import DEFAULT_FRAME
from vla_ros.transport.plan import DISTRIBUTIONS
from vla_ros.transport.plan import FrameSize
from vla_ros.transport.plan import MiddlewareCheck
from vla_ros.transport.plan import ProfileCheck
from vla_ros.transport.plan import ReceiveBufferCheck
from vla_ros.transport.plan import SharedMemoryCheck
from vla_ros.transport.plan import TRANSPORTS
from vla_ros.transport.planner import make_plan
from vla_ros.transport.planner import transport_in_use

LARGEST = FrameSize.parse('3840x2160')
VGA = FrameSize.parse('640x480')
OLD = 'FASTRTPS_DEFAULT_PROFILES_FILE'
NEW = 'FASTDDS_DEFAULT_PROFILES_FILE'
ALLOCATION = {'MALLOC_MMAP_THRESHOLD_': '33554432', 'MALLOC_TRIM_THRESHOLD_': '268435456'}


def plan(transport, distribution='kilted', frame=LARGEST, roudi='auto', **environment):
    """Plan for a user with a home and these variables."""
    return make_plan(distribution, transport, {'HOME': '/home/u', **environment}, frame, roudi)


def check(plan, kind):
    """Return the only check of a kind."""
    (found,) = [one for one in plan.checks if isinstance(one, kind)]
    return found


@pytest.mark.parametrize('distribution, variable', [
    ('humble', OLD), ('jazzy', OLD), ('kilted', NEW), ('lyrical', NEW)])
def test_the_plan_for_fast_dds_has_a_profile_and_checks(distribution, variable):
    made = plan('fastrtps', distribution)
    profile = '/home/u/.ros/vla_ros/fastdds_67108864.xml'
    assert made.environment == {'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp', variable: profile,
                                **ALLOCATION}
    assert [str(file.path) for file in made.files] == [profile]
    assert check(made, SharedMemoryCheck).needed == 2 * 64 * 2 ** 20
    assert check(made, MiddlewareCheck).package == f'ros-{distribution}-rmw-fastrtps-cpp'
    assert not made.processes and not made.warnings and made.loop_back is None


@pytest.mark.parametrize('distribution', DISTRIBUTIONS)
def test_the_plan_for_cyclonedds_has_a_configuration_and_checks(distribution):
    made = plan('cyclonedds', distribution)
    (file,) = made.files
    assert made.environment == {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp',
                                'CYCLONEDDS_URI': f'file://{file.path}', **ALLOCATION}
    assert check(made, ReceiveBufferCheck).needed == LARGEST.size // 2
    tree = ElementTree.fromstring(file.text)
    buffer = tree.find('.//{*}SocketReceiveBufferSize')
    # With min, CycloneDDS refuses to start where the kernel grants less.
    assert buffer.attrib == {'max': '64MB'}
    assert tree.find('.//{*}MaxMessageSize').text == '65500B'


@pytest.mark.parametrize('distribution, element', [
    ('humble', 'SharedMemory'), ('jazzy', 'SharedMemory'), ('kilted', 'SharedMemory'),
    ('lyrical', 'PubSubMessageExchange')])
def test_the_plan_for_iceoryx_has_roudi_pools_and_a_loop_back(distribution, element):
    made = plan('iceoryx', distribution)
    configuration, pools = made.files
    assert made.environment['RMW_IMPLEMENTATION'] == 'rmw_cyclonedds_cpp'
    assert made.environment['CYCLONEDDS_URI'] == f'file://{configuration.path}'
    assert ElementTree.fromstring(configuration.text).find('.//{*}' + element) is not None
    (roudi,) = made.processes
    assert roudi.command == ('iox-roudi', '-c', str(pools.path))
    assert roudi.package == f'ros-{distribution}-iceoryx-posh'
    assert made.loop_back.size == LARGEST.size
    assert ('585' in made.loop_back.hint) == (distribution == 'lyrical')


@given(width=st.integers(1, 8192), height=st.integers(1, 8192), pixel_bytes=st.integers(1, 8))
def test_all_buffers_have_room_for_the_frame(width, height, pixel_bytes):
    frame = FrameSize(width, height, pixel_bytes)
    assert FrameSize.parse(str(frame)) == frame
    segment = segment_size(frame)
    assert 2 * frame.size <= segment <= max(16 * 2 ** 20, 4 * frame.size)
    profile = ElementTree.fromstring(fast_dds_profile(segment))
    assert int(profile.find('.//{*}segment_size').text) == segment
    pools = [int(size) for size in re.findall(r'size = (\d+)', roudi_configuration(frame))]
    assert pools == sorted(set(pools)) and pools[-1] > frame.size
    assert all(size % 32 == 0 for size in pools)


def test_the_shipped_profile_is_that_of_the_default_frame_size():
    def elements(tree):
        return [(element.tag.split('}')[-1], (element.text or '').strip())
                for element in tree.iter()]
    segment = segment_size(FrameSize.parse(DEFAULT_FRAME))
    shipped = ElementTree.parse(Path(__file__).parents[1] / 'config' / 'fastdds.xml').getroot()
    assert elements(shipped) == elements(ElementTree.fromstring(fast_dds_profile(segment)))


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_variables_of_the_user_take_precedence(transport):
    own = {'MALLOC_MMAP_THRESHOLD_': '1', NEW: '/own.xml', 'CYCLONEDDS_URI': '/own.xml'}
    made = plan(transport, **own)
    assert not own.keys() & made.environment.keys()
    assert any('/own.xml' in text or 'CYCLONEDDS_URI' in text for text in made.warnings)


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_variables_of_an_earlier_plan_do_not_count_as_the_users(transport):
    made = plan(transport, frame=VGA)
    repeated = plan(transport, frame=VGA, **made.environment)
    assert not repeated.environment and not repeated.warnings
    assert repeated.files == made.files and repeated.checks == made.checks


def test_an_empty_variable_counts_as_unset():
    assert plan('cyclonedds', RMW_IMPLEMENTATION='').environment['RMW_IMPLEMENTATION']


def test_a_profile_of_the_user_is_checked():
    assert check(plan('fastrtps', 'kilted', **{OLD: '/old.xml'}), ProfileCheck) == ProfileCheck(
        Path('/old.xml'), 64 * 2 ** 20)
    made = plan('fastrtps', 'humble', **{NEW: '/new.xml'})
    assert OLD in made.environment and NEW in made.warnings[0]


def test_a_configuration_of_the_user_must_enable_shared_memory():
    with pytest.raises(UnsupportedError, match='no <SharedMemory>.*unset CYCLONEDDS_URI'):
        plan('iceoryx', CYCLONEDDS_URI='<CycloneDDS><Domain/></CycloneDDS>')
    with pytest.raises(UnsupportedError, match='no <PubSubMessageExchange>'):
        plan('iceoryx', 'lyrical', CYCLONEDDS_URI='<SharedMemory><Enable>true</Enable>')
    made = plan('iceoryx', CYCLONEDDS_URI='file:///own.xml')
    assert check(made, ConfigurationCheck) == ConfigurationCheck(Path('/own.xml'), 'SharedMemory')


@pytest.mark.parametrize('transport, rmw, remedy', [
    ('fastrtps', 'rmw_cyclonedds_cpp', 'transport:=cyclonedds'),
    ('iceoryx', 'rmw_fastrtps_cpp', 'transport:=fastrtps'),
    ('cyclonedds', 'rmw_zenoh_cpp', 'unset RMW_IMPLEMENTATION$')])
def test_another_middleware_in_the_environment_is_refused(transport, rmw, remedy):
    with pytest.raises(UnsupportedError, match=f'sets {rmw}; .*{remedy}'):
        plan(transport, RMW_IMPLEMENTATION=rmw)


def test_the_dynamic_variant_of_fast_dds_is_kept():
    made = plan('fastrtps', RMW_IMPLEMENTATION='rmw_fastrtps_dynamic_cpp')
    assert 'RMW_IMPLEMENTATION' not in made.environment


@pytest.mark.parametrize('arguments', [
    {'transport': 'zenoh'}, {'transport': 'iceoryx', 'distribution': 'foxy'},
    {'transport': 'iceoryx', 'roudi': 'maybe'}])
def test_an_unknown_transport_distribution_or_mode_is_refused(arguments):
    with pytest.raises(ParameterError, match='it must be one of'):
        plan(**arguments)


@pytest.mark.parametrize('text', ['', '640', '640*480', '0x480', '640x480x9', 'x', '640x480 '])
def test_an_invalid_frame_size_is_refused(text):
    with pytest.raises(ParameterError, match='WIDTHxHEIGHT'):
        FrameSize.parse(text)


def test_settings_without_effect_are_reported():
    made = plan('fastrtps', FASTDDS_BUILTIN_TRANSPORTS='LARGE_DATA')
    assert 'FASTDDS_BUILTIN_TRANSPORTS' in made.warnings[0]
    made = plan('fastrtps', frame=FrameSize(8192, 4096))
    assert '32 MiB' in made.warnings[0] or '33554432' in made.warnings[0]


@pytest.mark.parametrize('rmw, transport', [
    ('', 'fastrtps'), ('rmw_fastrtps_cpp', 'fastrtps'), ('rmw_cyclonedds_cpp', 'cyclonedds'),
    ('rmw_zenoh_cpp', '')])
def test_the_transport_in_use_follows_from_rmw_implementation(rmw, transport):
    assert transport_in_use({'RMW_IMPLEMENTATION': rmw}) == transport
