# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
OpenVLA-OFT as a policy: several images and a state in, a chunk of actions out, in one pass.

Source: predict_action of prismatic/extern/hf/modeling_prismatic.py, moojink/openvla-oft. The
sequence is BOS, the patches of every image, the state's token, [the diffusion time's token], the
prompt, one placeholder for each number of the chunk, the end token; every position sees every
other. As everywhere in a language model, the output at a position predicts the next one, so the
hidden states of the numbers begin at the last token of the prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.dataset_statistics import count_dimensions
from vla_ros.data.dataset_statistics import StatisticsError
from vla_ros.data.platforms import chunk_length
from vla_ros.data.platforms import find_platform
from vla_ros.data.platforms import normalization
from vla_ros.data.prompts import TEMPLATES
from vla_ros.errors import CheckpointError
from vla_ros.errors import InvalidAction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.diffusion import Ddim
from vla_ros.model.diffusion import encode_time
from vla_ros.model.film import FilmBackbone
from vla_ros.model.film import load_film
from vla_ros.model.heads import load_action_head
from vla_ros.model.heads import load_projector
from vla_ros.model.heads import MlpResNet
from vla_ros.model.heads import Projector
from vla_ros.model.lora import read_adapter
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.prepare import Dataset
from vla_ros.model.prepare import find_statistics
from vla_ros.model.prepare import Machine
from vla_ros.model.prepare import prepare
from vla_ros.model.prepare import Prepared
from vla_ros.model.timings import choose_timings
from vla_ros.model.tokenizer import PromptReader
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec
from vla_ros.policy.config import PolicyConfig

_LOG = logging.getLogger(__name__)

# OFT widens every range by this (modeling_prismatic.py, openvla_utils.py).
_WIDENING = 1e-8
# Longest prompt to keep room for, in tokens.
_MAX_TEXT = 512
# The diffusion head starts from noise. Drawing the same noise each time makes the result a
# function of the observation, so that a recorded run can be repeated.
_NOISE_SEED = 0


@dataclass(frozen=True)
class OftParts:
    """
    The small networks of OpenVLA-OFT.

    :param kind: ``l1``, ``diffusion`` or ``discrete`` (no head: the language model's own).
    """

    kind: str
    head: MlpResNet | None = None
    proprio: Projector | None = None
    noisy_action: Projector | None = None


@dataclass(frozen=True)
class Scales:
    """Sizes and statistics of a chunk and of the state that goes with it."""

    chunk_length: int
    action: ActionStatistics
    proprio: ActionStatistics | None


def load_oft(config: PolicyConfig, checkpoint: Checkpoint, machine: Machine,
             files: Mapping[str, Path]) -> 'OftPolicy':
    """
    Load a checkpoint that predicts a chunk of actions.

    :param files: the part files of the folder.
    :raises CheckpointError: a part is missing or does not fit.
    :raises ParameterError: the chunk length must be declared, or several images cannot be taken.
    """
    if config.image_count > 1 and len(checkpoint.config.towers) == 1:
        raise ParameterError('image_count', config.image_count,
                             '1: only fused vision towers take several images')
    dataset = find_statistics(config, checkpoint)
    if 'vision_backbone' in files:
        _check_adapters(config.adapters, files['vision_backbone'])
    parts = _load_parts(config, checkpoint, files, machine)
    scales = _find_scales(config, checkpoint, dataset, parts)
    prepared = prepare(config, checkpoint, machine, dataset, bidirectional=True)
    if 'vision_backbone' in files:
        network = prepared.network
        network.vision_backbone = load_film(
            network.vision_backbone, files['vision_backbone'],
            network.config.language_model.hidden_size, machine.device, machine.dtype)
    spec = prepared.spec(config, (scales.chunk_length, scales.action.dim),
                         scales.proprio.dim if scales.proprio else 0)
    return OftPolicy(spec, prepared, parts, scales, config)


def _check_adapters(adapters: Mapping[str, str], path: Path) -> None:
    """
    Refuse an adapter whose changes the part for the vision towers would replace.

    That part holds the weights of whole towers, those of its own training. An adapter's pairs for
    them would be lost, or, if they come from that same training, would count twice.
    """
    for folder in adapters.values():
        adapter = read_adapter(Path(folder))
        touched = [key for key in adapter.pairs if key.startswith('vision_backbone.')]
        if touched:
            raise CheckpointError(
                folder, f'it changes {len(touched)} matrices of the vision towers, {touched[0]} '
                f'first, whose weights come from {path.name}; use an adapter without pairs for '
                'vision_backbone: train it without them, or delete them from its file')


