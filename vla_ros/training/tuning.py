# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Training on recorded episodes: a LoRA adapter for a checkpoint, or the small model from nothing.

As ``vla-scripts/finetune.py`` of openvla/openvla does it: AdamW with a constant rate, and the
cross-entropy of the action tokens and the end. Every step is a function of seed and step number.
"""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
import torch

from vla_ros.actions import ActionStatistics
from vla_ros.actions import ActionTokenizer
from vla_ros.errors import UnsupportedError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.prompts import choose_template
from vla_ros.training.dataset import action_statistics
from vla_ros.training.dataset import LeRobotDataset
from vla_ros.training.layout import write_folder
from vla_ros.training.learner import initialise
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import ResumableTraining
from vla_ros.training.team import Team
from vla_ros.training.tunable import IGNORED
from vla_ros.training.tunable import Lesson
from vla_ros.training.tunable import load_tunable
from vla_ros.training.tunable import pad
from vla_ros.training.tunable import TunableVla

# All linear layers but the head, as the official script has it.
_LINEAR = (r'.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|attn\.proj'
           r'|fc1|fc2|fc3)')


@dataclass(frozen=True)
class TuningPlan:
    """
    What decides the result, beside checkpoint and dataset.

    :param rank: of the adapter; 0 trains all weights.
    """

    steps: int = 1000
    batch: int = 16
    learning_rate: float = 5e-4
    rank: int = 32
    seed: int = 0


class Tuning(ResumableTraining):
    """A model and its optimiser; what is trained is saved in ``folder``."""

    def __init__(self, plan: TuningPlan, checkpoint: Checkpoint, dataset: LeRobotDataset,
                 folder: Path, team: Team = Team()) -> None:
        """
        Begin, or go on where an interrupted training saved.

        :param folder: becomes the adapter, or the checkpoint if all weights are trained.
        :raises TrainingError: the folder holds a training of another plan.
        :raises UnsupportedError: peft is missing.
        """
        super().__init__(plan, folder, team)
        self.dataset = dataset
        self._processor = checkpoint.image_processor
        self._statistics = action_statistics(dataset)
        self._scale = ActionStatistics.from_dataset(self._statistics[dataset.name])
        config = checkpoint.config
        self._lesson = Lesson(
            PromptTokenizer(checkpoint.folder, config.language_model.bos_token_id),
            ActionTokenizer(config.vocab_size, config.n_action_bins),
            choose_template(checkpoint.name, config.llm_backbone_id),
            config.language_model.eos_token_id)
        torch.manual_seed(plan.seed)
        self.model = (_add_adapter(checkpoint, plan.rank, team) if plan.rank else
                      _make_new(checkpoint, team))
        self._trained = {name: parameter for name, parameter in self.model.named_parameters()
                         if parameter.requires_grad}
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=plan.learning_rate)
        self.resume()

    def run(self, report: Report) -> None:
        """Train to the end of the plan, saving on the way."""
        self.train(self._advance, report)

    def state(self) -> dict[str, Any]:
        """Give what has to be kept to go on."""
        return {'trained': {name: p.detach() for name, p in self._trained.items()},
                'optimizer': self._optimizer.state_dict()}

    def take_state(self, state: dict[str, Any]) -> None:
        """Go on with what was kept."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(state['trained'][name])
        self._optimizer.load_state_dict(state['optimizer'])

    def write(self) -> None:
        """Write what is trained, and the statistics of its actions."""
        if self.plan.rank:
            self.model.save_pretrained(str(self.folder), save_embedding_layers=False)
        else:
            save_file({name: p.detach().to(torch.bfloat16).cpu().contiguous()
                       for name, p in self._trained.items()},
                      self.folder / 'model.safetensors', {'format': 'pt'})
        (self.folder / 'dataset_statistics.json').write_text(
            json.dumps(self._statistics, indent=2) + '\n', encoding='utf-8')

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Read frames as the model sees them.

        :param rows: int64 (B,), numbers of frames.
        :returns: pixels, token ids and labels, see :class:`TunableVla`.
        """
        frames = [self.dataset[int(row)] for row in rows]
        pixels = np.stack([self._processor(frame.image) for frame in frames])
        texts = [self._lesson.write(frame.instruction, self._scale.normalize(
            frame.action.astype(np.float64))) for frame in frames]
        return (torch.from_numpy(pixels), pad([ids for ids, _ in texts], self._lesson.end),
                pad([labels for _, labels in texts], IGNORED))

    def _advance(self) -> dict[str, float]:
        rng = np.random.default_rng([self.plan.seed, self.step])
        count = len(self.dataset)
        rows = rng.choice(count, self.plan.batch, replace=count < self.plan.batch)
        self._optimizer.zero_grad(set_to_none=True)
        told = {'action': 0.0}
        for part in self.parts:
            inputs = (x.to(self.team.device) for x in self.batch(rows[part]))
            with self.team.autocast():
                loss = self.model(*inputs) * self.team.share
            loss.backward()
            told['action'] += float(loss.detach())
        self.team.add_gradients(self._trained.values())
        self._optimizer.step()
        return self.team.add(told)


def start_small(dataset: LeRobotDataset, folder: Path) -> Checkpoint:
    """Write everything but the weights of a small model for a dataset, and open it."""
    write_folder(folder, action_statistics(dataset))
    return open_checkpoint(str(folder))


def _make_new(checkpoint: Checkpoint, team: Team) -> TunableVla:
    model = TunableVla(checkpoint.config)
    initialise(model)
    return model.to(team.device)


def _add_adapter(checkpoint: Checkpoint, rank: int, team: Team) -> Any:
    """Freeze a checkpoint and put an adapter to be trained beside its matrices."""
    try:
        import peft
    except ImportError:
        raise UnsupportedError('--finetune', 'peft is not installed', 'pip install peft') from None
    dtype = torch.bfloat16 if team.precision == 'bf16' else torch.float32
    model = load_tunable(checkpoint.config, checkpoint.folder, team.device, dtype)
    model.name_or_path = checkpoint.name  # what peft writes down as the base
    # The official script's: alpha no more than 16, no dropout, Gaussian beginnings.
    config = peft.LoraConfig(r=rank, lora_alpha=min(rank, 16), lora_dropout=0.0,
                             target_modules=_LINEAR, init_lora_weights='gaussian')
    return peft.get_peft_model(model, config)
