# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Training on recorded episodes: a LoRA adapter for a checkpoint, or the small model from scratch.

As ``vla-scripts/finetune.py`` of openvla/openvla: AdamW with a constant learning rate, and the
cross-entropy of the action tokens and EOS. Every step is a function of seed and step number.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save_file
import torch
from torch.optim.lr_scheduler import LambdaLR

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.lerobot_dataset import action_statistics
from vla_ros.data.lerobot_dataset import LeRobotDataset
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.prompts import choose_template
from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.checkpoint import open_checkpoint
from vla_ros.model.module_files import find_module_files
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.training.adapter_card import write_adapter_card
from vla_ros.training.augmentation import augment
from vla_ros.training.batches import BatchStream
from vla_ros.training.batches import FrameBatches
from vla_ros.training.batches import Key
from vla_ros.training.batches import TRAIN
from vla_ros.training.batches import VALIDATE
from vla_ros.training.layout import write_folder
from vla_ros.training.learner import initialise
from vla_ros.training.resumable import check_folder
from vla_ros.training.resumable import Report
from vla_ros.training.resumable import ResumableTraining
from vla_ros.training.resumable import TrainingError
from vla_ros.training.trainable import ExampleEncoder
from vla_ros.training.trainable import IGNORED
from vla_ros.training.trainable import load_trainable
from vla_ros.training.trainable import pad
from vla_ros.training.trainable import TrainableVla
from vla_ros.training.validation import best_step
from vla_ros.training.validation import is_stalled
from vla_ros.training.validation import split_episodes
from vla_ros.training.validation import sum_errors
from vla_ros.util.packages import missing_package

if TYPE_CHECKING:
    from accelerate import Accelerator

# All linear layers but the head, as the official script has it.
_LINEAR = (r'.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|attn\.proj'
           r'|fc1|fc2|fc3)')

#: Frames that a training can be confined to: those in which a person moved the arm.
FRAMES = ('interventions',)


@dataclass(frozen=True)
class FineTuningPlan:
    """
    What decides the result, beside checkpoint and dataset.

    :param rank: of the adapter; 0 trains all weights.
    :param augment: whether training images are augmented as OpenVLA's are.
    :param validation: part of the episodes that is held out; the best weights are kept.
    :param validate_every: steps between two validations.
    :param patience: validations without improvement after which training stops; 0: never.
    :param only: part of the frames that is used: one of :data:`FRAMES`, empty for all.
    :param unnorm_key: statistics of the base that scale the actions; empty for the dataset's own.
    """

    steps: int = 1000
    batch: int = 16
    learning_rate: float = 5e-4
    rank: int = 32
    seed: int = 0
    augment: bool = False
    validation: float = 0.0
    validate_every: int = 100
    patience: int = 0
    only: str = ''
    unnorm_key: str = ''

    def __post_init__(self) -> None:
        """Reject settings that do not fit together."""
        if not 0 <= self.validation < 1:
            raise ParameterError('--validation', self.validation, 'at least 0 and below 1')
        if self.patience and not self.validation:
            raise ParameterError('--patience', self.patience, '0 without --validation: early '
                                                              'stopping needs held-out episodes')
        if self.only not in ('', *FRAMES):
            raise ParameterError('--only', self.only, f'one of {", ".join(FRAMES)}')

    @property
    def is_random(self) -> bool:
        """Whether training images are changed at random."""
        return self.augment

    def learning_rate_factor(self, step: int) -> float:
        """Return what the learning rate is multiplied by in a step."""
        return 1.0


@dataclass(frozen=True)
class FrameReader:
    """Reads frames as the model sees them; it is copied into the processes that do so."""

    dataset: LeRobotDataset
    processor: ImageProcessor
    encoder: ExampleEncoder
    scale: ActionStatistics

    def read(self, rows: np.ndarray, random: Sequence[np.random.Generator] = (),
             ) -> tuple[torch.Tensor, ...]:
        """
        Read some frames.

        :param rows: int64 (B,), numbers of frames.
        :param random: a generator for the augmentation of each; empty for none.
        :returns: pixels, token ids and labels, see :class:`TrainableVla`.
        """
        frames = [self.dataset[int(row)] for row in rows]
        images = [augment(frame.image, rng) for frame, rng in zip(frames, random)] or [
            frame.image for frame in frames]
        pixels = np.stack([self.processor(image) for image in images])
        texts = [self.encoder.encode(frame.instruction, self.scale.normalize(
            frame.action.astype(np.float64))) for frame in frames]
        return (torch.from_numpy(pixels), pad([ids for ids, _ in texts], self.encoder.end),
                pad([labels for _, labels in texts], IGNORED))


