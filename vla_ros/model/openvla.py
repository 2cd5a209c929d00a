# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA as a policy: one image and an instruction in, one action out."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.actions import choose_dataset
from vla_ros.data.prompts import choose_template
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.model.batch_engine import BatchEngine
from vla_ros.model.batch_engine import BatchItem
from vla_ros.model.batch_pixels import BatchPixels
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.engine import DecodedAction
from vla_ros.model.engine import Engine
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.pixels import choose_pixel_loader
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import LoadedCheckpoint
from vla_ros.model.prepare import Machine
from vla_ros.model.prepare import prepare
from vla_ros.model.residual import load_residual_head
from vla_ros.model.residual import refine
from vla_ros.model.residual import ResidualHead
from vla_ros.model.timings import choose_timings
from vla_ros.model.timings import HostTimings
from vla_ros.model.timings import Timings
from vla_ros.model.tokenizer import Prompt
from vla_ros.model.tokenizer import PromptReader
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import check_batch
from vla_ros.policy.base import check_image
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig

# What is made ready while loading: prompts of up to so many tokens, and a camera's usual frame.
_COMMON_PROMPTS = (32, 64)
_COMMON_FRAME = (480, 640)
# Most observations of a batch. The caches of so many sequences of a 7B model take 3 GB.
_MAX_BATCH = 16
# Float32 sums of a batch are ordered otherwise than alone, so logits differ by less than this.
# Where the two best tokens are as close, the sequence is decoded alone.
_TIE = 1e-3


def load_openvla(config: PolicyConfig, checkpoint: Checkpoint, machine: Machine,
                 parts: Mapping[str, Path]) -> 'OpenVlaPolicy':
    """
    Load a checkpoint that predicts the tokens of one action from one image.

    :raises ParameterError: several images are wanted, which only OpenVLA-OFT takes.
    """
    if config.image_count != 1:
        raise ParameterError('image_count', config.image_count, '1: this checkpoint is not OFT')
    dataset = find_statistics(config, checkpoint)
    statistics = dataset.scale()
    loaded = prepare(config, checkpoint, machine, dataset)
    residual = None
    if 'residual_head' in parts:
        residual = load_residual_head(
            parts['residual_head'], checkpoint.config.language_model.hidden_size, statistics.dim,
            machine.device)
    spec = loaded.spec(config, (1, statistics.dim))
    return OpenVlaPolicy(spec, loaded, statistics, config, residual)


