# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What the command-line tools share: one line per user error, and a progress bar."""

from collections.abc import Callable
from contextlib import contextmanager
import sys
from typing import Iterator

from vla_ros.errors import VlaError
from vla_ros.util.progress import ignore_progress
from vla_ros.util.progress import Progress


def run_tool(name: str, tool: Callable[[], int]) -> int:
    """
    Run a tool; a user's mistake becomes one line on stderr and exit status 2.

    So does a file that cannot be read or written.
    """
    try:
        return tool()
    except VlaError as error:
        sentence = ' '.join(str(error).split())
        print(f'{name}: {sentence}', file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f'{name}: {error.filename}: {error.strerror}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress on stderr while a checkpoint loads, on a terminal only."""
    if not sys.stderr.isatty():
        yield ignore_progress
        return
    # Here, because most tools show none, and some run where nothing but ROS is installed.
    from tqdm import tqdm
    with tqdm(total=100, unit='%', leave=False,
              bar_format='{desc} {percentage:3.0f}% |{bar}| {elapsed}') as bar:
        def show(fraction: float, activity: str) -> None:
            bar.set_description_str(activity, refresh=False)
            bar.n = 100 * fraction
            bar.refresh()
        yield show
