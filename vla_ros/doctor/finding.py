# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The result of one check."""

from dataclasses import dataclass

OK = 'ok'
WARNING = 'warning'
ERROR = 'error'


@dataclass(frozen=True)
class Finding:
    """
    What one check found.

    :param subject: what was checked, in a word or two.
    :param level: ``ok``, ``warning`` (works, but less well) or ``error`` (does not work).
    :param found: what is there, or missing.
    :param fix: what to do about it; empty where nothing is to be done.
    """

    subject: str
    level: str
    found: str
    fix: str = ''

    def line(self) -> str:
        """Return the finding as one line."""
        # The text of an exception may have several lines.
        found = ' '.join(self.found.split())
        fix = f'; fix: {self.fix}' if self.fix else ''
        return f'{self.level:<8} {self.subject:<15} {found}{fix}'