def _load_parts(config: PolicyConfig, checkpoint: Checkpoint, files: Mapping[str, Path],
                machine: Machine) -> OftParts:
    hidden = checkpoint.config.language_model.hidden_size
    layout = (hidden, machine.device, machine.dtype)
    proprio = None
    if 'proprio_projector' in files and config.use_proprio:
        proprio = load_projector(files['proprio_projector'], *layout)
    elif 'proprio_projector' in files:
        _LOG.warning('the checkpoint was trained with the state of the robot, none is used')
    if config.head == 'discrete' or 'action_head' not in files:
        if config.head in ('l1', 'diffusion'):
            raise CheckpointError(checkpoint.folder, 'there is no action_head--* file for head '
                                                     f'{config.head}')
        return OftParts('discrete', proprio=proprio)
    kind, head = load_action_head(files['action_head'], *layout)
    if config.head not in ('auto', kind):
        raise CheckpointError(checkpoint.folder, f'{files["action_head"].name} is of kind {kind}, '
                                                 f'not {config.head}')
    noisy_action = None
    if kind == 'diffusion':
        if 'noisy_action_projector' not in files:
            raise CheckpointError(checkpoint.folder, 'the diffusion head needs a '
                                                     'noisy_action_projector--* file')
        noisy_action = load_projector(files['noisy_action_projector'], *layout)
    return OftParts(kind, head, proprio, noisy_action)


def _find_scales(config: PolicyConfig, checkpoint: Checkpoint, dataset: Dataset,
                 parts: OftParts) -> Scales:
    """Find chunk length and statistics; see :mod:`vla_ros.data.platforms`."""
    action_dim = dataset.dimensions()
    proprio_dim = _proprio_dim(dataset, parts)
    platform = find_platform(dataset.unnorm_key, action_dim, proprio_dim)
    scheme = normalization(platform, dataset.description)
    action = dataset.scale('action', scheme, _WIDENING)
    if parts.head is not None and parts.head.fc2.out_features != action.dim:
        raise CheckpointError(
            checkpoint.folder, f'the action head gives {parts.head.fc2.out_features} numbers, the '
            f'statistics of {dataset.unnorm_key} have {action.dim}')
    proprio = None
    if parts.proprio is not None:
        proprio = dataset.scale('proprio', scheme, _WIDENING)
        if parts.proprio.fc1.in_features != proprio.dim:
            raise CheckpointError(
                checkpoint.folder, f'the projector takes a state of '
                f'{parts.proprio.fc1.in_features} numbers, the statistics of '
                f'{dataset.unnorm_key} have {proprio.dim}')
    length = chunk_length(config.chunk_length, platform, action.dim, proprio_dim)
    return Scales(length, action, proprio)


def _proprio_dim(dataset: Dataset, parts: OftParts) -> int | None:
    if parts.proprio is not None:
        return parts.proprio.fc1.in_features
    try:
        return count_dimensions(dataset.statistics, 'proprio')
    except StatisticsError:
        return None  # none is needed: there is no projector for a state