class FineTuning(ResumableTraining):
    """The fine-tuning of a model on a dataset; ``folder`` becomes its result."""

    #: Names of what validation measures.
    errors: tuple[str, ...] = ('accuracy', 'l1')

    def __init__(self, plan: FineTuningPlan, checkpoint: Checkpoint, dataset: LeRobotDataset,
                 folder: Path, accelerator: 'Accelerator',
                 gradient_checkpointing: bool = False, decoders: int = 0) -> None:
        """
        Start, or resume an interrupted training from its last save.

        :param folder: becomes the adapter, or the checkpoint if all weights are trained.
        :param gradient_checkpointing: compute activations of the language model twice, to save
            memory.
        :param decoders: processes that read and decode frames ahead of the training; 0: none.
        :raises TrainingError: the folder holds a training of another plan, or the dataset has no
            frame to train on.
        :raises CheckpointError: the base lacks the statistics of the plan, or they do not fit.
        :raises UnsupportedError: peft is missing.
        """
        super().__init__(plan, folder, accelerator)
        self.dataset = dataset
        self.split = split_episodes([episode.length for episode in dataset.metadata.episodes],
                                    plan.validation, plan.seed, _used_frames(dataset, plan.only))
        self._base = checkpoint.name
        self._base_statistics = checkpoint.norm_stats
        self._statistics = self._read_statistics()
        config = checkpoint.config
        self._encoder = ExampleEncoder(
            PromptTokenizer(checkpoint.folder, config.language_model.bos_token_id),
            ActionTokenizer(config.vocab_size, config.n_action_bins),
            choose_template(checkpoint.name, config.llm_backbone_id),
            config.language_model.eos_token_id)
        self.reader = self._make_reader(checkpoint.image_processor)
        self._decoders = decoders
        self._stream: BatchStream | None = None
        torch.manual_seed(plan.seed)
        self.vla = (_add_adapter(checkpoint, plan.rank, accelerator) if plan.rank else
                    _make_new(checkpoint, accelerator))
        if gradient_checkpointing:
            llama = self.vla.language_model
            # The second name is that of transformers 4.
            enable = getattr(llama, 'activation_checkpointing_enable', None) or \
                llama.gradient_checkpointing_enable
            enable({'use_reentrant': False})
        self.network = self._make_network(checkpoint)
        self._trained = {name: parameter for name, parameter in self.network.named_parameters()
                         if parameter.requires_grad}
        optimizer = torch.optim.AdamW(self._trained.values(), lr=plan.learning_rate)
        self.prepare(self.network, optimizer, LambdaLR(optimizer, plan.learning_rate_factor))

    def run(self, report: Report) -> None:
        """Train to the end of the plan, saving on the way."""
        try:
            self.train(self._advance, report)
        finally:
            self._stream = None  # ends its processes

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the parameters that are trained."""
        return dict(self._trained)

    def is_finished(self) -> bool:
        """Return whether all steps are done, or validation has stopped to improve."""
        stalled = self.plan.patience and is_stalled(self.curve, self.plan.patience)
        return super().is_finished() or bool(stalled)

    def is_best(self) -> bool:
        """Return whether the last step was validated and is the best one so far."""
        return self.step == best_step(self.curve)

    def write(self) -> None:
        """Write the trained weights and the dataset's statistics; with validation the best."""
        if self.plan.validation and not self.is_best():
            return
        self._write_weights()
        (self.folder / 'dataset_statistics.json').write_text(
            json.dumps(self._statistics, indent=2) + '\n', encoding='utf-8')

    def _write_weights(self) -> None:
        if self.plan.rank:
            self.vla.save_pretrained(str(self.folder), save_embedding_layers=False)
            (self.folder / 'README.md').write_text(write_adapter_card(
                self._base, self.dataset.name, self.dataset.episode_count,
                len(self.split.train) + len(self.split.validation), asdict(self.plan),
                self.curve, self.step), encoding='utf-8')
        else:
            save_file({name: p.detach().to(torch.bfloat16).cpu().contiguous()
                       for name, p in self.vla.named_parameters()},
                      self.folder / 'model.safetensors', {'format': 'pt'})

    def _advance(self) -> dict[str, float]:
        mean = 0.0
        for part in range(len(self.microbatches)):
            with self.accelerator.accumulate(self.model):
                loss = self.model(*self._take((TRAIN, self.step, part)))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self._limit_gradients()
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            mean += float(loss.detach()) / len(self.microbatches)
        losses = self.mean_over_processes({'action': mean})
        if self._is_validated(self.step):
            losses |= self.validate()
        return losses

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the errors of the held-out frames, by name; the criterion is the L1 error."""
        sums: dict[str, float] = {}
        for part in range(self._batches().validation_parts):
            inputs = self._take((VALIDATE, self.step, part))
            with self.accelerator.autocast():
                errors = self._sum_errors(inputs)
            sums = {name: sums.get(name, 0.0) + value for name, value in errors.items()}
        # A process may have no frame of its own.
        own = torch.tensor([sums.get(name, 0.0) for name in ('count', *self.errors)],
                           device=self.accelerator.device)
        count, *totals = self.accelerator.reduce(own, 'sum').tolist()
        return {f'validation_{name}': total / count for name, total in zip(self.errors, totals)}

    def _take(self, key: Key) -> list[torch.Tensor]:
        """Return the tensors of a batch on the device; those to come are made meanwhile."""
        if self._stream is None:
            self._stream = BatchStream(self._batches(), self._keys(), self._decoders,
                                       self.accelerator.device.type == 'cuda')
        return [x.to(self.accelerator.device, non_blocking=True)
                for x in self._stream.take(key)]

    def _keys(self) -> Iterator[Key]:
        """Name the batches from here to the end, in the order in which they are needed."""
        for step in range(self.step, self.plan.steps):
            yield from ((TRAIN, step, part) for part in range(len(self.microbatches)))
            if self._is_validated(step):
                yield from ((VALIDATE, step, part)
                            for part in range(self._batches().validation_parts))

    def _is_validated(self, step: int) -> bool:
        done = step + 1
        return bool(self.plan.validation) and (done % self.plan.validate_every == 0
                                               or done == self.plan.steps)

    def _batches(self) -> FrameBatches:
        mine = self.split.validation[self.accelerator.process_index::
                                     self.accelerator.num_processes]
        return FrameBatches(self.reader.read, self.split.train, mine, tuple(self.microbatches),
                            self.plan.batch, self.plan.seed, self.plan.is_random)

    def _limit_gradients(self) -> None:
        """Make gradients smaller before they are used; here, as officially, never."""

    def _make_reader(self, processor: ImageProcessor) -> Any:
        """Return what reads the frames of a batch."""
        return FrameReader(self.dataset, processor, self._encoder, self._scale)

    def _read_statistics(self) -> dict[str, Any]:
        """Return the content of dataset_statistics.json, and set the scale of the actions."""
        key = self.plan.unnorm_key
        stats = (base_statistics(self._base, self._base_statistics, key,
                                 self.dataset.actions.shape[1]) if key else
                 action_statistics(self.dataset))
        self._scale = ActionStatistics.from_dataset(stats[key or self.dataset.name])
        return stats

    def _make_network(self, checkpoint: Checkpoint) -> Any:
        """Return the module that is trained."""
        return self.vla

    def _sum_errors(self, inputs: Sequence[torch.Tensor]) -> dict[str, float]:
        """Sum the errors of a batch, by name, and their ``count``."""
        logits, targets = self.vla.predict(*inputs)
        return sum_errors(logits, targets, self._encoder.actions)


def check_base(checkpoint: Checkpoint) -> None:
    """
    Check that a checkpoint can be the base of an adapter.

    :raises CheckpointError: it has heads of its own, which would not be trained with it.
    """
    for path in find_module_files(checkpoint.folder).values():
        raise CheckpointError(checkpoint.folder, f'{path.name} makes it OpenVLA-OFT, whose heads '
                                                 'cannot be trained further; give its base')


def base_statistics(name: str, found: Mapping[str, Mapping], key: str,
                    width: int) -> dict[str, Any]:
    """
    Return the statistics of a base under a name, as dataset_statistics.json has them.

    :param name: of the base, for the errors.
    :param width: numbers of an action of the dataset.
    :raises CheckpointError: it has none under that name, or of another width.
    """
    if key not in found:
        raise CheckpointError(name, f'it has no statistics under {key!r}, which --unnorm-key '
                                    f'names; it has {", ".join(sorted(found)[:5]) or "none"}')
    count = ActionStatistics.from_dataset(found[key]).dim
    if count != width:
        raise CheckpointError(name, f'its statistics under {key!r} are of {count} numbers, an '
                                    f'action of the dataset has {width}')
    return {key: dict(found[key])}


def _used_frames(dataset: LeRobotDataset, only: str) -> np.ndarray | None:
    if not only:
        return None
    if not dataset.interventions.any():
        raise TrainingError(f'--only {only}: no frame of {dataset.folder} is tagged as an '
                            'intervention; record takeovers (docs/takeover.md) or leave --only '
                            'out')
    return dataset.interventions


def start_small(folder: Path, stats: Mapping[str, Any], texts: Sequence[str] = (),
                positions: int = 256) -> Checkpoint:
    """
    Write everything but the weights of a small model for a dataset, and open it.

    :param stats: what dataset_statistics.json says.
    :param texts: instructions whose words are tokens.
    :param positions: longest sequence of the language model.
    """
    check_folder(folder)
    write_folder(folder, stats, texts, positions)
    return open_checkpoint(str(folder))


def _make_new(checkpoint: Checkpoint, accelerator: 'Accelerator') -> TrainableVla:
    model = TrainableVla(checkpoint.config)
    initialise(model)
    return model.to(accelerator.device)


def _add_adapter(checkpoint: Checkpoint, rank: int, accelerator: 'Accelerator') -> Any:
    """Freeze a checkpoint and add a LoRA adapter to its linear layers."""
    try:
        import peft
    except ImportError as error:
        raise missing_package('--finetune', error) from None
    dtype = torch.bfloat16 if accelerator.mixed_precision == 'bf16' else torch.float32
    model = load_trainable(checkpoint.config, checkpoint.folder, accelerator.device, dtype)
    model.name_or_path = checkpoint.name  # peft records it as the base model
    # The official script's: alpha no more than 16, no dropout, Gaussian initialisation.
    config = peft.LoraConfig(r=rank, lora_alpha=min(rank, 16), lora_dropout=0.0,
                             target_modules=_LINEAR, init_lora_weights='gaussian')
    return peft.get_peft_model(model, config)
