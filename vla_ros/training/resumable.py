# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A training that can be interrupted at any step and goes on to the same end."""

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
import shutil
from typing import Any
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from safetensors.torch import save_file
import torch

from vla_ros.errors import VlaError
from vla_ros.training.accelerator import microbatches
from vla_ros.training.curve import draw_curve

if TYPE_CHECKING:
    from accelerate import Accelerator

#: The record of a training in its folder: plan, step, curve, and the folder of its state.
STATE_FILE = 'training_state.pt'
#: Holds what accelerate saves, a folder a step; the record names the one that counts.
_STATE_FOLDER = 'training_state'
_TENSORS = 'trained.safetensors'

#: Called after each step: step number and losses by name.
Report = Callable[[int, dict[str, float]], None]

#: Names of files with weights end so.
_WEIGHTS = ('.safetensors', '.bin', '.pt')


class TrainingError(VlaError):
    """A training that cannot begin or go on as asked."""


def check_folder(folder: Path) -> None:
    """
    Make sure that nothing but a training's own files is overwritten in a folder.

    :raises TrainingError: it holds weights, and no state of a training that they came from.
    """
    weights = sorted(path.name for path in folder.glob('*') if path.suffix in _WEIGHTS)
    if weights and not (folder / STATE_FILE).is_file():
        raise TrainingError(f'--out {folder} holds {weights[0]}, which no interrupted training '
                            'left there and which would be overwritten; give a new folder')


def read_tensors(folder: Path) -> dict[str, torch.Tensor] | None:
    """
    Read the tensors that a training saved in its folder; None where there is no training.

    :raises TrainingError: the state is incomplete.
    """
    if not (folder / STATE_FILE).is_file():
        return None
    state = torch.load(folder / STATE_FILE, weights_only=True)
    return load_file(_saved_state(folder, state) / _TENSORS)


def _saved_state(folder: Path, record: Mapping[str, Any]) -> Path:
    """Return the folder that a record names."""
    saved = folder / str(record.get('state', ''))
    if 'state' not in record or not (saved / _TENSORS).is_file():
        raise TrainingError(f'{folder / STATE_FILE} belongs to no state in {_STATE_FOLDER}: it '
                            'was copied without it or saved by an older version; train into '
                            'another folder, or delete it to start from the weights alone')
    return saved


class ResumableTraining(ABC):
    """
    What every training has: a plan, a folder, losses so far, and how far it is.

    Every step is to be a function of the plan and the number of the step.
    """

    #: Steps after which the state is saved.
    save_every = 100

    def __init__(self, plan: Any, folder: Path, accelerator: 'Accelerator') -> None:
        """
        Start; :meth:`prepare` resumes an interrupted training from its last save.

        :param plan: a dataclass with the number of ``steps`` and the ``batch``.
        :param folder: where everything is saved.
        :param accelerator: of this training only; one that trained before is emptied.
        """
        self.plan = plan
        self.folder = folder
        self.accelerator = accelerator
        self.microbatches = microbatches(accelerator, plan.batch)
        self.step = 0
        self.curve: list[dict[str, float]] = []
        accelerator.free_memory()

    def prepare(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer,
                scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
        """
        Prepare what is trained with accelerate, and load the state of an interrupted training.

        :raises TrainingError: it was a training of another plan, or somebody's checkpoint.
        """
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(
            model, optimizer, scheduler)
        record = self.folder / STATE_FILE
        if not record.is_file():
            check_folder(self.folder)
            return
        state = torch.load(record, weights_only=True)
        if state['plan'] != asdict(self.plan):
            raise TrainingError(f'{self.folder} holds an interrupted training of another plan '
                                f'({state["plan"]}); give the same options or another folder')
        saved = _saved_state(self.folder, state)
        hook = self.accelerator.register_load_state_pre_hook(self._load_tensors)
        self.accelerator.load_state(str(saved))
        hook.remove()
        # The number of microbatches may have changed since.
        self.accelerator.step = 0
        self.step, self.curve = state['step'], state['curve']

    def train(self, advance: Callable[[], dict[str, float]], report: Report) -> None:
        """
        Train to the end of the plan, saving on the way.

        :param advance: makes the step that ``step`` counts; gives its losses by name.
        """
        if self.accelerator.log_with:
            self.accelerator.init_trackers('vla_train', asdict(self.plan))
        while not self.is_finished():
            losses = advance()
            self.step += 1
            self.curve.append(losses)
            self.accelerator.log(losses, self.step)
            if self.accelerator.is_main_process:
                report(self.step, losses)
            if self.step % self.save_every == 0 or self.is_finished() or self.is_best():
                self.save()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def is_finished(self) -> bool:
        """Return whether the training has come to its end."""
        return self.step >= self.plan.steps

    def is_best(self) -> bool:
        """Return whether the last step was validated and is the best one so far."""
        return False

    def save(self) -> None:
        """Write what was learnt, the state and the loss curve; every process is to call it."""
        name = f'{_STATE_FOLDER}/step_{self.step}'
        hook = self.accelerator.register_save_state_pre_hook(self._save_tensors)
        self.accelerator.save_state(str(self.folder / name))
        hook.remove()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            # Replaced at once: whenever the training is interrupted, the record is whole and
            # names a state that is whole.
            record = self.folder / STATE_FILE
            unfinished = record.with_suffix('.unfinished')
            torch.save({'plan': asdict(self.plan), 'step': self.step, 'curve': self.curve,
                        'state': name}, unfinished)
            unfinished.replace(record)
            for old in (self.folder / _STATE_FOLDER).iterdir():
                if old.name != Path(name).name:
                    shutil.rmtree(old)
            self.write()
            draw_curve(self.curve, self.folder / 'loss.png')
        self.accelerator.wait_for_everyone()

    def mean_over_processes(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Average losses over all processes, by name."""
        values = torch.tensor(list(losses.values()), dtype=torch.float32,
                              device=self.accelerator.device)
        mean = self.accelerator.reduce(values, 'mean')
        return dict(zip(losses, mean.tolist()))

    def _save_tensors(self, models: list, weights: list, folder: str) -> None:
        # By names that hold for any number of processes, and without what is frozen.
        weights.clear()
        if self.accelerator.is_main_process:
            save_file({name: tensor.detach().contiguous()
                       for name, tensor in self.tensors().items()}, Path(folder) / _TENSORS)

    def _load_tensors(self, models: list, folder: str) -> None:
        models.clear()
        saved = load_file(Path(folder) / _TENSORS)
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(saved[name])

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors that training changes, by name; they are saved and copied into."""

    @abstractmethod
    def write(self) -> None:
        """Write what was learnt, for others to load."""
