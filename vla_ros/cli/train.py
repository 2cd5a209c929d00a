# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_train``: train the small model on the simulator's expert."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from importlib.util import find_spec
import os
from pathlib import Path
import resource
import sys
import time
from typing import Any

from vla_ros.cli.train_options import make_parser
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError
from vla_ros.training.seeds import LARGEST_SEED
from vla_ros.util.command_line import run_tool
from vla_ros.util.packages import missing_package

# A thread that spins while it waits for the other is slower wherever cores are shared.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

_OUT = 'the folder of the result'
_DATA = 'the folder of the drawn samples'
_DATASET = 'the folder of a LeRobot dataset'
#: Options of which at most one is given: each is a use of its own.
_USES = ('ship', 'record', 'merge', 'dataset', 'dagger', 'rl')
#: Options that say something only with --dataset.
_OF_DATASET = ('camera', 'augment', 'validation', 'patience', 'gradient_checkpointing',
               'proprio', 'only', 'unnorm_key', 'shift', 'preload')
#: Options that say something only with the L1 head.
_OF_CHUNKS = ('proprio', 'shift', 'preload')
#: Longest sequence of a small model that predicts chunks: two images, prompt and chunk.
_CHUNK_POSITIONS = 512
#: Options that count something.
_COUNTS = ('samples', 'steps', 'batch', 'threads', 'episodes', 'workers', 'lora_rank',
           'validate_every', 'chunk', 'group', 'scenes', 'worlds', 'passes', 'held_out', 'every',
           'sampled')

