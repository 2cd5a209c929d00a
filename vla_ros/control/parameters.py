# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The node's parameters: one table, validated once.

Each field of :class:`NodeConfig` is one parameter. Its name, description, range and whether it is
read-only stand at the field and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import Field
from dataclasses import field
from dataclasses import fields
import math
from typing import Any

from vla_ros.camera.health import IMAGE_SOURCES
from vla_ros.control.joint_command import ACTION_SPACES
from vla_ros.control.parameter import Parameter
from vla_ros.control.parameter import Value
from vla_ros.data.datasets import FRAMES
from vla_ros.data.datasets import ROTATIONS
from vla_ros.data.instructions import check_instruction
from vla_ros.data.transforms import GRIPPER_TRANSFORMS
from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.motion.timing import LONGEST_REPEAT
from vla_ros.motion.timing import REMAINDERS
from vla_ros.policy.choices import ATTENTIONS
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.choices import DTYPES
from vla_ros.policy.choices import HEADS
from vla_ros.policy.choices import PROMPTS
from vla_ros.policy.choices import PROTOCOLS
from vla_ros.policy.choices import QUANTIZATIONS
from vla_ros.policy.config import check_policy_kind
from vla_ros.safety.action_limits import LIMIT_POLICIES

#: When an inference starts: as soon as the policy is free, or one action period after the last.
STARTS = ('newest', 'period')
#: A list with one empty name stands for an empty list, which rclpy takes for bytes.
_NO_NAMES = ('',)

#: Messages that can carry a command.
OUTPUTS = ('joint_state', 'joint_trajectory', 'position_array', 'twist')
#: Messages of the grippers: the arm's, or one of their own.
GRIPPER_OUTPUTS = ('auto', 'together', 'none', 'joint_state', 'joint_trajectory',
                   'position_array')

#: Stands for an empty list of numbers: rclpy takes an empty list for bytes.
_NO_NUMBERS = (math.nan,)


def _parameter(name: str, default: Value, description: str, **limits: Any) -> Any:
    return field(default=default,
                 metadata={'parameter': Parameter(name, default, description, **limits)})


def _limit(field_name: str, what: str) -> Any:
    return _parameter(f'limits.{field_name}', _NO_NUMBERS,
                      f'Tighter limits than those of the robot: {what}; one number for each joint '
                      'of a command, .nan to keep that of the robot; empty (.nan): none.')


def _gate(name: str, default: str, what: str) -> Any:
    return _parameter(f'action_limits.{name}', default, f'Clamp, or hold the arm at, {what}.',
                      choices=LIMIT_POLICIES)


