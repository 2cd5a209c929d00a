# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What a check has found, and the numbers behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np

ERROR, WARNING = 'error', 'warning'


@dataclass(frozen=True)
class Finding:
    """
    One problem.

    :param level: error: it must not be trained on; warning: it is worth a look.
    :param name: of the check.
    :param text: one line with the numbers.
    """

    level: str
    name: str
    text: str


@dataclass(frozen=True)
class StreamFacts:
    """
    Measured of one stream of messages or frames.

    :param rate: of its stamps, Hz.
    :param longest_gap: s.
    """

    name: str
    count: int
    rate: float
    longest_gap: float
    duplicates: int
    frozen: int
    backwards: int


@dataclass(frozen=True)
class Dimension:
    """
    Range of one number of the action.

    :param q01: below it lies one percent of the values.
    """

    name: str
    minimum: float
    q01: float
    mean: float
    q99: float
    maximum: float
    deviation: float


@dataclass
class Report:
    """
    The result of a check, of one bag or one dataset.

    :param facts: name and text of what there is to know of the whole.
    :param images: some of its frames: a caption each, uint8 (H, W, 3).
    :param curves: float64 (T,) by name, for plots over the frames.
    """

    name: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    streams: list[StreamFacts] = field(default_factory=list)
    dimensions: list[Dimension] = field(default_factory=list)
    images: list[tuple[str, np.ndarray]] = field(default_factory=list)
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_bad(self) -> bool:
        """Whether anything is an error."""
        return any(finding.level == ERROR for finding in self.findings)

    def error(self, name: str, text: str) -> None:
        """Add an error: what must not be trained on."""
        self.findings.append(Finding(ERROR, name, text))

    def warn(self, name: str, text: str) -> None:
        """Add a warning: what is worth a look."""
        self.findings.append(Finding(WARNING, name, text))


@dataclass(frozen=True)
class Limits:
    """
    From where on something is a finding.

    :param gap: times the usual distance of two messages, that a gap is longer than.
    :param frozen: s for which images may repeat while the arm moves.
    :param moved: rad or m that a joint has moved by when the arm counts as moving.
    :param jump: times the 90th percentile of the steps, that a jump is longer than.
    :param still: s at an end of an episode for which nothing may move.
    :param lower: smallest value of each number of the action by its name; rad or m.
    :param upper: likewise.
    """

    gap: float = 4.0
    frozen: float = 0.5
    moved: float = 0.005
    jump: float = 8.0
    still: float = 3.0
    lower: dict[str, float] = field(default_factory=dict)
    upper: dict[str, float] = field(default_factory=dict)


def dimensions_of(names: Sequence[str], values: np.ndarray) -> list[Dimension]:
    """Measure the range of each column, of float64 (N, D)."""
    if not len(values):
        return []
    low, high = np.quantile(values, 0.01, 0), np.quantile(values, 0.99, 0)
    return [Dimension(name, *map(float, row)) for name, row in zip(names, np.stack([
        values.min(0), low, values.mean(0), high, values.max(0), values.std(0)], 1))]


def count_interventions(interventions: np.ndarray, lengths: Sequence[int]) -> str:
    """
    Describe in how many frames a person moved the arm.

    :param interventions: bool (N,), of all frames.
    :param lengths: frames of each episode.
    """
    episodes = np.split(interventions, np.cumsum(lengths)[:-1])
    begins = sum(int((one & ~np.concatenate([[False], one])[:-1]).sum()) for one in episodes)
    return (f'{int(interventions.sum())} of {len(interventions)} frames, in {begins} takeover'
            f'{"s" if begins != 1 else ""}')


def check_numbers(report: Report, limits: Limits, names: Sequence[str], values: np.ndarray,
                  fps: float, what: str, where: str = '') -> None:
    """
    Find invalid numbers, jumps, limits, and stillness, in the order of the frames.

    :param values: float64 (T, D) of one episode.
    :param what: they are, like ``action``.
    :param where: of the episode, for the text.
    """
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        report.error('not-finite', f'{where}{what} of frame {int(np.argmax(bad))} is not finite, '
                                   f'{int(bad.sum())} frames in all')
        return
    for index, name in enumerate(names):
        low, high = limits.lower.get(name, -np.inf), limits.upper.get(name, np.inf)
        beyond = (values[:, index] < low - 1e-6) | (values[:, index] > high + 1e-6)
        if beyond.any():
            frame = int(np.argmax(beyond))
            report.error('limits', f'{where}{what} {name} is {values[frame, index]:.4g} in frame '
                                   f'{frame}, its limits are {low:.4g} to {high:.4g}; '
                                   f'{int(beyond.sum())} frames in all')
    if len(values) < 3:
        return
    steps = np.abs(np.diff(values, axis=0))
    usual, span = np.quantile(steps, 0.9, axis=0), np.maximum(np.ptp(values, axis=0), 1e-9)
    # A gripper that snaps between two values does not jump: its usual step is none.
    jumps = (steps > limits.jump * usual) & (steps > 0.25 * span) & (usual > 1e-3 * span)
    for column in np.flatnonzero(jumps.any(0)).tolist():
        frame = int(np.argmax(jumps[:, column]))
        report.warn('jump', f'{where}{what} {names[column]} jumps by {steps[frame, column]:.4g} '
                            f'at frame {frame + 1}, usual steps are up to {usual[column]:.4g}')
    moving = np.flatnonzero((steps > 1e-3 * np.maximum(np.ptp(values, axis=0), 1e-6)).any(1))
    if not len(moving) or np.ptp(values, axis=0).max() < 1e-4:
        report.warn('still', f'{where}the {what} does not change in the whole episode')
        return
    for place, still in (('begins', moving[0]), ('ends', len(steps) - 1 - moving[-1])):
        if still > limits.still * fps:
            report.warn('still', f'{where}the episode {place} with {still / fps:.1f} s in which '
                                 f'the {what} does not change')
