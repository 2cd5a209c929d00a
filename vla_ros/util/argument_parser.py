# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The parser of every command line: a usage error is one line with the allowed values."""

import argparse
from collections.abc import Sequence
from typing import Any
from typing import NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """Prints one line on stderr for a mistake, and ends with status 2; ``--help`` is as usual."""

    def __init__(self, *args: Any, advice: str = '', **kwargs: Any) -> None:
        """
        Prepare.

        :param advice: what else may help after any mistake.
        """
        super().__init__(*args, **kwargs)
        #: Python 3.14 colours usage lines.
        self.color = False
        self._advice = advice
        self.register('type', int, _whole_number)
        self.register('type', float, _number)

    def parse_known_args(self, args: Sequence[str] | None = None,  # type: ignore[override]
                         namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse; here, and not in the parser above it, an option that does not exist is named."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f'unrecognized arguments: {" ".join(unknown)}; '
                       f'{" ".join(self.format_usage().split())}')
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Print a mistake as one line, and end."""
        advice = f'{self._advice}; ' if self._advice else ''
        self.exit(2, f'{self.prog}: {" ".join(message.split())}; {advice}see {self.prog} --help\n')


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'got {text!r}, it must be a whole number') from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'got {text!r}, it must be a number') from None
