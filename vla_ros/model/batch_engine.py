# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Decoding of several independent sequences in the same passes: greedy, or sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vla_ros.model.batch_passes import BatchBuffers
from vla_ros.model.batch_passes import decode
from vla_ros.model.batch_passes import embed_images
from vla_ros.model.batch_passes import prefill
from vla_ros.model.batch_passes import write_prompts
from vla_ros.model.captured_graphs import BucketGraphs
from vla_ros.model.captured_graphs import GraphCache
from vla_ros.model.device_errors import device_errors
from vla_ros.model.engine import DecodedAction
from vla_ros.model.graph_capture import choose_recorder
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import Layout
from vla_ros.model.timings import Timings

# Room for prompts grows in steps of so many tokens.
_TEXT_STEP = 64


@dataclass(frozen=True)
class BatchItem:
    """
    One sequence of a batch.

    :param pixels: (3·towers, S, S), of the network's dtype, on its device.
    :param prompt: ids of the model's input, the beginning-of-sequence token first.
    :param draft: tokens to verify, the previous action's; empty for none.
    :param noise: float32 (D, vocabulary), added to the logits of the D tokens, in an engine that
        samples; None for none. Gumbel noise times a temperature makes the token a sample of the
        softmax at this temperature. E. J. Gumbel (1954); with a draft, too, since the noise of a
        token is the same in every pass.
    """

    pixels: Tensor
    prompt: tuple[int, ...]
    draft: Sequence[int] = ()
    noise: Tensor | None = None


class BatchEngine:
    """
    Decodes the sequences of a batch as :class:`vla_ros.model.engine.Engine` decodes one.

    Every sequence has its own image, prompt, length and draft. Each is decoded with the weights
    that are active. Memory is allocated for the largest batch so far, nothing before the first.
    """

    def __init__(self, network: OpenVlaNetwork, max_length: int, count: int,
                 recorder: Recorder | None = None, is_sampled: bool = False) -> None:
        """
        Allocate nothing yet.

        :param max_length: longest sequence: patches, prompt and generated tokens.
        :param count: number of generated tokens.
        :param recorder: makes passes ready to run; by default CUDA graphs on a CUDA device.
        :param is_sampled: whether items may have noise.
        """
        self.network = network
        self.max_length = max_length
        self.count = count
        self._recorder = recorder
        self._is_sampled = is_sampled
        self._buffers: BatchBuffers | None = None
        self._room = 0
        # By number of sequences.
        self._graphs: dict[int, GraphCache] = {}

    def states(self, index: int) -> Tensor:
        """Return the hidden states of a sequence of the last run, (count, hidden)."""
        assert self._buffers is not None
        return self._buffers.states[index, :self.count]

    @torch.inference_mode()
    def prepare(self, sizes: Sequence[int], prompt_length: int) -> None:
        """
        Allocate the memory of the largest batch, and capture the graphs of each.

        Graphs of other sizes and longer prompts are captured on use.
        """
        length = self.network.patch_count + prompt_length
        # The largest first: more memory later would discard what was captured.
        for size in sorted(sizes, reverse=True):
            captured = self._reserve(size, length)
            self._graphs[captured].prepare(length)

    @torch.inference_mode()
    def run(self, items: Sequence[BatchItem], timings: Timings) -> list[DecodedAction]:
        """
        Decode all sequences, in passes that they share.

        :param items: one or more.
        :param timings: gets the phases ``vision``, ``prefill``, ``decode`` and ``read-back``.
        :raises DeviceLostError: a CUDA error after which the process cannot use the device.
        """
        with device_errors(self.network.device):
            return self._run(items, timings)

    def _run(self, items: Sequence[BatchItem], timings: Timings) -> list[DecodedAction]:
        length = self.network.patch_count + max(len(item.prompt) for item in items)
        size = self._reserve(len(items), length)
        assert self._buffers is not None
        buffers = self._buffers.first(size)
        drafts = [list(item.draft[:self.count - 1]) for item in items]
        buffers.pixels[:len(items)] = torch.stack([item.pixels for item in items])
        write_prompts(self.network, buffers, [item.prompt for item in items], drafts)
        if buffers.noise is not None:
            for noise, item in zip(buffers.noise, items):
                noise[:self.count] = 0.0 if item.noise is None else item.noise
        embed_images(self.network, buffers)
        timings.finish('vision')
        graphs = self._graphs[size].find(length)
        passes: np.ndarray = np.full(len(items), self.count)
        if any(drafts):
            graphs.prefill_verify()
            passes = self._finish_drafts(graphs, buffers, len(items), timings)
        else:
            graphs.prefill()
            timings.finish('prefill')
            for _ in range(self.count - 1):
                graphs.decode()
            timings.finish('decode')
        tokens = buffers.tokens[:len(items), :self.count].tolist()
        margins = buffers.margins[:len(items), :self.count].cpu().numpy().copy()
        timings.finish('read-back')
        return [DecodedAction(ids, margin, len(draft), self.count - int(count) if draft else 0)
                for ids, margin, draft, count in zip(tokens, margins, drafts, passes)]

    def _finish_drafts(self, graphs: BucketGraphs, buffers: BatchBuffers, used: int,
                       timings: Timings) -> np.ndarray:
        """
        Decode the tokens behind the accepted part of each draft.

        :returns: int64 (used,), the number of passes until each sequence was complete.
        """
        decided = buffers.decided[:used].cpu().numpy().copy()
        passes: np.ndarray = np.ones(used, np.int64)
        verifies_rest = (decided > 1).any()
        timings.finish('prefill')
        while (is_open := decided < self.count).any():
            # As with one sequence: once a pass accepts nothing of any draft, the rest of them is
            # not verified.
            if verifies_rest and self.count - decided.min() > 1:
                graphs.decode_verify()
            else:
                graphs.decode()
            reached = buffers.decided[:used].cpu().numpy().copy()
            verifies_rest = verifies_rest and (reached - decided > 1).any()
            decided = reached
            passes += is_open
        timings.finish('decode')
        return passes

    def _reserve(self, size: int, length: int) -> int:
        """
        Make sure that buffers hold so many sequences of a length of image and prompt.

        :returns: the number of sequences to compute: captured graphs serve powers of two.
        """
        recorder = self._recorder = self._recorder or choose_recorder(self.network)
        if recorder.is_slow:
            size = 1 << (size - 1).bit_length()
        if self._buffers is None or size > self._buffers.size or length > self._room:
            largest = max(size, self._buffers.size if self._buffers is not None else 0)
            text = max(length, self._room) - self.network.patch_count
            room = min(self.network.patch_count + -(-text // _TEXT_STEP) * _TEXT_STEP,
                       self.max_length - self.count)
            # Freed first: the new ones may need its memory.
            self._buffers, self._graphs = None, {}
            layout = Layout(room + self.count, self.count, recorder.bucket)
            self._buffers = BatchBuffers.allocate(self.network, layout, largest,
                                                  self._is_sampled)
            self._room = room
        if size not in self._graphs:
            self._graphs[size] = GraphCache(self.network, recorder, self._buffers.first(size),
                                            (prefill, decode))
        return size
