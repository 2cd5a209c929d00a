# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA-OFT as a policy: several images and a state in, a chunk of actions out, in one pass."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.prompts import TEMPLATES
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.film import load_film
from vla_ros.model.oft_modules import check_adapters
from vla_ros.model.oft_modules import ChunkStatistics
from vla_ros.model.oft_modules import find_chunk_statistics
from vla_ros.model.oft_modules import load_modules
from vla_ros.model.oft_modules import OftModules
from vla_ros.model.oft_passes import OftBuffers
from vla_ros.model.parallel_decoder import ParallelDecoder
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import LoadedCheckpoint
from vla_ros.model.prepare import Machine
from vla_ros.model.prepare import prepare
from vla_ros.model.timings import choose_timings
from vla_ros.model.tokenizer import PromptReader
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig


def load_oft(config: PolicyConfig, checkpoint: Checkpoint, machine: Machine,
             files: Mapping[str, Path]) -> 'OftPolicy':
    """
    Load a checkpoint that predicts a chunk of actions.

    :param files: the files of single modules in the folder, by the module's name.
    :raises CheckpointError: a module is missing or does not fit.
    :raises ParameterError: the chunk length must be declared, or several images cannot be taken.
    """
    if config.image_count > 1 and len(checkpoint.config.towers) == 1:
        raise ParameterError('image_count', config.image_count,
                             '1: only fused vision towers take several images')
    dataset = find_statistics(config, checkpoint)
    if 'vision_backbone' in files:
        check_adapters(config.adapters, files['vision_backbone'])
    modules = load_modules(config, checkpoint, files, machine)
    statistics = find_chunk_statistics(config, checkpoint, dataset, modules)
    loaded = prepare(config, checkpoint, machine, dataset, bidirectional=True)
    if 'vision_backbone' in files:
        network = loaded.network
        network.vision_backbone = load_film(
            network.vision_backbone, files['vision_backbone'],
            network.config.language_model.hidden_size, machine.device, machine.dtype)
    spec = loaded.spec(config, (statistics.chunk_length, statistics.action.dim),
                       statistics.proprio.dim if statistics.proprio else 0)
    return OftPolicy(spec, loaded, modules, statistics, config)


