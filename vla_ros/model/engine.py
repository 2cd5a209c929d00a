# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The decoding engine: greedy tokens from pixels and a prompt, in buffers kept for good.

All state of an inference lives on the device, in :class:`Buffers`: the passes of
:mod:`vla_ros.model.passes` read and write nothing else. So a pass can be captured once and
replayed, and the host reads tokens only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vla_ros.model.drafts import DraftRecord
from vla_ros.model.graphs import choose_recorder
from vla_ros.model.graphs import Recorder
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import Buffers
from vla_ros.model.passes import embed_image
from vla_ros.model.passes import Layout
from vla_ros.model.programs import Program
from vla_ros.model.programs import Programs
from vla_ros.model.stages import StageClock


@dataclass(frozen=True)
class Decoded:
    """
    What the engine generated.

    :param token_ids: the generated ids.
    :param margins: float32 (count,), logit of each token minus that of the runner-up.
    :param drafted: how many tokens had been guessed beforehand.
    :param accepted: how many of the guesses were right, and so cost no pass of their own.
    """

    token_ids: list[int]
    margins: np.ndarray
    drafted: int
    accepted: int


class Engine:
    """
    Greedy decoding of a fixed number of tokens.

    Consecutive actions resemble each other, so the tokens of the previous one are a guess at the
    next: they are put behind the prompt and checked in the very pass that reads it. A guess is
    kept only where the model itself says the same, so the tokens are those of decoding one by one.
    While guesses come out wrong, none are made.
    """

    def __init__(self, network: OpenVlaNetwork, max_length: int, count: int,
                 recorder: Recorder | None = None) -> None:
        """
        Allocate everything that decoding needs.

        :param max_length: longest sequence: patches, prompt and generated tokens.
        :param count: number of tokens that are generated.
        :param recorder: makes passes ready to run; by default CUDA graphs where there is CUDA.
        """
        self.network = network
        self.max_length = max_length
        self.count = count
        self._recorder = recorder or choose_recorder(network.device)
        layout = Layout(max_length, count, self._recorder.bucket)
        self.buffers = Buffers.allocate(network, layout)
        self._see = self._recorder.record(
            lambda buffers: embed_image(network, buffers), self.buffers)
        self._programs = Programs(network, self._recorder, self.buffers)
        self._prompt: tuple[int, ...] = ()
        self._length = 0
        self._guess: list[int] = []
        self._leaps = True
        #: Whether guessing pays.
        self.record = DraftRecord()

    @property
    def pixels(self) -> torch.Tensor:
        """The image that the next run answers, (1, 3·towers, S, S): to be written to."""
        return self.buffers.pixels

    @property
    def states(self) -> torch.Tensor:
        """The hidden states that the tokens of the last run were read from, (count, hidden)."""
        return self.buffers.states[:self.count]

    def prepare(self, prompt_lengths: Sequence[int]) -> None:
        """Make ready for prompts of up to so many tokens; elsewhere it happens as they come."""
        longest = self.max_length - self.count
        for length in prompt_lengths:
            self._programs.prepare(min(self.network.patch_count + length, longest))

    @torch.inference_mode()
    def set_prompt(self, input_ids: tuple[int, ...]) -> None:
        """
        Take the prompt of the next runs; nothing is done if it is the one in place.

        :param input_ids: the ids that the network sees, the beginning-of-sequence token first.
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
        Guess the tokens of the next run, in place of those of the previous one.

        :param token_ids: at least all but the last.
        """
        self._guess = list(token_ids[:self.count - 1])
        self.buffers.tokens[:self.count - 1] = torch.tensor(self._guess, dtype=torch.int64)

    def forget(self) -> None:
        """Keep nothing for the next run, as if there had been none before."""
        self._prompt = ()
        self._guess = []
        self._leaps = True
        self.record = DraftRecord()

    @torch.inference_mode()
    def run(self, clock: StageClock) -> Decoded:
        """
        Answer what :attr:`pixels` and the prompt hold.

        :param clock: gets the stages ``vision``, ``prefill``, ``decode`` and ``read-back``.
        """
        program = self._programs.find(self._length)
        guess = self._guess
        drafted = bool(guess) and self.record.pays
        self._see()
        clock.finish('vision')
        if drafted:
            program.verify()
            passes = self._finish_draft(program, clock)
        else:
            program.prefill()
            clock.finish('prefill')
            for _ in range(self.count - 1):
                program.step()
            clock.finish('decode')
            passes = self.count
        tokens, margins, _ = self.buffers.read()
        clock.finish('read-back')
        token_ids, accepted = tokens[:self.count].tolist(), self.count - passes
        if guess:
            self.record.note(guess, token_ids, accepted)
        # Left where it is on the device, this action is the guess at the next one.
        self._guess = token_ids[:-1]
        return Decoded(token_ids, margins[:self.count].copy(), len(guess) if drafted else 0,
                       accepted)

    def _finish_draft(self, program: Program, clock: StageClock) -> int:
        """
        Decode what the check of the draft left open.

        :returns: the number of passes, the first included.
        """
        known, passes = self.buffers.read()[2], 1
        self._leaps = self._leaps or known > 1
        clock.finish('prefill')
        while known < self.count:
            # Where one guess was wrong the later ones may still be right. A pass that accepts
            # none of them is a sign that the arm moves on; until a draft begins right again,
            # such a pass would only cost.
            if self._leaps and self.count - known > 1:
                program.leap()
                reached = self.buffers.read()[2]
                self._leaps = reached - known > 1
                known = reached
            else:
                program.step()
                known += 1
            passes += 1
        clock.finish('decode')
        return passes
