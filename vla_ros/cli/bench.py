# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""``vla_bench``: measures the model, the node, a server and the transport on this machine."""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import importlib
import json
import sys
from types import ModuleType
from typing import Any

from vla_ros.util.argument_parser import ArgumentParser
from vla_ros.util.command_line import run_tool
from vla_ros.util.packages import missing_package

#: Each benchmark is a module with ``HELP``, ``add_arguments(parser)``, ``run(arguments)``, which
#: gives what is printed as JSON, and ``table(result)``, the same as Markdown. It is imported only
#: when it is asked for: one needs torch, another one ROS.
BENCHMARKS = {
    'model': 'vla_ros.bench.model',
    'node': 'vla_ros.bench.node',
    'serve': 'vla_ros.bench.serve',
    'transport': 'vla_ros.bench.transport',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    return run_tool('vla_bench', lambda: _bench(words))


def _bench(words: Sequence[str]) -> int:
    chosen = next((word for word in words if word in BENCHMARKS), None)
    benchmark = _load(chosen) if chosen else None
    arguments = _parser({chosen: benchmark} if benchmark else {}).parse_args(words)
    assert benchmark is not None, 'the parser ends where no benchmark is named'
    result = benchmark.run(arguments)
    print(json.dumps(result) if arguments.json else benchmark.table(result))
    return 0


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(BENCHMARKS[name])
    except ImportError as error:
        raise missing_package(name, error) from None


def _parser(loaded: Mapping[str | None, Any]) -> argparse.ArgumentParser:
    parser = ArgumentParser(prog='vla_bench', description=__doc__)
    benchmarks = parser.add_subparsers(metavar='|'.join(BENCHMARKS), required=True,
                                       help=' or '.join(BENCHMARKS))
    for name in BENCHMARKS:
        benchmark = loaded.get(name)
        # Without its module only the name is known, which is enough for vla_bench --help.
        page = benchmarks.add_parser(name, description=benchmark.HELP if benchmark else None)
        page.add_argument('--json', action='store_true', help='print one JSON object')
        if benchmark:
            benchmark.add_arguments(page)
    return parser


if __name__ == '__main__':
    sys.exit(main())