class OftPolicy:
    """Parallel decoding of a whole chunk."""

    def __init__(self, spec: PolicySpec, loaded: LoadedCheckpoint, modules: OftModules,
                 statistics: ChunkStatistics, config: PolicyConfig) -> None:
        model = loaded.checkpoint.config
        self.spec = spec
        self.kind = modules.kind
        self.statistics = statistics
        self.decoder = ParallelDecoder(loaded.network, modules, spec.action_shape,
                                       spec.image_count)
        self.action_tokenizer = ActionTokenizer(model.vocab_size, model.n_action_bins)
        self._process_image = loaded.checkpoint.image_processor
        self._clock = choose_timings(loaded.network.device)
        # OFT was trained with one template only.
        template = 'openvla' if config.prompt == 'auto' else config.prompt
        assert template in TEMPLATES or template == 'raw'
        self._read_prompt = PromptReader(loaded.tokenizer, template, self._check_length)
        self._clip_invalid = config.clip_invalid
        self._adapters = loaded.adapters
        self._period_s = loaded.dataset.period_s

    def infer(self, observation: Observation) -> ActionChunk:
        """Infer from one observation; see :meth:`vla_ros.policy.base.Policy.infer`."""
        self._check(observation)
        clock = self._clock
        clock.start()
        read = self._read_prompt(observation.instruction)
        prompt, input_ids = read.text, read.input_ids
        pixels = np.stack([self._process_image(image) for image in observation.images])
        clock.finish('preprocess')
        decoder = self.decoder
        decoder.set_prompt(read.model_ids)
        state = None
        if self.statistics.proprio is not None and observation.proprio is not None:
            state = self.statistics.proprio.normalize(observation.proprio)
        decoder.observe(pixels, state)
        clock.finish('vision')
        if self.kind == 'diffusion':
            normalized = _to_numpy(decoder.diffuse())
            clock.finish('diffusion')
            chunk = self._chunk(normalized, prompt, input_ids)
        else:
            predicted = decoder.predict()
            clock.finish('prefill')
            if self.kind == 'l1':
                chunk = self._chunk(_to_numpy(predicted.values), prompt, input_ids)
            else:
                chunk = self._read_tokens(predicted, prompt, input_ids)
            clock.finish('head')
        return replace(chunk, timings_ms=clock.milliseconds())

    def reset(self) -> None:
        """Discard earlier observations: OpenVLA-OFT keeps none."""

    def select_adapter(self, name: str | None) -> None:
        """Switch the adapter; see :class:`vla_ros.policy.base.AdaptablePolicy`."""
        self._adapters.select(name)
        self.decoder.reset()

    def warm_up(self) -> None:
        """Run every kernel once, on black images, whatever comes out."""
        side = self._process_image.towers[0].crop
        black: np.ndarray = np.zeros((*side, 3), np.uint8)
        state = None if self.statistics.proprio is None else self.statistics.proprio.low
        try:
            self.infer(Observation((black,) * self.spec.image_count, 'warm up', state))
        except InvalidAction:
            pass  # black images need not give a valid action

    def _chunk(self, normalized: np.ndarray, prompt: str, input_ids: tuple[int, ...],
               token_ids: tuple[int, ...] = (), bins: tuple[int, ...] = (),
               margins: np.ndarray | None = None) -> ActionChunk:
        """
        Un-normalise.

        :raises InvalidAction: a number is not finite.
        """
        broken = np.flatnonzero(~np.isfinite(normalized)).tolist()
        if broken:
            raise InvalidAction('a number that is not finite', token_ids, tuple(broken), prompt,
                                input_ids)
        if margins is None:
            margins = np.empty(0, np.float32)
        return ActionChunk(self.statistics.action.unnormalize(normalized), normalized, token_ids,
                           bins, margins, prompt, input_ids, {}, self._period_s)

    def _read_tokens(self, predicted: OftBuffers, prompt: str,
                     input_ids: tuple[int, ...]) -> ActionChunk:
        token_ids = tuple(predicted.tokens.tolist())
        # A copy: the next inference writes into the same memory.
        distances = predicted.margins.cpu().numpy().copy()
        foreign = np.flatnonzero(~self.action_tokenizer.is_action(token_ids)
                                 | ~np.isfinite(distances)).tolist()
        if foreign and not self._clip_invalid:
            raise InvalidAction('a token outside the action range', token_ids, tuple(foreign),
                                prompt, input_ids)
        normalized = self.action_tokenizer.decode(token_ids).reshape(self.spec.action_shape)
        bins = tuple(self.action_tokenizer.bins(token_ids).tolist())
        return self._chunk(normalized, prompt, input_ids, token_ids, bins, distances)

    def _check(self, observation: Observation) -> None:
        if len(observation.images) != self.spec.image_count:
            raise ObservationError(f'observation: image_count is {self.spec.image_count}, got '
                                   f'{len(observation.images)} images')
        given = 0 if observation.proprio is None else np.size(observation.proprio)
        if given != self.spec.proprio_dim:
            raise ObservationError(
                f'observation: this checkpoint takes a state of {self.spec.proprio_dim} numbers '
                f'(proprio), got {given or "none"}')
        if given and not np.isfinite(observation.proprio).all():
            raise ObservationError('observation: the state (proprio) is not finite')

    def _check_length(self, model_ids: tuple[int, ...]) -> None:
        if len(model_ids) > self.decoder.max_text:
            raise ObservationError(f'instruction: it makes {len(model_ids)} tokens, this '
                                   f'checkpoint takes {self.decoder.max_text}')


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """Copy to float64, as the official code's statistics make it."""
    return tensor.float().cpu().numpy().astype(np.float64)
