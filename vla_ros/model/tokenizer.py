# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The checkpoint's tokenizer, through Hugging Face's tokenizers library."""

from pathlib import Path

from tokenizers import Tokenizer

from vla_ros.errors import CheckpointError


class PromptTokenizer:
    """
    Turns a prompt into the ids that the model was trained to continue.

    tokenizers reads tokenizer.json exactly; transformers' AutoTokenizer (5 and later) rebuilds
    the Llama normalizer and encodes some texts differently.
    """

    def __init__(self, folder: Path, bos_token_id: int) -> None:
        """
        Read tokenizer.json.

        :raises CheckpointError: it is missing or damaged.
        """
        path = folder / 'tokenizer.json'
        if not path.is_file():
            raise CheckpointError(folder, 'tokenizer.json is missing')
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for any damage
            raise CheckpointError(folder, f'tokenizer.json cannot be read: {error}') from None
        self._bos = bos_token_id
        # The official code appends id 29871, which is this piece in Llama-2's vocabulary.
        space = self._tokenizer.token_to_id('▁')
        if space is None:
            raise CheckpointError(folder, 'tokenizer.json has no piece "▁", which ends a prompt')
        self._space = space

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Tokenise a prompt, with the beginning-of-sequence token in front."""
        ids = self._tokenizer.encode(prompt).ids
        return tuple(ids if ids[:1] == [self._bos] else [self._bos, *ids])

    def close(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Append the lone space that training data had before an action, unless it is there."""
        return ids if ids[-1] == self._space else (*ids, self._space)
