# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA-OFT's parallel decoding of a chunk, in preallocated buffers and captured passes."""

from collections.abc import Callable
from functools import partial
import logging

import numpy as np
import torch
from torch import Tensor

from vla_ros.model.background_captures import BackgroundCaptures
from vla_ros.model.device_errors import device_errors
from vla_ros.model.diffusion import Ddim
from vla_ros.model.diffusion import encode_time
from vla_ros.model.graph_capture import choose_recorder
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.oft_modules import OftModules
from vla_ros.model.oft_passes import embed_observation
from vla_ros.model.oft_passes import OftBuffers
from vla_ros.model.oft_passes import predict

_logger = logging.getLogger(__name__)

# The diffusion head starts from noise. Drawing the same noise each time makes the result a
# function of the observation, so that a recorded run can be repeated.
_NOISE_SEED = 0
# Prompts whose passes are kept, each of its exact length: every position sees every other, so
# padding would be seen.
_MOST_LENGTHS = 8


class ParallelDecoder:
    """
    One pass of the network over a whole sequence; with a diffusion head, one for each step.

    Until the pass of a new prompt length is captured, and where it cannot be, it runs unrecorded.
    """

    def __init__(self, network: OpenVlaNetwork, modules: OftModules, chunk_shape: tuple[int, int],
                 image_count: int, recorder: Recorder | None = None) -> None:
        """
        Allocate all memory of decoding.

        :param recorder: makes passes ready to run; by default CUDA graphs on a CUDA device.
        """
        self.network = network
        self.modules = modules
        self.buffers = buffers = OftBuffers.allocate(network, modules, chunk_shape, image_count)
        self.max_text = len(buffers.text)
        self._recorder = recorder = recorder or choose_recorder(network)
        self._embed = self._record_embedding()
        self._captures = BackgroundCaptures(
            lambda length: recorder.record(self._predict(length), buffers),
            'the passes of prompts of %d tokens', _MOST_LENGTHS)
        self._prompt: tuple[int, ...] = ()
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        self._noise = torch.randn(chunk_shape, generator=generator).to(network.device)

    @torch.inference_mode()
    def set_prompt(self, input_ids: tuple[int, ...]) -> None:
        """
        Set the prompt of the next runs; the present prompt is not embedded again.

        :param input_ids: ids of the model's input, the beginning-of-sequence token first.
        """
        if input_ids == self._prompt:
            return
        ids = torch.tensor(input_ids, device=self.network.device)
        text = self.buffers.text[:len(ids)]
        text.copy_(self.network.language_model.embed_tokens(ids))
        self.buffers.language.copy_(torch.cat([text, self.buffers.end]).mean(0))
        self._prompt = input_ids

    def reset(self) -> None:
        """Discard the prompt, which an adapter may embed otherwise."""
        self._prompt = ()

    def prepare(self) -> None:
        """Capture the pass of the present prompt's length now, and wait for it."""
        self._captures.prepare(len(self._prompt))
        self._recorder.trim()

    @torch.inference_mode()
    def observe(self, pixels: np.ndarray, state: np.ndarray | None = None) -> None:
        """
        Convert an observation to tokens.

        :param pixels: float32 (images, 3·towers, S, S).
        :param state: float (P,), normalised; None without a projector for it.
        :raises DeviceLostError: a CUDA error after which the process cannot use the device.
        """
        with device_errors(self.network.device):
            self.buffers.pixels.copy_(torch.from_numpy(pixels))
            if state is not None:
                self.buffers.state.copy_(torch.from_numpy(state).to(torch.float32))
            self._embed()

    @torch.inference_mode()
    def predict(self) -> OftBuffers:
        """
        Decode the chunk of the last observation: ``values`` of an L1 head, or ``tokens``.

        :raises DeviceLostError: a CUDA error after which the process cannot use the device.
        """
        with device_errors(self.network.device):
            self._find()()
        return self.buffers

    @torch.inference_mode()
    def diffuse(self) -> Tensor:
        """
        Sample the chunk of the last observation, float32 (T, D): one pass for each step.

        :raises DeviceLostError: a CUDA error after which the process cannot use the device.
        """
        buffers, run = self.buffers, self._find()

        def predict_noise(noisy: Tensor, time: int) -> Tensor:
            buffers.time.copy_(encode_time(time, buffers.time.shape[1], noisy.device)[None])
            buffers.noisy.copy_(noisy)
            run()
            return buffers.values

        with device_errors(self.network.device):
            return Ddim.cosine().sample(self._noise, predict_noise)

    def _record_embedding(self) -> Callable[[], None]:
        run = partial(embed_observation, self.network, self.modules)
        try:
            return self._recorder.record(run, self.buffers)
        except Exception:
            _logger.exception('the pass of the images cannot be captured')
            return partial(run, self.buffers)

    def _predict(self, length: int) -> Callable[[OftBuffers], None]:
        return partial(predict, self.network, self.modules, text_length=length)

    def _find(self) -> Callable[[], None]:
        """Return the best way to run the pass of the present prompt that is available now."""
        length = len(self._prompt)
        if not self._recorder.is_slow:
            return self._recorder.record(self._predict(length), self.buffers)
        captured = self._captures.get(length)
        if captured is None:
            self._captures.start(length)
            return partial(self._predict(length), self.buffers)
        return captured
