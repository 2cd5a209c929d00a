# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Greedy decoding from pixels and a prompt to tokens, in preallocated buffers.

All state of an inference is in :class:`vla_ros.model.passes.Buffers` on the device. The forward
passes read and write nothing else, so a pass can be captured once and replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vla_ros.model.acceptance import AcceptanceHistory
from vla_ros.model.captured_graphs import BucketGraphs
from vla_ros.model.captured_graphs import GraphCache
from vla_ros.model.device_errors import device_errors
from vla_ros.model.graph_capture import choose_recorder
from vla_ros.model.graph_capture import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import Buffers
from vla_ros.model.passes import embed_image
from vla_ros.model.passes import Layout
from vla_ros.model.timings import Timings


@dataclass(frozen=True)
class DecodedAction:
    """
    The result of an inference.

    :param token_ids: the generated ids.
    :param margins: float32 (count,), logit of each token minus that of the runner-up.
    :param drafted: number of draft tokens that were verified.
    :param accepted: number of draft tokens that were accepted, each of which saved a pass.
    """

    token_ids: list[int]
    margins: np.ndarray
    drafted: int
    accepted: int


class Engine:
    """
    Greedy decoding of a fixed number of tokens, speculative where that helps.

    Consecutive actions resemble each other, so the tokens of the previous action are the draft of
    the next one. The draft is appended to the prompt and verified in the same pass. A draft token
    is accepted only if the model decodes the same one, so the result equals that of decoding one
    token at a time. While drafts are rejected, none is verified.
    """

    def __init__(self, network: OpenVlaNetwork, max_length: int, count: int,
                 recorder: Recorder | None = None) -> None:
        """
        Allocate all memory of decoding.

        :param max_length: longest sequence: patches, prompt and generated tokens.
        :param count: number of generated tokens.
        :param recorder: makes passes ready to run; by default CUDA graphs on a CUDA device.
        """
        self.network = network
        self.max_length = max_length
        self.count = count
        self._recorder = recorder or choose_recorder(network)
        layout = Layout(max_length, count, self._recorder.bucket)
        self.buffers = Buffers.allocate(network, layout)
        self._embed_image = self._recorder.record(
            lambda buffers: embed_image(network, buffers), self.buffers)
        self._graphs = GraphCache(network, self._recorder, self.buffers)
        self._prompt: tuple[int, ...] = ()
        self._length = 0
        self._draft: list[int] = []
        self._verifies_rest = True
        #: Decides whether drafts are verified.
        self.history = AcceptanceHistory()

    @property
    def pixels(self) -> torch.Tensor:
        """The input image of the next run, (1, 3·towers, S, S), to be written by the caller."""
        return self.buffers.pixels

    @property
    def states(self) -> torch.Tensor:
        """The hidden states that the last run's tokens were read from, (count, hidden)."""
        return self.buffers.states[:self.count]

    def prepare(self, prompt_lengths: Sequence[int]) -> None:
        """Capture the graphs of prompts of up to so many tokens; others are captured on use."""
        longest = self.max_length - self.count
        for length in prompt_lengths:
            self._graphs.prepare(min(self.network.patch_count + length, longest))

    def graphs(self) -> BucketGraphs:
        """Return the passes that the present prompt runs, for measurements."""
        return self._graphs.find(self._length)

    @torch.inference_mode()
    def set_prompt(self, input_ids: tuple[int, ...]) -> None:
        """
        Set the prompt of the next runs; the present prompt is not embedded again.

        :param input_ids: ids of the model's input, the beginning-of-sequence token first.
        """
        if input_ids == self._prompt:
            return
        buffers, patches = self.buffers, self.network.patch_count
        ids = torch.tensor(input_ids, device=buffers.sequence.device)
        text = self.network.language_model.embed_tokens(ids)
        # The image comes right behind the first token.
        self._length = patches + len(input_ids)
        buffers.sequence[0, :1] = text[:1]
        buffers.sequence[0, 1 + patches:self._length] = text[1:]
        buffers.end.fill_(self._length)
        self._prompt = input_ids

    @torch.inference_mode()
    def draft(self, token_ids: Sequence[int]) -> None:
        """
        Replace the draft of the next run, by default the previous run's tokens.

        :param token_ids: at least all but the last.
        """
        self._draft = list(token_ids[:self.count - 1])
        self.buffers.tokens[:self.count - 1] = torch.tensor(self._draft, dtype=torch.int64)

    def reset(self) -> None:
        """Discard prompt, draft and history, as after construction."""
        self._prompt = ()
        self._draft = []
        self._verifies_rest = True
        self.history = AcceptanceHistory()

    @torch.inference_mode()
    def run(self, timings: Timings) -> DecodedAction:
        """
        Decode the tokens of :attr:`pixels` and the prompt.

        :param timings: gets the phases ``vision``, ``prefill``, ``decode`` and ``read-back``.
        :raises DeviceLostError: a CUDA error after which the process cannot use the device.
        """
        with device_errors(self.network.device):
            return self._run(timings)

    def run_apart(self, input_ids: tuple[int, ...], timings: Timings) -> DecodedAction:
        """
        Decode the tokens of :attr:`pixels` and another prompt, without a draft.

        Prompt, draft and history of the other runs stay.
        """
        prompt, draft = self._prompt, self._draft
        self._draft = []
        self.set_prompt(input_ids)
        try:
            return self.run(timings)
        finally:
            if prompt:
                self.set_prompt(prompt)
            self.draft(draft)

    def _run(self, timings: Timings) -> DecodedAction:
        graphs = self._graphs.find(self._length)
        draft = self._draft
        is_drafted = bool(draft) and self.history.should_draft
        self._embed_image()
        timings.finish('vision')
        if is_drafted:
            graphs.prefill_verify()
            passes = self._finish_draft(graphs, timings)
        else:
            graphs.prefill()
            timings.finish('prefill')
            for _ in range(self.count - 1):
                graphs.decode()
            timings.finish('decode')
            passes = self.count
        tokens, margins, _ = self.buffers.read()
        timings.finish('read-back')
        token_ids, accepted = tokens[:self.count].tolist(), self.count - passes
        if draft:
            self.history.update(draft, token_ids, accepted)
        # The tokens stay on the device as the draft of the next run.
        self._draft = token_ids[:-1]
        return DecodedAction(token_ids, margins[:self.count].copy(),
                             len(draft) if is_drafted else 0, accepted)

    def _finish_draft(self, graphs: BucketGraphs, timings: Timings) -> int:
        """
        Decode the tokens behind the accepted part of the draft.

        :returns: the number of passes, the first included.
        """
        decided, passes = self.buffers.read()[2], 1
        self._verifies_rest = self._verifies_rest or decided > 1
        timings.finish('prefill')
        while decided < self.count:
            # Behind a rejected draft token the later ones may still be right. A pass that accepts
            # none of them suggests that the arm is moving: until a draft begins right again,
            # verifying the rest would only cost.
            if self._verifies_rest and self.count - decided > 1:
                graphs.decode_verify()
                reached = self.buffers.read()[2]
                self._verifies_rest = reached - decided > 1
                decided = reached
            else:
                graphs.decode()
                decided += 1
            passes += 1
        timings.finish('decode')
        return passes
