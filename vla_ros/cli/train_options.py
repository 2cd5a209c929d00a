# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The options of ``vla_train``."""

import argparse
import os

from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.worlds.tasks import KINDS


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make the parser."""
    parser = ArgumentParser(prog='vla_train', description=description)
    parser.add_argument('--out', metavar='DIR',
                        help='the result: a checkpoint or an adapter; an interrupted '
                             'training goes on there')
    parser.add_argument('--data', metavar='DIR', help='keeps the drawn samples')
    parser.add_argument('--samples', type=int, default=20000, metavar='N',
                        help='samples drawn from the simulator (default: %(default)s)')
    parser.add_argument('--steps', type=int, metavar='N',
                        help='optimizer steps (default: 6000; 1500 in each round of --dagger)')
    parser.add_argument('--batch', type=int, metavar='N',
                        help='images in each step (default: 32; 128 with --rl)')
    parser.add_argument('--learning-rate', type=float, metavar='RATE',
                        help='its maximum (default: 1.5e-3; 7e-4 with --dagger, 5e-4 with '
                             '--dataset, 5e-5 with --rl)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2, metavar='N')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--precision', choices=('float32', 'bf16'), default='float32',
                        help='of the products; weights and sums stay float32')
    parser.add_argument('--accumulate', type=int, default=1, metavar='K',
                        help='compute each batch in K microbatches, one after the other, to '
                             'save memory')
    parser.add_argument('--tracker', choices=('tensorboard', 'wandb', 'trackio'),
                        help='log the losses there')
    dagger = parser.add_argument_group('DAgger: rollouts of the model, labelled by the expert')
    dagger.add_argument('--dagger', type=int, default=0, metavar='ROUNDS')
    dagger.add_argument('--start', metavar='DIR',
                        help='the checkpoint of the first rollouts, also with --rl; with '
                             '--dataset the first weights of a small model')
    dagger.add_argument('--episodes', type=int, default=240, metavar='N',
                        help='in each round, or to be recorded (default: %(default)s)')
    dagger.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)), metavar='N',
                        help='processes that run episodes (default: the cores)')
    _add_rl(parser.add_argument_group(
        'reinforcement learning: episodes of the model itself, and their success'))
    recording = parser.add_argument_group("the expert's demonstrations as a LeRobot dataset")
    recording.add_argument('--record', metavar='DIR', help='writes --episodes of them')
    recording.add_argument('--suite', metavar='NAME', action='append', default=[],
                           help='of LIBERO, in place of the tabletop (docs/libero.md); again for '
                                'each further suite')
    recording.add_argument('--every', type=int, default=4, metavar='N',
                           help='actions from one image to the next, with --suite (default: '
                                '%(default)s)')
    recorded = parser.add_argument_group('training on recorded data instead')
    recorded.add_argument('--dataset', metavar='DIR', help='a LeRobot dataset, v2.0 to v3.0')
    recorded.add_argument('--camera', metavar='NAME', action='append', default=[],
                          help='its feature with the images (default: the first one); again '
                               'for each further camera, with --head l1')
    recorded.add_argument('--finetune', metavar='CHECKPOINT',
                          help='train a LoRA adapter of it, in --out (default: train the small '
                               'model from scratch)')
    recorded.add_argument('--lora-rank', type=int, default=32, metavar='R')
    recorded.add_argument('--only', choices=('interventions',), default='',
                          help='train on the frames in which a person moved the arm')
    recorded.add_argument('--unnorm-key', metavar='KEY', default='',
                          help="scale actions by the checkpoint's statistics of this name, for "
                               "the robot that it was trained on (default: the dataset's own)")
    recorded.add_argument('--head', choices=('tokens', 'l1', 'both'), default='tokens',
                          help='l1: chunks of actions by the L1 head of OpenVLA-OFT; both: by it, '
                               'and as tokens in parallel (default: %(default)s)')
    recorded.add_argument('--chunk', type=int, default=8, metavar='N',
                          help='actions in a chunk, with --head l1 (default: %(default)s)')
    recorded.add_argument('--proprio', action='store_true',
                          help='give the model observation.state, with --head l1')
    recorded.add_argument('--shift', type=int, default=0, metavar='N',
                          help='shift training images by up to N pixels at random, as the model '
                               'sees them, with --head l1')
    recorded.add_argument('--preload', action='store_true',
                          help='keep all images in memory, as the model sees them, with --head '
                               'l1')
    recorded.add_argument('--augment', action='store_true',
                          help='random crops and colours, as OpenVLA trains; run the result with '
                               'the image transform center_crop')
    recorded.add_argument('--validation', type=float, default=0.0, metavar='SHARE',
                          help='part of the episodes that is held out; keeps the best weights')
    recorded.add_argument('--validate-every', type=int, default=100, metavar='N',
                          help='steps between two validations (default: %(default)s)')
    recorded.add_argument('--patience', type=int, default=0, metavar='N',
                          help='stop after N validations without improvement (default: never)')
    recorded.add_argument('--gradient-checkpointing', action='store_true',
                          help='compute activations twice, to save memory')
    recorded.add_argument('--decoders', type=int, metavar='N',
                          default=min(len(os.sched_getaffinity(0)), 4) - 1,
                          help='processes that read and decode frames ahead of the training '
                               '(default: up to 3, a core each; 0: the training does)')
    recorded.add_argument('--merge', metavar='ADAPTER',
                          help='write the checkpoint that it makes with its base, --finetune')
    ship = parser.add_argument_group('the release of a checkpoint, with its card, in --out')
    ship.add_argument('--ship', metavar='DIR', help='the checkpoint')
    ship.add_argument('--eval', metavar='FILE', help='the output of vla_eval --json')
    ship.add_argument('--commands', metavar='TEXT', help='how it was trained')
    ship.add_argument('--took', metavar='TEXT', help='how long that took')
    ship.add_argument('--machine', metavar='TEXT', default='',
                      help='hardware of the training (default: this machine)')
    ship.add_argument('--about', metavar='TEXT', help='its data (default: %(default)s)',
                      default='samples drawn from the simulator and rollouts of the model '
                              'itself, labelled by the scripted expert; seed 0')
    return parser


def _add_rl(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--rl', type=int, default=0, metavar='ITERATIONS')
    group.add_argument('--scenes', type=int, default=96, metavar='N',
                       help='new ones in each iteration; a group of episodes is run where the '
                            'policy fails (default: %(default)s)')
    group.add_argument('--revisited', type=int, default=12, metavar='N',
                       help='most scenes with failures of earlier iterations, in each (default: '
                            '%(default)s)')
    group.add_argument('--group', type=int, default=8, metavar='N',
                       help='sampled episodes of a scene, which are compared with one another '
                            'and with the failed one (default: %(default)s)')
    group.add_argument('--worlds', type=int, default=16, metavar='N',
                       help='worlds of each worker, which share one batched pass (default: '
                            '%(default)s)')
    group.add_argument('--sampled', type=int, default=8, metavar='N',
                       help='actions that each of them samples, from where the policy gets stuck '
                            '(default: %(default)s)')
    group.add_argument('--temperature', type=float, default=1.0, metavar='T',
                       help='of the sampling (default: %(default)s)')
    group.add_argument('--seconds', type=float, default=5.0, metavar='S',
                       help='after the first of these, in which it has to succeed (default: '
                            '%(default)s)')
    group.add_argument('--kl', type=float, default=0.2, metavar='WEIGHT',
                       help='of the divergence from --start (default: %(default)s)')
    group.add_argument('--passes', type=int, default=1, metavar='N',
                       help='how often each action is trained on (default: %(default)s)')
    group.add_argument('--focus', choices=KINDS,
                       help='the kind of 70 %% of the scenes (default: all in turn)')
    group.add_argument('--held-out', type=int, default=120, metavar='N',
                       help='episodes of every fourth iteration that keep the best weights '
                            '(default: %(default)s)')
