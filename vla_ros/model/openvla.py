# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVLA as a policy: one image and an instruction in, one action out."""

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
import time

import numpy as np
import torch

from vla_ros.actions import ActionStatistics
from vla_ros.actions import ActionTokenizer
from vla_ros.actions import choose_dataset
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.engine import Engine
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import Machine
from vla_ros.model.prepare import prepare
from vla_ros.model.prepare import Prepared
from vla_ros.model.residual import load_residual_head
from vla_ros.model.residual import refine
from vla_ros.model.residual import ResidualHead
from vla_ros.policy import ActionChunk
from vla_ros.policy import Observation
from vla_ros.policy import PolicyConfig
from vla_ros.policy import PolicySpec
from vla_ros.prompts import build_prompt
from vla_ros.prompts import choose_template


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
        self._process_image = checkpoint.image_processor
        self._tokenizer = prepared.tokenizer
        self._adapters = prepared.adapters
        self._norm_stats = checkpoint.norm_stats
        self._residual = residual
        self._period_s = prepared.dataset.period_s
        self._template = config.prompt if config.prompt != 'auto' else choose_template(
            checkpoint.name, model.llm_backbone_id)
        self._clip_invalid = config.clip_invalid
        self._end_of_sequence = model.language_model.eos_token_id
        self._weight = network.language_model.embed_tokens.weight

    def infer(self, observation: Observation) -> ActionChunk:
        """Answer one observation; see :meth:`vla_ros.policy.Policy.infer`."""
        if len(observation.images) != 1:
            raise ObservationError(
                f'observation: this checkpoint takes 1 image, got {len(observation.images)}')
        clock = StageClock()
        pixels = self._process_image(observation.images[0])
        prompt = build_prompt(self._template, observation.instruction)
        input_ids = self._tokenizer.encode(prompt)
        model_ids = self._tokenizer.close(input_ids)
        self._check_length(model_ids)
        clock.finish('preprocess')
        device, dtype = self._weight.device, self._weight.dtype
        patches = self.engine.embed_image(torch.from_numpy(pixels)[None].to(device, dtype))
        clock.finish('vision')
        length = self.engine.prefill(patches, torch.tensor(model_ids, device=device))
        clock.finish('prefill')
        decoded = self.engine.decode(length, self.statistics.dim)
        token_ids, margins = decoded.token_ids.tolist(), decoded.margins.cpu().numpy().copy()
        clock.finish('decode')
        token_ids = self._end_early(token_ids)
        if not self._clip_invalid:
            self._check_action(token_ids, margins, prompt, input_ids)
        decoded_ids = token_ids
        if len(token_ids) < self.statistics.dim:  # only with clip_invalid, as officially
            decoded_ids = [*model_ids, *token_ids][-self.statistics.dim:]
        normalized = self.action_tokenizer.decode(decoded_ids)[None]
        bins = self.action_tokenizer.bins(decoded_ids)
        if self._residual is not None and len(token_ids) == self.statistics.dim:
            hidden = self.engine.read_again(length, model_ids[-1], len(token_ids))
            values = self._residual(hidden).cpu().numpy()[None]
            normalized = refine(values, bins[None], self.action_tokenizer)
            clock.finish('residual')
        actions = self.statistics.unnormalize(normalized)
        clock.finish('post')
        return ActionChunk(actions, normalized, tuple(token_ids), tuple(bins.tolist()), margins,
                           prompt, input_ids, clock.milliseconds, self._period_s)

    def reset(self) -> None:
        """Forget earlier observations: OpenVLA keeps none."""

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

    def warm_up(self) -> None:
        """Run every kernel once, on a black image, whatever comes out."""
        side = self._process_image.towers[0].crop
        try:
            self.infer(Observation((np.zeros((*side, 3), np.uint8),), 'warm up'))
        except InvalidAction:
            pass  # a black image need not have an answer

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

    def _check_action(self, token_ids: list[int], margins: np.ndarray, prompt: str,
                      input_ids: tuple[int, ...]) -> None:
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
        raise InvalidAction(reason, tuple(token_ids), positions, prompt, input_ids)


class StageClock:
    """Measures consecutive stages."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.monotonic()

    def finish(self, stage: str) -> None:
        """Record the time since the previous stage ended."""
        now = time.monotonic()
        self.milliseconds[stage] = (now - self._last) * 1e3
        self._last = now


def _sequence_limit(network: OpenVlaNetwork, action_dim: int) -> int:
    """Longest sequence to keep room for, in tokens."""
    # The cache of all 2048 positions would take 1 GiB of a 7B model's GPU; no instruction to a
    # robot is longer than this.
    text = 512
    return min(network.config.language_model.max_position_embeddings,
               network.patch_count + text + action_dim)