class OpenVlaPolicy:
    """Greedy decoding of exactly as many tokens as an action has dimensions."""

    def __init__(self, spec: PolicySpec, loaded: LoadedCheckpoint, statistics: ActionStatistics,
                 config: PolicyConfig, residual: ResidualHead | None = None) -> None:
        checkpoint, network = loaded.checkpoint, loaded.network
        model = checkpoint.config
        self.spec = spec
        self.statistics = statistics
        self.action_tokenizer = ActionTokenizer(model.vocab_size, model.n_action_bins)
        limit = _sequence_limit(network, statistics.dim)
        self.engine = Engine(network, limit, statistics.dim)
        self.max_batch = _MAX_BATCH
        self._batch_engine = BatchEngine(network, limit, statistics.dim)
        self.image_processor = checkpoint.image_processor
        self._batch_pixels = BatchPixels(self.image_processor, self.engine.pixels)
        self._load_pixels = choose_pixel_loader(self.image_processor, self.engine.pixels)
        self.prefetch = self._load_pixels.prefetch
        self._clock = choose_timings(network.device)
        self._tokenizer = loaded.tokenizer
        self._adapters = loaded.adapters
        self._norm_stats = checkpoint.norm_stats
        self._residual = residual
        self._period_s = loaded.dataset.period_s
        template = config.prompt if config.prompt != 'auto' else choose_template(
            checkpoint.name, model.llm_backbone_id)
        self._read_prompt = PromptReader(loaded.tokenizer, template, self._check_length)
        self._clip_invalid = config.clip_invalid
        self._end_of_sequence = model.language_model.eos_token_id

    def infer(self, observation: Observation) -> ActionChunk:
        """Infer from one observation; see :meth:`vla_ros.policy.base.Policy.infer`."""
        clock = self._clock
        clock.start()
        prompt = self._read(observation)
        self.engine.set_prompt(prompt.model_ids)
        self._load_pixels(observation.images[0], clock, observation.prefetched)
        decoded = self.engine.run(clock)
        return self._interpret(prompt, decoded, self.engine.states, clock)

    def infer_batch(self, observations: Sequence[Observation],
                    drafts: Sequence[Sequence[int]] | None = None
                    ) -> list[ActionChunk | VlaError]:
        """Infer from several; see :meth:`vla_ros.policy.base.BatchPolicy.infer_batch`."""
        check_batch(observations, drafts, self.max_batch)
        clock = self._clock
        clock.start()
        results: dict[int, ActionChunk | VlaError] = {}
        prompts: dict[int, Prompt] = {}
        items: dict[int, BatchItem] = {}
        for index, observation in enumerate(observations):
            try:
                prompts[index] = prompt = self._read(observation)
                items[index] = BatchItem(self._batch_pixels(observation.images[0]),
                                         prompt.model_ids, drafts[index] if drafts else ())
            except VlaError as error:
                results[index] = error
        clock.finish('preprocess')
        decoded = self._batch_engine.run(list(items.values()), clock) if items else []
        is_float32 = self.engine.pixels.dtype == torch.float32
        for place, (index, one) in enumerate(zip(items, decoded)):
            states = self._batch_engine.states(place)
            if is_float32 and one.margins.min() < _TIE:
                self.engine.pixels.copy_(items[index].pixels[None])
                one = self.engine.run_apart(prompts[index].model_ids, clock)
                states = self.engine.states
            try:
                results[index] = self._interpret(prompts[index], one, states, HostTimings())
            except InvalidAction as error:
                results[index] = error
        clock.finish('post')
        spent = dict(clock.milliseconds())
        return [replace(result, timings_ms=spent) if isinstance(result, ActionChunk) else result
                for result in (results[index] for index in range(len(observations)))]

    def reset(self) -> None:
        """Discard the previous action, which is the draft of the next one."""
        self.engine.reset()

    def rescale(self, chunk: ActionChunk, unnorm_key: str | None) -> np.ndarray:
        """
        Scale a result by the statistics of another dataset, float64 (1, D).

        :raises UnnormKeyError: the checkpoint has no such dataset, or none was named of several.
        :raises ParameterError: its actions have another number of dimensions.
        """
        key = choose_dataset(self._norm_stats, unnorm_key)
        statistics = ActionStatistics.from_dataset(self._norm_stats[key])
        if statistics.dim != self.statistics.dim:
            raise ParameterError('unnorm_key', key, f'a dataset of {self.statistics.dim} '
                                                    'dimensions, as the one that was loaded')
        return statistics.unnormalize(chunk.normalized)

    def select_adapter(self, name: str | None) -> None:
        """Switch the adapter; see :class:`vla_ros.policy.base.AdaptablePolicy`."""
        self._adapters.select(name)
        # An adapter may change the embeddings of the prompt, too.
        self.engine.reset()

    def warm_up(self) -> None:
        """Run every kernel once, on a black image, whatever comes out."""
        self.engine.prepare(_COMMON_PROMPTS)
        black = Observation((np.zeros((*_COMMON_FRAME, 3), np.uint8),), 'warm up')
        for _ in ('without a draft', 'with one'):
            try:
                self.infer(black)
            except InvalidAction:
                pass  # a black image need not give a valid action
        self.reset()

    def close_prompt(self, input_ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return the ids that the network sees of a prompt's."""
        return self._tokenizer.close(input_ids)

    def _read(self, observation: Observation) -> Prompt:
        """
        Check an observation and tokenise its instruction.

        :raises ObservationError: it does not fit the checkpoint.
        """
        if len(observation.images) != 1:
            raise ObservationError(
                f'observation: this checkpoint takes 1 image, got {len(observation.images)}')
        check_image(observation.images[0])
        return self._read_prompt(observation.instruction)

    def _interpret(self, prompt: Prompt, decoded: DecodedAction, states: Tensor,
                   clock: Timings) -> ActionChunk:
        """
        Convert tokens to an action.

        :param states: (D, hidden), the hidden states that the tokens were read from.
        :param clock: gets the phases ``residual``, if there is such a head, and ``post``.
        :raises InvalidAction: they are none.
        """
        margins = decoded.margins
        token_ids = self._end_early(decoded.token_ids)
        if not self._clip_invalid:
            self._check_action(token_ids, margins, prompt)
        decoded_ids = token_ids
        if len(token_ids) < self.statistics.dim:  # only with clip_invalid, as officially
            decoded_ids = [*prompt.model_ids, *token_ids][-self.statistics.dim:]
        normalized = self.action_tokenizer.decode(decoded_ids)[None]
        bins = self.action_tokenizer.bins(decoded_ids)
        if self._residual is not None and len(token_ids) == self.statistics.dim:
            values = self._residual(states).cpu().numpy()[None]
            normalized = refine(values, bins[None], self.action_tokenizer)
            clock.finish('residual')
        actions = self.statistics.unnormalize(normalized)
        clock.finish('post')
        return ActionChunk(actions, normalized, tuple(token_ids), tuple(bins.tolist()), margins,
                           prompt.text, prompt.input_ids, clock.milliseconds(),
                           self._period_s,
                           drafted=decoded.drafted, accepted=decoded.accepted)

    def _check_length(self, input_ids: Sequence[int]) -> None:
        length = len(input_ids) + self.engine.network.patch_count + self.statistics.dim
        if length > self.engine.max_length:
            raise ObservationError(
                f'instruction: it makes {len(input_ids)} tokens, {length} with the image and the '
                f'action; this checkpoint takes {self.engine.max_length}')

    def _end_early(self, token_ids: list[int]) -> list[int]:
        """Cut after an end-of-sequence token, where the official generation stops."""
        if self._end_of_sequence in token_ids:
            return token_ids[:token_ids.index(self._end_of_sequence) + 1]
        return token_ids

    def _check_action(self, token_ids: list[int], margins: np.ndarray, prompt: Prompt) -> None:
        """
        Accept nothing but as many action tokens as the action has dimensions.

        :raises InvalidAction: the output is anything else.
        """
        missing = range(len(token_ids), self.statistics.dim)
        foreign = np.flatnonzero(~self.action_tokenizer.is_action(token_ids)).tolist()
        broken = np.flatnonzero(~np.isfinite(margins[:len(token_ids)])).tolist()
        positions = tuple(sorted({*foreign, *broken, *missing}))
        if not positions:
            return
        if broken:
            reason = 'the logits are not finite'
        elif missing:
            reason = f'it ended after {len(token_ids)} of {self.statistics.dim} tokens'
        else:
            reason = 'a token outside the action range'
        raise InvalidAction(reason, tuple(token_ids), positions, prompt.text, prompt.input_ids)


def _sequence_limit(network: OpenVlaNetwork, action_dim: int) -> int:
    """Longest sequence to keep room for, in tokens."""
    # The cache of all 2048 positions would take 1 GiB of a 7B model's GPU; no instruction to a
    # robot is longer than this.
    text = 512
    return min(network.config.language_model.max_position_embeddings,
               network.patch_count + text + action_dim)
