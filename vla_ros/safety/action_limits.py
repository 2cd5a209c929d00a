# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The limits that every action passes before it moves anything."""

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import math

import numpy as np

from vla_ros.errors import ParameterError
from vla_ros.robot.description import Workspace
from vla_ros.robot.hold import Hold
from vla_ros.robot.hold import Reason
from vla_ros.robot.limits import Limits

LIMIT_POLICIES = ('clamp', 'hold')
#: The limits, in the order in which an action passes them.
ACTION_LIMITS = ('margin', 'finite', 'unreachable', 'workspace', 'jump', 'position', 'velocity',
                 'gripper', 'acceleration', 'following')


@dataclass(frozen=True)
class ActionLimitSettings:
    """
    What a limit does with an action that violates it: ``clamp`` it, or ``hold`` the arm.

    :param jump: largest distance of a target from the last command, of any arm joint, rad (m for
        a prismatic one); a larger one always holds.
    :param following: largest distance of a command from where the arm was measured, of any arm
        joint; more means that something is in the way, and always holds.
    :param margin: smallest margin of an action token's logit over that of the runner-up; a smaller
        one always holds. 0 lets any pass.
    """

    position: str = 'clamp'
    velocity: str = 'clamp'
    acceleration: str = 'clamp'
    workspace: str = 'hold'
    unreachable: str = 'hold'
    gripper: str = 'clamp'
    jump: float = 0.5
    following: float = 0.5
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Reject unknown policies, and limits that would not limit."""
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(column.default, str) and value not in LIMIT_POLICIES:
                raise ParameterError(f'action_limits.{column.name}', value,
                                     f'one of {", ".join(LIMIT_POLICIES)}')
        for name in ('jump', 'following'):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ParameterError(f'action_limits.{name}', getattr(self, name),
                                     'a number above zero')
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ParameterError('action_limits.margin', self.margin, 'a number, zero or more')


@dataclass
class ActionLimits:
    """
    The limits, and how often each was violated; not thread-safe.

    :param violations: number of violations by the limit's name.
    """

    settings: ActionLimitSettings
    limits: Limits
    workspace: Workspace | None
    arm_joints: int
    violations: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """Name and number of violations of each limit; any thread may read them."""
        return tuple((name, self.violations[name]) for name in ACTION_LIMITS)

    def margins(self, margins: np.ndarray) -> None:
        """
        Check how sure the model was of its tokens, float32 (T·D,); empty for a continuous head.

        :raises Hold: it was not sure enough of one.
        """
        if margins.size and not float(margins.min()) >= self.settings.margin:
            self.violations['margin'] += 1
            raise Hold(Reason.INVALID_TOKENS,
                       f'margin {float(margins.min()):.3f} of a token is below '
                       f'action_limits.margin {self.settings.margin:g}')

    def finite(self, actions: np.ndarray) -> None:
        """
        Check that actions are numbers, float64 (T, D).

        :raises Hold: one is not.
        """
        if not np.isfinite(actions).all():
            self.violations['finite'] += 1
            raise Hold(Reason.NOT_FINITE, f'an action is not finite: {actions.tolist()}')

    def unreachable(self, nearest: np.ndarray | None, detail: str) -> np.ndarray:
        """
        Return what the arm's joints do instead of a pose that they do not reach.

        :param nearest: float64 (J,), the nearest that they do; None if there is nothing like it.
        :raises Hold: there is not, or that is to hold.
        """
        self.violations['unreachable'] += 1
        if nearest is None or self.settings.unreachable == 'hold':
            raise Hold(Reason.UNREACHABLE, detail)
        return nearest

    def tip(self, position: np.ndarray) -> np.ndarray:
        """
        Keep the tip's position, float64 (3,) in the base frame, in the workspace.

        :raises Hold: it leaves it, and that is to hold.
        """
        if self.workspace is None:
            return position
        inside = np.clip(position, self.workspace.lower, self.workspace.upper)
        if (inside != position).any():
            self._violate('workspace', self.settings.workspace,
                          f'the tip would be at {_text(position)} m, the workspace is '
                          f'{_text(self.workspace.lower)} to {_text(self.workspace.upper)}')
        return inside

    def following(self, commanded: np.ndarray, measured: np.ndarray) -> None:
        """
        Check that the arm follows its commands, float64 (N,) each.

        :raises Hold: it stays behind.
        """
        distances = np.abs(commanded - measured)[:self.arm_joints]
        most = int(distances.argmax())
        if not distances[most] <= self.settings.following:
            self.violations['following'] += 1
            raise Hold(Reason.LIMIT, f'{self.limits.names[most]} is {distances[most]:.3f} away '
                                     f'from its command, action_limits.following is '
                                     f'{self.settings.following:g}: something is in the way')

    def target(self, target: np.ndarray, start: np.ndarray, speeds: np.ndarray,
               duration: float) -> np.ndarray:
        """
        Keep the positions of all N joints within what they can do.

        :param target: float64 (N,), where an action is to end.
        :param start: float64 (N,), where it starts.
        :param speeds: float64 (N,), mean speeds of the action before it.
        :param duration: seconds that it is given.
        :returns: float64 (N,), the target or a nearer one.
        :raises Hold: a limit that holds is violated.
        """
        self._jump(target, start)
        target = self._position(target)
        target = self._velocity(target, start, duration)
        return self._acceleration(target, start, speeds, duration)

    def _jump(self, target: np.ndarray, start: np.ndarray) -> None:
        distances = np.abs(target - start)[:self.arm_joints]
        most = int(distances.argmax())
        if distances[most] > self.settings.jump:
            self.violations['jump'] += 1
            raise Hold(Reason.JUMP, f'{self.limits.names[most]} would jump by '
                                    f'{distances[most]:.3f}, action_limits.jump is '
                                    f'{self.settings.jump:g}')

    def _position(self, target: np.ndarray) -> np.ndarray:
        inside = np.clip(target, self.limits.lower, self.limits.upper)
        if (inside != target).any():
            most = int(np.abs(inside - target).argmax())
            self._violate('position', self.settings.position,
                          f'{self.limits.names[most]} would be at {target[most]:.4f}, its limits '
                          f'are {self.limits.lower[most]:g} and {self.limits.upper[most]:g}')
        return inside

    def _velocity(self, target: np.ndarray, start: np.ndarray, duration: float) -> np.ndarray:
        allowed = self.limits.velocity * duration
        step = target - start
        excess = np.abs(step) / allowed
        arm = excess[:self.arm_joints]
        if (arm > 1.0).any():
            most = int(arm.argmax())
            self._violate('velocity', self.settings.velocity,
                          f'{self.limits.names[most]} would move at '
                          f'{abs(step[most]) / duration:.3f}, its limit is '
                          f'{self.limits.velocity[most]:g} a second')
            # All joints by the same share: the arm keeps its direction.
            step[:self.arm_joints] /= arm[most]
        hand = excess[self.arm_joints:]
        if (hand > 1.0).any():
            # A gripper's command is often open or closed: that it takes longer than an action is
            # normal, unless the limit is declared to hold.
            if self.settings.gripper == 'hold':
                self._violate('gripper', 'hold', 'a gripper would move faster than its limit')
            self.violations['gripper'] += 1
        return start + step

    def _acceleration(self, target: np.ndarray, start: np.ndarray, speeds: np.ndarray,
                      duration: float) -> np.ndarray:
        arm = slice(self.arm_joints)
        step = target - start
        change = (step / duration - speeds)[arm] / duration
        excess = np.abs(change) / self.limits.acceleration[arm]
        most = int(excess.argmax())
        if excess[most] > 1.0:
            self._violate('acceleration', self.settings.acceleration,
                          f'{self.limits.names[most]} would accelerate by '
                          f'{abs(change[most]):.2f}, its limit is '
                          f'{self.limits.acceleration[most]:g}')
            step[arm] = duration * (speeds[arm] + duration * change / excess[most])
        # Going on in the old direction could lead beyond a limit that the target kept.
        return np.clip(start + step, self.limits.lower, self.limits.upper)

    def _violate(self, name: str, policy: str, detail: str) -> None:
        self.violations[name] += 1
        if policy == 'hold':
            raise Hold(Reason.LIMIT, detail)


def _text(vector: np.ndarray) -> str:
    return '(' + ', '.join(f'{value:.3f}' for value in vector) + ')'
