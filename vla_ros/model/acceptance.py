# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Decides from recent acceptance whether speculative decoding is worth its cost."""

from collections.abc import Sequence

#: Rejected drafts in a row after which drafts are no longer verified.
_PATIENCE = 2


class AcceptanceHistory:
    """
    Tracks whether recent drafts begin with the token that the model decodes.

    A rejected draft costs rows in the prefill, on a CPU a few percent of an inference. Drafting
    stops after ``_PATIENCE`` rejected drafts in a row. Every result shows whether its draft would
    have been accepted, verified or not, so no inference is spent on finding out when to resume.
    """

    def __init__(self) -> None:
        """Start without history, in which case drafts are verified."""
        self._rejections = 0

    @property
    def should_draft(self) -> bool:
        """Whether the next inference verifies a draft."""
        return self._rejections < _PATIENCE

    def update(self, draft: Sequence[int], token_ids: Sequence[int], accepted: int) -> None:
        """
        Record a result.

        :param draft: the draft, verified or not.
        :param token_ids: the decoded tokens.
        :param accepted: number of draft tokens that saved a forward pass; 0 without verification.
        """
        is_hit = accepted > 0 or draft[0] == token_ids[0]
        self._rejections = 0 if is_hit else self._rejections + 1
