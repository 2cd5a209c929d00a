# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA as a policy: one image and an instruction in, one action out."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_ros.actions import ActionStatistics
from vla_ros.actions import ActionTokenizer
from vla_ros.actions import choose_dataset
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.engine import Engine
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.pixels import choose_pixel_loader
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import Machine
from vla_ros.model.prepare import prepare
from vla_ros.model.prepare import Prepared
from vla_ros.model.residual import load_residual_head
from vla_ros.model.residual import refine
from vla_ros.model.residual import ResidualHead
from vla_ros.model.stages import choose_clock
from vla_ros.policy import ActionChunk
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.prompts import build_prompt
from vla_ros.prompts import choose_template

# What is made ready while loading: prompts of up to so many tokens, and a camera's usual frame.
_COMMON_PROMPTS = (32, 64)
_COMMON_FRAME = (480, 640)


def load_openvla(config: PolicyConfig, checkpoint: Checkpoint, machine: Machine,
                 parts: Mapping[str, Path]) -> 'OpenVlaPolicy':
    """
    Load a checkpoint that answers one image with the tokens of one action.

    :raises ParameterError: several images are wanted, which only OpenVLA-OFT takes.
    """
    if config.image_count != 1:
        raise ParameterError('image_count', config.image_count, '1: this checkpoint is not OFT')
    dataset = find_statistics(config, checkpoint)
    statistics = ActionStatistics.from_dataset(dataset.statistics)
    prepared = prepare(config, checkpoint, machine, dataset)
    residual = None
    if 'residual_head' in parts:
        residual = load_residual_head(
            parts['residual_head'], checkpoint.config.language_model.hidden_size, statistics.dim,
            machine.device)
    spec = prepared.spec(config, (1, statistics.dim))
    return OpenVlaPolicy(spec, prepared, statistics, config, residual)


@dataclass(frozen=True)
class Prompt:
    """
    An instruction, as the network reads it.

    :param input_ids: its token ids.
    :param model_ids: the same, closed by the lone space that comes before an action.
    """

    text: str
    input_ids: tuple[int, ...]
    model_ids: tuple[int, ...]


class OpenVlaPolicy:
    """Greedy decoding of exactly as many tokens as an action has dimensions."""

    def __init__(self, spec: PolicySpec, prepared: Prepared, statistics: ActionStatistics,
                 config: PolicyConfig, residual: ResidualHead | None = None) -> None:
        checkpoint, network = prepared.checkpoint, prepared.network
        model = checkpoint.config
        self.spec = spec
        self.statistics = statistics
        self.action_tokenizer = ActionTokenizer(model.vocab_size, model.n_action_bins)
        self.engine = Engine(network, _sequence_limit(network, statistics.dim), statistics.dim)
        self.image_processor = checkpoint.image_processor
        self._load_pixels = choose_pixel_loader(self.image_processor, self.engine.pixels)
        self.stage = self._load_pixels.stage
        self._clock = choose_clock(network.device)
        self._prompt = Prompt('', (), ())
        self._instruction: str | None = None
        self._tokenizer = prepared.tokenizer
        self._adapters = prepared.adapters
        self._norm_stats = checkpoint.norm_stats
        self._residual = residual
        self._period_s = prepared.dataset.period_s
        self._template = config.prompt if config.prompt != 'auto' else choose_template(
            checkpoint.name, model.llm_backbone_id)
        self._clip_invalid = config.clip_invalid
        self._end_of_sequence = model.language_model.eos_token_id

    def infer(self, observation: Observation) -> ActionChunk:
        """Answer one observation; see :meth:`vla_ros.policy.Policy.infer`."""
        if len(observation.images) != 1:
            raise ObservationError(
                f'observation: this checkpoint takes 1 image, got {len(observation.images)}')
        clock = self._clock
        clock.start()
        prompt = self._read(observation.instruction)
        self.engine.set_prompt(prompt.model_ids)
        self._load_pixels(observation.images[0], clock, observation.staged)
        decoded = self.engine.run(clock)
        token_ids, margins = decoded.token_ids, decoded.margins
        token_ids = self._end_early(token_ids)
        if not self._clip_invalid:
            self._check_action(token_ids, margins, prompt)
        decoded_ids = token_ids
        if len(token_ids) < self.statistics.dim:  # only with clip_invalid, as officially
            decoded_ids = [*prompt.model_ids, *token_ids][-self.statistics.dim:]
        normalized = self.action_tokenizer.decode(decoded_ids)[None]
        bins = self.action_tokenizer.bins(decoded_ids)
        if self._residual is not None and len(token_ids) == self.statistics.dim:
            values = self._residual(self.engine.states).cpu().numpy()[None]
            normalized = refine(values, bins[None], self.action_tokenizer)
            clock.finish('residual')
        actions = self.statistics.unnormalize(normalized)
        clock.finish('post')
        return ActionChunk(actions, normalized, tuple(token_ids), tuple(bins.tolist()), margins,
                           prompt.text, prompt.input_ids, clock.milliseconds(),
                           self._period_s,
                           drafted=decoded.drafted, accepted=decoded.accepted)

    def reset(self) -> None:
        """Forget the previous action, which is the draft of the next one."""
        self.engine.forget()

    def rescale(self, chunk: ActionChunk, unnorm_key: str | None) -> np.ndarray:
        """
        Scale an answer by the statistics of another dataset, float64 (1, D).

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
        """Switch the adapter; see :class:`vla_ros.policy.AdaptablePolicy`."""
        self._adapters.select(name)
        # An adapter may change the embeddings of the prompt, too.
        self.engine.forget()

    def warm_up(self) -> None:
        """Run every kernel once, on a black image, whatever comes out."""
        self.engine.prepare(_COMMON_PROMPTS)
        black = Observation((np.zeros((*_COMMON_FRAME, 3), np.uint8),), 'warm up')
        for _ in ('without a draft', 'with one'):
            try:
                self.infer(black)
            except InvalidAction:
                pass  # a black image need not have an answer
        self.reset()

    def close_prompt(self, input_ids: tuple[int, ...]) -> tuple[int, ...]:
        """Give the ids that the network sees of a prompt's."""
        return self._tokenizer.close(input_ids)

    def _read(self, instruction: str) -> Prompt:
        """
        Tokenise an instruction, unless it is the one of the previous observation.

        :raises ObservationError: it is too long.
        """
        if instruction != self._instruction:
            text = build_prompt(self._template, instruction)
            input_ids = self._tokenizer.encode(text)
            prompt = Prompt(text, input_ids, self.close_prompt(input_ids))
            self._check_length(prompt.model_ids)
            self._prompt, self._instruction = prompt, instruction
        return self._prompt

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
