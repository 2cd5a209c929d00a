# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The checkpoint's tokenizer, through Hugging Face's tokenizers library."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from vla_ros.data.prompts import build_prompt
from vla_ros.errors import CheckpointError
from vla_ros.util.files import FileError
from vla_ros.util.files import read_text

# The largest vocabularies in use, of 256 000 pieces, take 40 MiB.
_MOST_BYTES = 256 * 2**20


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
        try:
            content = read_text(folder / 'tokenizer.json', _MOST_BYTES)
        except FileError as error:
            raise CheckpointError(folder, f'tokenizer.json {error.problem}') from None
        try:
            self._tokenizer = Tokenizer.from_str(content)
            # Some damage shows only when a text is encoded.
            self._tokenizer.encode('In: What action should the robot take?')
        except Exception as error:  # the library raises bare Exception for any damage
            raise CheckpointError(folder, f'tokenizer.json cannot be read: {error}') from None
        except BaseException as error:
            # What its Rust part does not expect is no Exception.
            if type(error).__name__ != 'PanicException':
                raise
            raise CheckpointError(folder, f'tokenizer.json cannot be read: {error}') from None
        self._bos = bos_token_id
        # The official code appends id 29871, which is this piece in Llama-2's vocabulary.
        space = self._tokenizer.token_to_id('▁')
        if space is None:
            raise CheckpointError(folder, 'tokenizer.json has no piece "▁", which ends a prompt')
        self._space = space

    @property
    def largest_id(self) -> int:
        """Largest token id that a prompt can have."""
        return max(self._tokenizer.get_vocab().values(), default=0)

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Tokenise a prompt, with the beginning-of-sequence token in front."""
        ids = self._tokenizer.encode(prompt).ids
        return tuple(ids if ids[:1] == [self._bos] else [self._bos, *ids])

    def close(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Append the lone space that training data had before an action, unless it is there."""
        return ids if ids[-1] == self._space else (*ids, self._space)


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


class PromptReader:
    """Tokenises an instruction once, however many observations it comes with."""

    def __init__(self, tokenizer: PromptTokenizer, template: str,
                 check: Callable[[tuple[int, ...]], None]) -> None:
        """
        Remember no instruction yet.

        :param template: name out of :mod:`vla_ros.data.prompts`.
        :param check: raises an error for token ids that are too many.
        """
        self._tokenizer = tokenizer
        self._template = template
        self._check = check
        self._instruction: str | None = None
        self._prompt = Prompt('', (), ())

    def __call__(self, instruction: str) -> Prompt:
        """
        Tokenise an instruction, unless it is the previous one.

        :raises ObservationError: it is too long.
        """
        if instruction != self._instruction:
            text = build_prompt(self._template, instruction)
            input_ids = self._tokenizer.encode(text)
            prompt = Prompt(text, input_ids, self._tokenizer.close(input_ids))
            self._check(prompt.model_ids)
            self._prompt, self._instruction = prompt, instruction
        return self._prompt
