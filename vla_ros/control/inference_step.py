# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""One inference step: from a frame to a checked result of the policy."""

from vla_ros.control.command_gate import CommandContext
from vla_ros.control.input_checks import InputChecks
from vla_ros.control.observation_builder import ObservationBuilder
from vla_ros.control.rate_limiter import RateLimiter
from vla_ros.control.ros_interface import Frame
from vla_ros.control.ros_interface import InferenceResult
from vla_ros.control.ros_interface import RosInterface
from vla_ros.policy.base import Policy
from vla_ros.policy.check import check_chunk


class InferenceStep:
    """Turns frames into results, in the worker's thread."""

    def __init__(self, ros: RosInterface, observations: ObservationBuilder,
                 inputs: InputChecks) -> None:
        """Start with nothing inferred."""
        self._ros = ros
        self._observations = observations
        self._inputs = inputs
        #: When the next inference may start.
        self.rate_limiter = RateLimiter()
        self._epoch = -1

    def infer(self, policy: Policy, frame: Frame, context: CommandContext) -> InferenceResult:
        """
        Return the policy's result for a frame.

        :raises Hold: the image is frozen.
        :raises VlaError: the image cannot be read, an input is missing, or the policy fails.
        """
        if context.epoch != self._epoch:
            # The policy's memory belongs to another instruction, or to the time before a stop.
            policy.reset()
            self._epoch = context.epoch
        self.rate_limiter.start()
        started = self._ros.now()
        rgb = self._ros.read_image(frame.image)
        self._inputs.check_image(frame, rgb)
        chunk = policy.infer(self._observations.observe(
            rgb, context.instruction, frame.prefetched, self._ros.stamp_of(frame.image),
            frame.arrived))
        check_chunk(chunk, policy.spec)
        return InferenceResult(frame, context, policy.spec.unnorm_key, chunk, rgb, started,
                               self._ros.now(), self._observations.stamps)
