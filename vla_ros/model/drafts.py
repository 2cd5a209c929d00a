# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Whether it pays to guess that the next action begins as the previous one did."""

from collections.abc import Sequence

#: Useless guesses in a row after which no more are made.
_PATIENCE = 2


class DraftRecord:
    """
    Remembers how good the latest guesses were, made or not.

    A guess that is wrong costs rows in the prefill, which on a CPU is a few percent of an
    inference. So guessing stops when it does not help. What a guess would have been worth is seen
    in the answer, whether or not it was made: finding out when to begin again costs nothing.
    """

    def __init__(self) -> None:
        """Start with nothing known, which is reason enough to guess."""
        self._misses = 0

    @property
    def pays(self) -> bool:
        """Whether to guess."""
        return self._misses < _PATIENCE

    def note(self, guess: Sequence[int], token_ids: Sequence[int], accepted: int) -> None:
        """
        Take note of an answer.

        :param guess: what was, or would have been, guessed.
        :param token_ids: the answer.
        :param accepted: how many guesses saved a pass; 0 if none was made.
        """
        is_hit = accepted > 0 or guess[0] == token_ids[0]
        self._misses = 0 if is_hit else self._misses + 1
