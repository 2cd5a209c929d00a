# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The processes, devices and precision of a training, by Hugging Face's accelerate.

``torchrun`` and ``accelerate launch`` start the processes. The size of a batch is that of all its
microbatches, over time and over processes, so what is learnt does not depend on the division.
"""

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from vla_ros.errors import ParameterError
from vla_ros.errors import UnsupportedError
from vla_ros.model.prepare import choose_device
from vla_ros.util.packages import missing_package

if TYPE_CHECKING:
    from accelerate import Accelerator

# The other processes wait while the main process draws samples or runs episodes.
_TIMEOUT = timedelta(hours=12)


def make_accelerator(device: str = 'cpu', precision: str = 'float32',
                     accumulate: int = 1, tracker: Any = None,
                     folder: Path | None = None) -> 'Accelerator':
    """
    Join the process group and choose the device of this process.

    :param device: ``auto``, ``cpu`` or ``cuda``; each process takes a GPU of its own.
    :param precision: ``float32`` or ``bf16``, which computes products in bfloat16; weights,
        optimizer and sums stay float32.
    :param accumulate: microbatches that one process computes for each optimizer step.
    :param tracker: ``tensorboard``, ``wandb``, ``trackio``, or a ``GeneralTracker`` of
        accelerate; None for none.
    :param folder: where a tracker that writes files puts them.
    :raises ParameterError: ``accumulate`` is below 1.
    :raises UnsupportedError: there is no such device, accelerate is not installed, or its
        launcher asks for something else than data parallelism.
    """
    if accumulate < 1:
        raise ParameterError('--accumulate', accumulate, 'at least 1')
    try:
        from accelerate import Accelerator
        from accelerate import DataLoaderConfiguration
        from accelerate import DistributedType
        from accelerate.utils import GradientAccumulationPlugin
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise missing_package('training', error) from None
    # accelerate leaves a tracker out silently where its package is missing.
    if isinstance(tracker, str) and find_spec(tracker) is None:
        raise missing_package(f'--tracker {tracker}', tracker)
    accelerator = Accelerator(
        cpu=choose_device(device).type == 'cpu',
        mixed_precision='bf16' if precision == 'bf16' else 'no',
        # A plugin, which the launcher's environment does not override.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=accumulate, sync_with_dataloader=False),
        # One step of the scheduler for each of the optimizer, however many processes there are.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with=tracker, project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_TIMEOUT)])

    supported = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in supported:
        raise UnsupportedError(
            'training', f'the launcher asks for {accelerator.distributed_type.value}, and only '
                        'data parallelism (DDP) is supported',
            'start it with torchrun, or with accelerate launch --multi_gpu')
    return accelerator


def microbatches(accelerator: 'Accelerator', batch: int) -> list[slice]:
    """
    Return the microbatches of a batch that this process computes.

    :raises ParameterError: the batch cannot be divided so.
    """
    size, accumulate = accelerator.num_processes, accelerator.gradient_accumulation_steps
    count = size * accumulate
    if batch % count:
        raise ParameterError('--batch', batch, f'a multiple of {count}: {size} processes times '
                                               f'--accumulate {accumulate}')
    length = batch // count
    first = accelerator.process_index * accumulate
    return [slice(index * length, (index + 1) * length)
            for index in range(first, first + accumulate)]