Report = Callable[[int, dict[str, float]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = make_parser(__doc__).parse_args(argv)
    return run_tool('vla_train', lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Run what the options ask for."""
    _check_numbers(arguments)
    _check_use(arguments)
    if arguments.ship:
        return _ship(arguments)
    if arguments.merge:
        return _merge(arguments)
    for name in ('mujoco', 'matplotlib', 'torch'):
        if find_spec(name) is None:
            raise missing_package('training', name)
    if arguments.finetune:
        _require(arguments, '--finetune', dataset=_DATASET)
    if arguments.record:
        return _record(arguments)
    if arguments.dataset:
        _train_on_dataset(arguments)
    elif arguments.dagger:
        _run_dagger(arguments)
    elif arguments.rl:
        _reinforce(arguments)
    else:
        _train_on_samples(arguments)
    return 0


def _train_on_samples(arguments: argparse.Namespace) -> None:
    """Train on drawn samples."""
    from vla_ros.training.loop import Training
    from vla_ros.training.loop import TrainingPlan
    _require(arguments, 'training', out=_OUT, data=_DATA)
    plan = TrainingPlan(steps=arguments.steps or 6000, batch=arguments.batch or 32,
                        samples=arguments.samples,
                        learning_rate=arguments.learning_rate or 1.5e-3, seed=arguments.seed)
    accelerator = _accelerator(arguments)
    training = Training(plan, Path(arguments.out), accelerator)
    training.run(_draw(arguments, accelerator), progress_line(training.step, plan.steps))


def _run_dagger(arguments: argparse.Namespace) -> None:
    """Continue from a checkpoint with rounds of DAgger."""
    from vla_ros.training.dagger import DaggerPlan
    from vla_ros.training.dagger import run_rounds
    _require(arguments, '--dagger', start='the checkpoint of the first rollouts', out=_OUT,
             data=_DATA)
    plan = DaggerPlan(
        rounds=arguments.dagger, episodes=arguments.episodes, steps=arguments.steps or 1500,
        batch=arguments.batch or 32, learning_rate=arguments.learning_rate or 7e-4,
        drawn=arguments.samples, seed=arguments.seed)
    accelerator = _accelerator(arguments)
    run_rounds(plan, Path(arguments.start), Path(arguments.out), _draw(arguments, accelerator),
               arguments.workers, lambda line: print(line, flush=True),
               lambda training: progress_line(training.step, plan.steps), accelerator)


def _reinforce(arguments: argparse.Namespace) -> None:
    """Improve a checkpoint by its own episodes."""
    from vla_ros.training.reinforcement import Reinforcement
    from vla_ros.training.reinforcement_plan import ReinforcementPlan
    _require(arguments, '--rl', start='the checkpoint to begin with', out=_OUT)
    plan = ReinforcementPlan(
        steps=arguments.rl, scenes=arguments.scenes,
        revisited=arguments.revisited, size=arguments.group, focus=arguments.focus or '',
        sampled=arguments.sampled, temperature=arguments.temperature,
        seconds=arguments.seconds, batch=arguments.batch or 128, kl=arguments.kl,
        passes=arguments.passes, learning_rate=arguments.learning_rate or 5e-5,
        validation=arguments.held_out, seed=arguments.seed)
    training = Reinforcement(
        plan, Path(arguments.start), Path(arguments.out), _accelerator(arguments),
        arguments.workers, arguments.worlds, lambda line: print(line, flush=True))
    training.run(progress_line(training.step, plan.steps, 1))


def _record(arguments: argparse.Namespace) -> int:
    """Write the expert's demonstrations as a dataset."""
    if arguments.suite:
        from vla_ros.training.record_libero import record_libero
        record_libero(Path(arguments.record), arguments.suite, arguments.episodes,
                      arguments.every, arguments.workers, lambda line: print(line, flush=True))
        return 0
    from vla_ros.training.record import record
    record(Path(arguments.record), arguments.episodes, arguments.seed,
           lambda done: print(f'episodes {done}/{arguments.episodes}', flush=True))
    return 0


def _ship(arguments: argparse.Namespace) -> int:
    """Make the release of a checkpoint."""
    from vla_ros.training.card import Provenance
    from vla_ros.training.card import ship
    _require(arguments, '--ship', out='the folder of the release', took='how long training took',
             eval='the output of vla_eval --json', commands='the command lines of the training')
    provenance = Provenance(arguments.commands, arguments.took, arguments.machine, arguments.about)
    size = ship(Path(arguments.ship), Path(arguments.out), Path(arguments.eval), provenance)
    print(f'{arguments.out}: {size / 2**20:.1f} MiB')
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    """Merge an adapter into its base."""
    from vla_ros.training.merge import merge_into_checkpoint
    _require(arguments, '--merge', out='the folder of the checkpoint',
             finetune='the checkpoint that the adapter was trained on')
    merge_into_checkpoint(Path(arguments.merge), arguments.finetune, Path(arguments.out))
    return 0


def _train_on_dataset(arguments: argparse.Namespace) -> None:
    """Train on a dataset: an adapter for a checkpoint, or the small model."""
    from vla_ros.model.checkpoint import open_checkpoint
    from vla_ros.training.finetuning import check_base
    _require(arguments, '--dataset', out=_OUT)
    _check_head(arguments)
    if arguments.unnorm_key and (not arguments.finetune or arguments.head != 'tokens'):
        raise VlaError('--unnorm-key needs --finetune and action tokens: it names statistics of '
                       'the checkpoint that is trained further; leave it out')
    accelerator, out = _accelerator(arguments), Path(arguments.out)
    dataset = _open_dataset(arguments)
    with accelerator.main_process_first():
        checkpoint = (open_checkpoint(arguments.finetune) if arguments.finetune else
                      _start_small(dataset, out))
    if arguments.finetune:
        check_base(checkpoint)
    plan, kind = _finetuning(arguments)
    options = {'is_preloaded': True} if arguments.preload else {}
    # Each process would have a memory of its own.
    training = kind(plan, checkpoint, dataset, out, accelerator, arguments.gradient_checkpointing,
                    0 if arguments.preload else arguments.decoders, **options)
    training.run(progress_line(training.step, plan.steps))


def _check_head(arguments: argparse.Namespace) -> None:
    """
    Check that the options fit the head.

    :raises VlaError: they do not.
    """
    if arguments.head == 'tokens':
        given = [f'--{name}' for name in _OF_CHUNKS if getattr(arguments, name)]
        if given or len(arguments.camera) > 1:
            raise VlaError(f'{" and ".join(given) or "a second --camera"} needs --head l1 or '
                           'both: action tokens are predicted from one image; add --head l1 or '
                           'leave it out')
        if arguments.start:
            raise VlaError('--start with --dataset needs --head l1 or both; leave it out')
    if arguments.start and arguments.finetune:
        raise VlaError('--start and --finetune exclude one another: the first gives weights to a '
                       'small model, the second gets an adapter; give one of them')
    if arguments.augment and arguments.preload:
        raise VlaError('--augment and --preload exclude one another: an augmented image is made '
                       'anew each time; give one of them, or --shift')


def _start_small(dataset: Any, out: Path) -> Any:
    """Start the folder of a small model for a dataset."""
    from vla_ros.data.lerobot_dataset import action_statistics
    from vla_ros.training.chunks import ChunkDataset
    from vla_ros.training.finetuning import start_small
    if isinstance(dataset, ChunkDataset):
        texts = tuple(dict.fromkeys(dataset.main.metadata.tasks.values()))
        return start_small(out, dataset.statistics, texts, _CHUNK_POSITIONS)
    return start_small(out, action_statistics(dataset))


def _open_dataset(arguments: argparse.Namespace) -> Any:
    """Open the dataset as the head sees it."""
    from vla_ros.data.lerobot_dataset import LeRobotDataset
    from vla_ros.training.chunks import ChunkDataset
    folder = Path(arguments.dataset)
    if arguments.head != 'tokens':
        return ChunkDataset(folder, tuple(arguments.camera), arguments.proprio)
    return LeRobotDataset(folder, ''.join(arguments.camera))


def _finetuning(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Return the plan and the class of the fine-tuning of a head."""
    from vla_ros.training.finetuning import FineTuning
    from vla_ros.training.finetuning import FineTuningPlan
    from vla_ros.training.oft import OftFineTuning
    from vla_ros.training.oft import OftPlan
    settings = {
        'steps': arguments.steps or (1000 if arguments.finetune else 6000),
        'batch': arguments.batch or 32, 'learning_rate': arguments.learning_rate or 5e-4,
        'rank': arguments.lora_rank if arguments.finetune else 0, 'seed': arguments.seed,
        'augment': arguments.augment, 'validation': arguments.validation,
        'validate_every': arguments.validate_every, 'patience': arguments.patience,
        'only': arguments.only, 'unnorm_key': arguments.unnorm_key}
    if arguments.head != 'tokens':
        return OftPlan(**settings, chunk=arguments.chunk, cameras=tuple(arguments.camera),
                       proprio=arguments.proprio, tokens=arguments.head == 'both',
                       shift=arguments.shift, start=arguments.start or ''), OftFineTuning
    return FineTuningPlan(**settings), FineTuning


def _accelerator(arguments: argparse.Namespace) -> Any:
    """Join the process group; choose device and precision."""
    import torch

    from vla_ros.training.accelerator import make_accelerator
    accelerator = make_accelerator(
        arguments.device, arguments.precision, arguments.accumulate, arguments.tracker,
        Path(arguments.out))
    torch.set_num_threads(arguments.threads)  # accelerate sets it, too
    return accelerator


def _draw(arguments: argparse.Namespace, accelerator: Any) -> Any:
    """Draw the samples, or read those of an earlier run."""
    from vla_ros.training.layout import small_transform
    from vla_ros.training.shards import draw_samples

    def report(count: int) -> None:
        if accelerator.is_main_process:
            print(f'samples {count}/{arguments.samples}', flush=True)
    with accelerator.main_process_first():
        return draw_samples(Path(arguments.data), arguments.samples, small_transform(), report)


def progress_line(first: int, steps: int, every: int = 20) -> Report:
    """
    Print the progress of a training.

    :param first: step at which it begins or goes on.
    :param every: steps between two lines.
    """
    started = time.monotonic()

    def report(step: int, losses: dict[str, float]) -> None:
        if step % every == 0 or step == steps or 'validation_l1' in losses:
            rate = (step - first) / (time.monotonic() - started)
            shown = ' '.join(f'{name} {value:.3f}' for name, value in losses.items())
            print(f'step {step}/{steps} {shown} {rate:.2f}/s {_peak_memory():.1f} GiB '
                  f'{(steps - step) / rate / 60:.0f} min left', flush=True)
    return report


def _peak_memory() -> float:
    """Return the largest memory so far, GiB: of the GPU where one is used, else of the process."""
    import torch
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _check_numbers(arguments: argparse.Namespace) -> None:
    """
    Check what no training can use.

    :raises ParameterError: a number is too small or too large.
    """
    for name in _COUNTS:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ParameterError(f'--{name.replace("_", "-")}', value, 'at least 1')
    if not 0 <= arguments.decoders <= 64:
        raise ParameterError('--decoders', arguments.decoders, 'from 0 to 64')
    if not 0 <= arguments.shift <= 32:
        raise ParameterError('--shift', arguments.shift, 'from 0 to 32 pixels')
    if arguments.patience < 0:
        raise ParameterError('--patience', arguments.patience, 'a number of validations, or 0')
    if arguments.dagger < 0:
        raise ParameterError('--dagger', arguments.dagger, 'a number of rounds, 1 or more')
    if arguments.rl < 0:
        raise ParameterError('--rl', arguments.rl, 'a number of iterations, 1 or more')
    if not 0 <= arguments.seed <= LARGEST_SEED:
        raise ParameterError('--seed', arguments.seed, f'a whole number from 0 to {LARGEST_SEED}')
    rate = arguments.learning_rate
    if rate is not None and not 0.0 < rate < 1.0:
        raise ParameterError('--learning-rate', rate, 'above 0 and below 1')


def _check_use(arguments: argparse.Namespace) -> None:
    """
    Check that the options ask for one thing.

    :raises VlaError: they ask for several.
    """
    given = [f'--{name}' for name in _USES if getattr(arguments, name)]
    if len(given) > 1:
        raise VlaError(f'{" and ".join(given)} exclude one another; give one of them')
    if arguments.start and not (arguments.dagger or arguments.rl or arguments.dataset):
        raise VlaError('--start belongs to --dagger, --rl and --dataset, none of which was given; '
                       'add one or leave --start out')
    for name, owner in (*((name, 'dataset') for name in _OF_DATASET), ('focus', 'rl'),
                        ('suite', 'record')):
        option = f'--{name.replace("_", "-")}'
        if getattr(arguments, name) and not getattr(arguments, owner):
            raise VlaError(f'{option} belongs to --{owner}, which was not given; add --{owner} or '
                           f'leave {option} out')


def _require(arguments: argparse.Namespace, use: str, **options: str) -> None:
    """
    Check that the options which a use needs were given.

    :param use: what needs them, as the beginning of a sentence.
    :param options: what each of them is, by name.
    :raises VlaError: some were not given.
    """
    missing = [f'--{name} ({meaning})' for name, meaning in options.items()
               if not getattr(arguments, name)]
    if missing:
        raise VlaError(f'{use} needs {" and ".join(missing)}, which the command line does not '
                       f'have; add {"it" if len(missing) == 1 else "them"}')


if __name__ == '__main__':
    sys.exit(main())