class ParallelDecoder:
    """One pass of the network over a whole sequence, in buffers kept for the longest one."""

    def __init__(self, network: OpenVlaNetwork, parts: OftParts, chunk_shape: tuple[int, int],
                 image_count: int) -> None:
        config = network.config.language_model
        self.network = network
        self.chunk_shape = chunk_shape
        self.count = chunk_shape[0] * chunk_shape[1]
        self._parts = parts
        visual = network.patch_count * image_count
        extra = (parts.proprio is not None) + (parts.kind == 'diffusion')
        fixed = visual + extra + self.count + 1
        self.max_text = min(_MAX_TEXT, config.max_position_embeddings - fixed)
        weight = network.language_model.embed_tokens.weight
        self._device, self._dtype = weight.device, weight.dtype
        length = fixed + self.max_text
        self._rotary = network.language_model.rotary_table(length)
        # Nothing is kept from one pass to the next, so all layers share one layer's cache.
        layer = torch.empty(2, 1, length, config.kv_heads, config.head_size, dtype=weight.dtype,
                            device=weight.device)
        self._cache = layer.expand(config.num_hidden_layers, *layer.shape)
        self._end = torch.tensor([config.eos_token_id], device=weight.device)
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        self._noise = torch.randn(chunk_shape, generator=generator).to(weight.device)

    @torch.inference_mode()
    def embed_text(self, input_ids: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Embed prompt and end token, (N, hidden) and (1, hidden)."""
        ids = torch.tensor(input_ids, device=self._device)
        embed = self.network.language_model.embed_tokens
        return embed(ids), embed(self._end)

    @torch.inference_mode()
    def embed_images(self, pixels: np.ndarray, text: Tensor, end: Tensor) -> Tensor:
        """
        Turn images into tokens.

        :param pixels: float32 (images, 3·towers, S, S).
        :returns: (images · patches, hidden).
        """
        images = torch.from_numpy(pixels).to(self._device, self._dtype)
        backbone = self.network.vision_backbone
        if isinstance(backbone, FilmBackbone):
            features = backbone(images, torch.cat([text, end]).mean(0))
        else:
            features = backbone(images)
        return self.network.projector(features).flatten(0, 1)

    @torch.inference_mode()
    def embed_proprio(self, state: np.ndarray) -> Tensor:
        """Turn a normalised state, (P,), into its token, (1, hidden)."""
        assert self._parts.proprio is not None
        values = torch.from_numpy(state).to(torch.float32)
        return self._parts.proprio(values.to(self._device, self._dtype))[None]

    @torch.inference_mode()
    def hidden_states(self, visual: Tensor, text: Tensor, actions: Tensor | None,
                      end: Tensor) -> Tensor:
        """
        Run the language model over one sequence.

        :param visual: (V, hidden), images and whatever follows them.
        :param text: (N, hidden), the prompt from BOS to the lone space.
        :param actions: (T·D, hidden) what stands at the chunk's positions, None for zeros.
        :returns: (T·D, hidden), the outputs that predict the chunk.
        """
        if actions is None:
            actions = text.new_zeros(self.count, text.shape[1])
        sequence = torch.cat([text[:1], visual, text[1:], actions, end])
        hidden = self.network.language_model(sequence[None], self._rotary, self._cache, 0)
        first = len(visual) + len(text) - 1
        return hidden[0, first:first + self.count]

    @torch.inference_mode()
    def regress(self, hidden: Tensor) -> Tensor:
        """Turn (T·D, hidden) into (T, D) with the action head."""
        assert self._parts.head is not None
        return self._parts.head(hidden.reshape(self.chunk_shape[0], -1))

    @torch.inference_mode()
    def choose_tokens(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Pick the best token at each position, int64 (T·D,), and its margin, float32."""
        logits = self.network.language_model.logits(hidden)
        best = torch.topk(logits.float(), 2).values
        return logits.argmax(-1), best[:, 0] - best[:, 1]

    @torch.inference_mode()
    def diffuse(self, visual: Tensor, text: Tensor, end: Tensor) -> Tensor:
        """Sample a chunk, float32 (T, D): one pass of the language model for each step."""
        assert self._parts.noisy_action is not None
        projector = self._parts.noisy_action

        def predict_noise(noisy: Tensor, time: int) -> Tensor:
            token = encode_time(time, text.shape[1], self._device).to(self._dtype)[None]
            actions = projector(noisy.reshape(-1, 1).to(self._dtype))
            hidden = self.hidden_states(torch.cat([visual, token]), text, actions, end)
            return self.regress(hidden)

        return Ddim.cosine().sample(self._noise, predict_noise)


class OftPolicy:
    """Parallel decoding of a whole chunk."""

    def __init__(self, spec: PolicySpec, prepared: Prepared, parts: OftParts, scales: Scales,
                 config: PolicyConfig) -> None:
        model = prepared.checkpoint.config
        self.spec = spec
        self.kind = parts.kind
        self.scales = scales
        self.decoder = ParallelDecoder(prepared.network, parts, spec.action_shape,
                                       spec.image_count)
        self.action_tokenizer = ActionTokenizer(model.vocab_size, model.n_action_bins)
        self._process_image = prepared.checkpoint.image_processor
        self._clock = choose_timings(prepared.network.device)
        # OFT was trained with one template only.
        template = 'openvla' if config.prompt == 'auto' else config.prompt
        assert template in TEMPLATES or template == 'raw'
        self._read_prompt = PromptReader(prepared.tokenizer, template, self._check_length)
        self._clip_invalid = config.clip_invalid
        self._adapters = prepared.adapters
        self._period_s = prepared.dataset.period_s

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
        text, end = decoder.embed_text(read.model_ids)
        visual = decoder.embed_images(pixels, text, end)
        if self.scales.proprio is not None and observation.proprio is not None:
            state = self.scales.proprio.normalize(observation.proprio)
            visual = torch.cat([visual, decoder.embed_proprio(state)])
        clock.finish('vision')
        if self.kind == 'diffusion':
            normalized = _to_numpy(decoder.diffuse(visual, text, end))
            clock.finish('diffusion')
            chunk = self._chunk(normalized, prompt, input_ids)
        else:
            hidden = decoder.hidden_states(visual, text, None, end)
            clock.finish('prefill')
            if self.kind == 'l1':
                chunk = self._chunk(_to_numpy(decoder.regress(hidden)), prompt, input_ids)
            else:
                chunk = self._read_tokens(hidden, prompt, input_ids)
            clock.finish('head')
        return replace(chunk, timings_ms=clock.milliseconds())

    def reset(self) -> None:
        """Forget earlier observations: OpenVLA-OFT keeps none."""

    def select_adapter(self, name: str | None) -> None:
        """Switch the adapter; see :class:`vla_ros.policy.base.AdaptablePolicy`."""
        self._adapters.select(name)

    def warm_up(self) -> None:
        """Run every kernel once, on black images, whatever comes out."""
        side = self._process_image.towers[0].crop
        black: np.ndarray = np.zeros((*side, 3), np.uint8)
        state = None if self.scales.proprio is None else self.scales.proprio.low
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
        return ActionChunk(self.scales.action.unnormalize(normalized), normalized, token_ids,
                           bins, margins, prompt, input_ids, {}, self._period_s)

    def _read_tokens(self, hidden: Tensor, prompt: str,
                     input_ids: tuple[int, ...]) -> ActionChunk:
        ids, margins = self.decoder.choose_tokens(hidden)
        token_ids, distances = tuple(ids.tolist()), margins.cpu().numpy()
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