@dataclass(frozen=True)
class NodeConfig:
    """The parameters of ``vla_inference_node``; invalid values are refused."""

    policy: str = _parameter(
        'policy', 'local', 'Where the policy runs. local: in this node; remote: behind the '
        'server at url; package.module:function: an own policy, made by that function.')
    protocol: str = _parameter(
        'protocol', 'vla', 'Protocol of a remote policy. vla: that of vla_serve; openpi, gr00t, '
        "lerobot: openpi's, GR00T's or LeRobot's, with the observation keys of keys_file.",
        choices=PROTOCOLS)
    keys_file: str = _parameter(
        'keys_file', '', "File of keys of openpi's, GR00T's or LeRobot's protocol, or the name of "
        'one that comes with the package: pi05_droid, pi05_aloha; widowx_bridge, so100; so101.')
    url: str = _parameter(
        'url', '', 'Address of the server of a remote policy: http://gpu-machine:8000 of a '
        "vla_serve, ws://gpu-machine:8000 of a server with openpi's protocol, "
        "tcp://gpu-machine:5555 of GR00T's, tcp://gpu-machine:7447/DEPLOYMENT of LeRobot's. The "
        'environment variable VLA_API_KEY holds its key, if it wants one.')
    deadline: float = _parameter(
        'deadline', 1.0, 'Seconds within which a remote policy must reply; a later reply is '
        'dropped.', minimum=0.01, maximum=60.0)
    checkpoint: str = _parameter(
        'checkpoint', '', 'Folder of an OpenVLA checkpoint, or a hub id owner/name.')
    revision: str = _parameter(
        'revision', '', 'Commit, branch or tag of a checkpoint from the hub; empty for the commit '
        'that is cached. vla/status has the loaded one.')
    unnorm_key: str = _parameter(
        'unnorm_key', '', 'Dataset whose statistics scale the action; empty if there is only one.')
    instruction: str = _parameter(
        'instruction', '', 'What the arm is to do, in natural language; empty to wait for an '
        'instruction. The topic vla/instruction sets the same state.', read_only=False)
    device: str = _parameter(
        'device', 'auto', 'Where the policy runs; auto takes a GPU where there is one.',
        choices=DEVICES)
    dtype: str = _parameter(
        'dtype', 'auto', 'Precision of the weights; auto is bfloat16 on a GPU, float32 elsewhere.',
        choices=DTYPES)
    attention: str = _parameter(
        'attention', 'auto', 'Attention kernel; auto takes the fastest that the device can run.',
        choices=ATTENTIONS)
    quantization: str = _parameter(
        'quantization', 'none', 'How the weights of the language model are compressed.',
        choices=QUANTIZATIONS)
    prompt: str = _parameter(
        'prompt', 'auto', 'Prompt template; auto reads it from the checkpoint.', choices=PROMPTS)
    head: str = _parameter(
        'head', 'auto', 'How the action leaves the network; auto reads it from the checkpoint.',
        choices=HEADS)
    chunk_length: int = _parameter(
        'chunk_length', 0, 'Actions in a chunk, for an OpenVLA-OFT checkpoint that does not '
        'define it; 0: read it.', minimum=0, maximum=1000)
    adapters: tuple[str, ...] = _parameter(
        'adapters', _NO_NAMES, 'LoRA adapters, NAME=FOLDER each. A single one is merged into the '
        'weights; of several the active one can be changed.')
    adapter: str = _parameter(
        'adapter', '', 'The active adapter: a name out of adapters, base for none of them, empty '
        'for the first. Taken over before the next inference.', read_only=False)
    use_proprio: bool = _parameter(
        'use_proprio', True, 'Give the state of the robot to a checkpoint that was trained with '
        'it.')
    proprio_joint_names: tuple[str, ...] = _parameter(
        'proprio.joint_names', _NO_NAMES, 'Joints whose positions are the state of the robot, in '
        'the order of the training data.')
    proprio_topic: str = _parameter(
        'proprio.topic', '', 'Topic of std_msgs/Float64MultiArray with the state of the robot, '
        'where that is not joint positions.')
    proprio_max_age: float = _parameter(
        'proprio.max_age', 0.5, 'Seconds after which the state of the robot is too old to act '
        'on.', minimum=0.01, maximum=60.0)
    autostart: bool = _parameter(
        'autostart', True, 'Configure and activate at start, without a lifecycle manager.')
    action_space: str = _parameter(
        'action.space', 'raw', 'The action space. raw: actions are published unchanged, '
        'under the names of their dimensions; joint_position: joint targets (rad, m); '
        'joint_delta: changes of joint positions (rad, m); eef_delta: changes of the pose of the '
        'tip; eef_pose: poses of the tip; dataset: that of config/datasets.yaml.',
        choices=ACTION_SPACES)
    joint_names: tuple[str, ...] = _parameter(
        'action.joint_names', _NO_NAMES, 'Joint of each action dimension, for the joint_* spaces '
        'without a robot.file.')
    datasets_file: str = _parameter(
        'datasets_file', '', 'YAML file with descriptions of your own datasets, over those of '
        'config/datasets.yaml.')
    action_transforms: tuple[str, ...] = _parameter(
        'action.transforms', _NO_NAMES, 'What is done to the gripper of every action, in order; '
        'docs/transforms.md.', choices=tuple(GRIPPER_TRANSFORMS))
    image_transforms: tuple[str, ...] = _parameter(
        'image.transforms', _NO_NAMES, 'What is done to every image before the checkpoint sees '
        'it, in order; docs/transforms.md.', choices=tuple(IMAGE_TRANSFORMS))
    extra_topics: tuple[str, ...] = _parameter(
        'image.extra_topics', _NO_NAMES, 'Topics of sensor_msgs/Image of the cameras beside the '
        'main one, in the order of the training data.')
    contract: str = _parameter(
        'contract', '', 'Observation contract, a YAML file or the name of one in '
        'config/contracts: cameras, state, and how they are aligned; docs/recording.md. In place '
        'of image.extra_topics and proprio.*.')
    extra_max_age: float = _parameter(
        'image.extra_max_age', 0.5, 'Seconds after which the newest image of such a camera is too '
        'old to act on.', minimum=0.01, maximum=60.0)
    action_frame: str = _parameter(
        'action.frame', '', 'Axes of an end-effector action; empty: as the dataset has them.',
        choices=('', *FRAMES))
    action_rotation: str = _parameter(
        'action.rotation', '', 'How an end-effector action writes rotations; empty: as the '
        'dataset does.', choices=('', *ROTATIONS))
    action_period: float = _parameter(
        'action.period', 0.0, 'Seconds from one action to the next in the training data; 0: as '
        'the dataset has it.', minimum=0.0, maximum=10.0)
    action_gripper: tuple[float, ...] = _parameter(
        'action.gripper', _NO_NUMBERS, 'Gripper of an action: its index, the value that opens, '
        'the value that closes; empty (.nan): as the dataset has it.')
    speed_scale: float = _parameter(
        'action.speed_scale', 1.0, 'How much faster (up to 2) or slower than in the training data '
        'the arm moves.', minimum=0.01, maximum=2.0)
    action_rate: float = _parameter(
        'action.rate', 0.0, 'Actions a second; 0: those of the dataset. More than its period and '
        'action.speed_scale allow are refused.', minimum=0.0, maximum=1000.0)
    smoothing: float = _parameter(
        'action.smoothing', 0.1, 'Seconds that the arm may lag behind, so that a fresher action '
        'finds it moving.', minimum=0.0, maximum=1.0)
    repeat: float = _parameter(
        'action.repeat', 0.0, 'Seconds for which the last delta is repeated without a new result; '
        '0: the arm stops.', minimum=0.0, maximum=LONGEST_REPEAT)
    remainder: str = _parameter(
        'action.remainder', 'auto', 'What becomes of the rest of a chunk when a fresher one '
        'arrives: drop it, blend it into the fresher one, align: skip the actions of the '
        'fresher one that are past, or align_blend, which is both; auto: align_blend, or align '
        'for absolute poses, which cannot be blended.',
        choices=('auto', *REMAINDERS))
    robot_file: str = _parameter(
        'robot.file', '', 'Robot that is moved, smoothly and within its limits: a YAML file as in '
        'config/robots, or the name of one there; empty: commands go out as they come.')
    robot_urdf: str = _parameter(
        'robot.urdf', '', 'Text of its URDF; "topic": from robot_description; empty: as '
        'robot.file says.')
    limits_lower: tuple[float, ...] = _limit('lower', 'smallest positions, rad or m')
    limits_upper: tuple[float, ...] = _limit('upper', 'largest positions, rad or m')
    limits_velocity: tuple[float, ...] = _limit('velocity', 'largest speeds')
    limits_acceleration: tuple[float, ...] = _limit('acceleration', 'largest accelerations')
    limits_jerk: tuple[float, ...] = _limit('jerk', 'largest changes of acceleration a second')
    gate_position: str = _gate('position', 'clamp', 'an action that leads beyond a joint limit')
    gate_velocity: str = _gate('velocity', 'clamp', 'an action that is too fast for a joint')
    gate_acceleration: str = _gate('acceleration', 'clamp', 'an action that changes too fast')
    gate_workspace: str = _gate('workspace', 'hold', "an action that leaves the robot's workspace")
    gate_unreachable: str = _gate(
        'unreachable', 'hold', 'a pose that the arm cannot reach; clamp goes to the nearest one '
        'that it can')
    gate_gripper: str = _gate('gripper', 'clamp', 'an action that is too fast for the gripper')
    gate_jump: float = _parameter(
        'action_limits.jump', 0.5, 'Largest distance of a target from the last command, rad or m; '
        'a larger one holds.', minimum=0.001, maximum=100.0)
    gate_following: float = _parameter(
        'action_limits.following', 0.5, 'Largest distance of a command from the measured '
        'position, rad or m; a larger one holds.', minimum=0.001, maximum=100.0)
    gate_margin: float = _parameter(
        'action_limits.margin', 0.0, 'Smallest margin between the logits of an action token and '
        'the runner-up; a smaller one holds.', minimum=0.0, maximum=100.0)
    output: str = _parameter(
        'output', 'joint_state', 'Message that carries commands: joint_state, joint_trajectory '
        '(joint_trajectory_controller), position_array (forward_command_controller) or twist '
        '(MoveIt Servo).', choices=OUTPUTS)
    gripper_output: str = _parameter(
        'gripper.output', 'auto', "How grippers are commanded. together: in the arm's message; "
        'none: not at all; else the message on gripper/joint_command. auto: together for '
        'joint_state, joint_trajectory for twist, else the same message as the arm.',
        choices=GRIPPER_OUTPUTS)
    lookahead: float = _parameter(
        'trajectory.lookahead', 0.2, 'Seconds of planned motion in a joint_trajectory; then it '
        'brakes to rest. An arm without further commands moves for that long.',
        minimum=0.02, maximum=2.0)
    lead: float = _parameter(
        'trajectory.lead', 0.0, 'Seconds in the future at which a joint_trajectory begins: 0 for '
        'controllers that replace a trajectory (ros2_controllers up to 6.9), about half '
        'a period for those that blend (allow_trajectory_replacement).',
        minimum=0.0, maximum=0.1)
    motion_rate: float = _parameter(
        'command_rate', 100.0, 'Commands a second where a robot is moved.',
        minimum=10.0, maximum=1000.0)
    inference_start: str = _parameter(
        'inference.start', 'newest', 'When the next inference starts. newest: as soon as the '
        'policy is free; period: one action period after the previous one, which saves energy.',
        choices=STARTS)
    max_age: float = _parameter(
        'max_age', 2.0, 'Seconds after which an image is too old to move an arm by, also once it '
        'was inferred from; 0: never. In the raw space only the arrival of images counts, and '
        'an older stamp is reported in the status.',
        minimum=0.0, maximum=3600.0)
    joint_timeout: float = _parameter(
        'joint_states.timeout', 0.5, 'Seconds without joint states after which a moving arm is '
        'held; 0: never.', minimum=0.0, maximum=60.0)
    shadow: bool = _parameter(
        'safety.shadow', False, 'Publish commands on arm/joint_command/shadow only.')
    dry_start: bool = _parameter(
        'safety.dry_start', False, 'Begin in shadow, until the operator calls ~/rearm.')
    require_estop: bool = _parameter(
        'safety.require_estop', False, 'Move nothing before a message of an emergency stop on '
        'arm/estop, or on safety.common_estop.')
    common_estop: str = _parameter(
        'safety.common_estop', '', 'Topic of an emergency stop that several robots share, beside '
        'the own one on arm/estop; empty for none.')
    estop_timeout: float = _parameter(
        'safety.estop_timeout', 0.0, 'Seconds without a message after which a silent emergency '
        'stop holds the arm; 0: it may be silent. Requires one, as safety.require_estop does.',
        minimum=0.0, maximum=60.0)
    inference_timeout: float = _parameter(
        'safety.inference_timeout', 60.0, 'Seconds after which an inference counts as hanging.',
        minimum=0.1, maximum=3600.0)
    frozen_stamps: float = _parameter(
        'image.frozen_stamps', 2.0, 'Seconds for which images may repeat their stamp; 0: for '
        'ever.', minimum=0.0, maximum=3600.0)
    frozen_pixels: float = _parameter(
        'image.frozen_pixels', 0.0, 'Seconds for which images may repeat their pixels; 0: as long '
        'as the arm stands still.', minimum=0.0, maximum=3600.0)
    black_box_folder: str = _parameter(
        'black_box.folder', '~/.ros/vla_black_box', 'Folder for the records of the last seconds '
        'before each stop; empty: none.')
    black_box_seconds: float = _parameter(
        'black_box.seconds', 20.0, 'Seconds that a record covers.', minimum=1.0, maximum=600.0)
    black_box_disk: float = _parameter(
        'black_box.disk_mb', 200.0, 'Megabytes of all records; the oldest are deleted.',
        minimum=1.0, maximum=1e6)
    teleop_enabled: bool = _parameter(
        'teleop.enabled', False, 'Let a teleoperator who holds the deadman on teleop/deadman take '
        'the arm over; needs a robot.file.')
    teleop_timeout: float = _parameter(
        'teleop.timeout', 0.25, 'Seconds for which a message of the deadman, and a command of the '
        'teleoperator, count; then nothing moves.', minimum=0.05, maximum=2.0)
    teleop_period: float = _parameter(
        'teleop.period', 0.1, 'Seconds in which a command of the teleoperator is executed: what '
        'comes at longer intervals moves the arm in steps.', minimum=0.02, maximum=0.5)
    teleop_distance: float = _parameter(
        'teleop.max_distance', 0.3, "Largest distance of the teleoperator's joints from the "
        "arm's command, rad or m; a larger one holds until they are near again.",
        minimum=0.01, maximum=100.0)
    teleop_resumes: bool = _parameter(
        'teleop.resume_on_release', False, 'The policy goes on when the deadman is released; '
        'false: when ~/resume is called. A deadman that falls silent always waits for that.')
    image_source: str = _parameter(
        'image.source', 'topic', 'Where images come from. topic: sensor_msgs/Image; compressed: '
        'sensor_msgs/CompressedImage on camera/image_raw/compressed; iceoryx2: shared memory that '
        'a driver on this machine fills by vla_ros.camera.iceoryx2.', choices=IMAGE_SOURCES)
    image_timeout: float = _parameter(
        'image.timeout', 1.0, 'Seconds without an image after which the status reports it.',
        minimum=0.05, maximum=60.0)
    status_period: float = _parameter(
        'status.period', 1.0, 'Seconds between two vla/status and diagnostics messages; a change '
        'of state is published at once.', minimum=0.05, maximum=10.0)

    def __post_init__(self) -> None:
        """Check every value against the table."""
        for parameter, column in _columns():
            object.__setattr__(self, column.name, parameter.check(getattr(self, column.name)))
            value = getattr(self, column.name)
            if isinstance(value, tuple) and len(value) == 1 and value[0] != value[0]:
                object.__setattr__(self, column.name, ())
        check_policy_kind(self.policy)
        check_instruction(self.instruction)

    @property
    def grippers_as(self) -> str:
        """How grippers are commanded, with ``auto`` resolved."""
        if self.gripper_output != 'auto':
            return self.gripper_output
        others = {'joint_state': 'together', 'twist': 'joint_trajectory'}
        return others.get(self.output, self.output)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> 'NodeConfig':
        """
        Make the configuration from values under the parameters' ROS names.

        :raises ParameterError: a value is not allowed.
        """
        return cls(**{column.name: values[parameter.name]  # type: ignore[arg-type]
                      for parameter, column in _columns() if parameter.name in values})


def _columns() -> list[tuple[Parameter, 'Field[Any]']]:
    return [(column.metadata['parameter'], column) for column in fields(NodeConfig)]


#: The table, in the order in which ``ros2 param dump`` lists it for a reader.
PARAMETERS = tuple(parameter for parameter, _ in _columns())
