# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Checkpoints of the Hugging Face hub: one commit, from the cache wherever it is there.

The hub is asked only for what the cache lacks. What is loaded is a commit, never a moving name: a
name that the cache knows keeps the commit that the cache has under it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import logging
from pathlib import Path
import re

from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.util.files import FileError
from vla_ros.util.files import read_json_object
from vla_ros.util.files import read_text

_LOG = logging.getLogger(__name__)

_FILES = ['*.json', '*.safetensors', '*.model', '*.pt']
# Without these a checkpoint is another one, or none; trainer_state.json and its like do not count.
_NEEDED = ['config.json', 'preprocessor_config.json', 'processor_config.json', 'tokenizer.json',
           'dataset_statistics.json', 'model*.safetensors', 'model.safetensors.index.json',
           '*--*.pt', '*--*.safetensors']  # the latter: parts of OpenVLA-OFT
# A training run keeps gigabytes below the folder that is loaded.
_NOT_BELOW = ['*/*']
_COMMIT = re.compile(r'[0-9a-f]{40}')
_REVISION = re.compile(r'(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]*')
_MAIN = 'main'


@dataclass(frozen=True)
class Snapshot:
    """One commit of a repository, as the cache holds it."""

    folder: Path
    commit: str


def check_revision(revision: str | None) -> None:
    """
    Check the form of a revision.

    :raises ParameterError: it cannot be one.
    """
    if revision is not None and not _REVISION.fullmatch(revision):
        raise ParameterError('revision', revision, 'a commit of 40 digits, a branch or a tag')


def find_snapshot(repository: str, revision: str | None = None,
                  may_download: bool = True) -> Snapshot:
    """
    Find a commit in the cache, and download what the cache lacks of it.

    :param repository: hub id ``owner/name``.
    :param revision: commit, branch or tag; None for what the cache has, or else the branch main.
    :param may_download: False to use the cache only.
    :raises CheckpointError: it is not cached completely, and cannot be downloaded.
    """
    # Only here: a folder needs neither the import (0.3 s) nor the network.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id
    check_revision(revision)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise CheckpointError(repository, f'no such folder, and not a hub id: {error}') from None
    cache = _Cache(repository)
    commit = cache.find_commit(revision)
    if commit is not None and cache.is_complete(commit):
        return Snapshot(cache.folder(commit), commit)
    known = commit is not None and cache.folder(commit).is_dir()
    problem = (f'the cached copy of commit {commit} is incomplete: '
               f'{cache.describe_missing(commit or "")}' if known else
               f'no such folder, not in the local cache{_at(revision)}')
    command = f'hf download {repository} --revision {commit or revision or _MAIN}'
    if not may_download:
        raise CheckpointError(repository, f'{problem}; load it once with a connection, or run: '
                                          f'{command}')
    return _download(cache, commit or revision or _MAIN, problem, command)


def _download(cache: '_Cache', revision: str, problem: str, command: str) -> Snapshot:
    from huggingface_hub import snapshot_download
    try:
        with _quiet_client():
            folder = Path(snapshot_download(cache.repository, revision=revision,
                                            allow_patterns=_FILES, ignore_patterns=_NOT_BELOW))
    except Exception as error:  # each HTTP library behind the hub's client has its own errors
        reason = ' '.join((str(error) or repr(error)).split())[:300]
        raise CheckpointError(
            cache.repository, f'{problem}, and not downloadable: {reason}; with a connection load '
            f'it again, or run: {command}') from None
    missing = cache.describe_missing(folder.name)
    if missing:
        # Without a connection the client of the hub gives what it has, and says nothing.
        raise CheckpointError(
            cache.repository, f'the cached copy of commit {folder.name} is incomplete: {missing}; '
            'the hub was not reached, or has no more of it; with a connection load it again, or '
            f'run: {command}')
    _LOG.info('%s: downloaded commit %s', cache.repository, folder.name)
    return Snapshot(folder, folder.name)


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the hub's client from logging each attempt: what it fails of is in one error."""
    logger = logging.getLogger('huggingface_hub')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def missing_files(folder: Path) -> list[str]:
    """Name the files that every checkpoint has and this folder lacks."""
    try:
        if read_json_object(folder / 'config.json').get('model_type') != 'openvla':
            return []  # another kind of model: its reader raises
    except FileError:
        pass
    missing = [name for name in ('config.json', 'tokenizer.json') if not (folder / name).is_file()]
    if not any((folder / name).is_file()
               for name in ('preprocessor_config.json', 'processor_config.json')):
        missing.append('preprocessor_config.json')
    index = folder / 'model.safetensors.index.json'
    if not index.is_file():
        return missing + ([] if (folder / 'model.safetensors').is_file() else
                          ['model.safetensors'])
    try:
        names = read_json_object(index).get('weight_map')
    except FileError:
        return missing  # damaged, which is not missing: its reader raises
    shards = {name for name in names.values() if isinstance(name, str) and '/' not in name} \
        if isinstance(names, dict) else set()
    return missing + sorted(name for name in shards if not (folder / name).is_file())


class _Cache:
    """What the hub's cache on this machine holds of one repository."""

    def __init__(self, repository: str) -> None:
        from huggingface_hub import constants
        self.repository = repository
        self._root = (Path(constants.HF_HUB_CACHE).expanduser()
                      / f'models--{repository.replace("/", "--")}')

    def folder(self, commit: str) -> Path:
        """Return the folder of a commit, which need not be there."""
        return self._root / 'snapshots' / commit

    def find_commit(self, revision: str | None) -> str | None:
        """
        Find which commit a revision stands for here, None if only the hub knows.

        :raises CheckpointError: several commits are cached, and nothing says which one is meant.
        """
        if revision is not None:
            return revision if _COMMIT.fullmatch(revision) else self._ref(revision)
        main = self._ref(_MAIN)
        if main is not None and self.is_complete(main):
            return main
        commits = self._commits()
        complete = [commit for commit in commits if self.is_complete(commit)]
        if len(complete) > 1:
            raise CheckpointError(
                self.repository, f'the cache holds the commits {", ".join(complete)}, and main is '
                'none of them; name one as revision')
        if complete and main is not None:
            _LOG.warning('%s: main of the cache is commit %s, which is not all there; commit %s '
                         'is loaded, as before; name a revision to load another one',
                         self.repository, main, complete[0])
        if complete:
            return complete[0]
        return main or (commits[0] if len(commits) == 1 else None)

    def is_complete(self, commit: str) -> bool:
        """Return whether everything that a checkpoint needs is there."""
        return self.folder(commit).is_dir() and not self.describe_missing(commit)

    def describe_missing(self, commit: str) -> str:
        """Name what the cache lacks of a commit; empty if that is nothing."""
        from huggingface_hub import snapshot_download
        missing = missing_files(self.folder(commit))
        if missing:
            return f'{", ".join(missing)} missing'
        try:
            # Newer clients of the hub know all files of a commit they began to download.
            snapshot_download(self.repository, revision=commit, local_files_only=True,
                              allow_patterns=_NEEDED, ignore_patterns=_NOT_BELOW)
        except OSError as error:  # LocalEntryNotFoundError, and what the disk says
            return ' '.join(str(error).split())[:300]
        return ''

    def _commits(self) -> list[str]:
        folder = self._root / 'snapshots'
        return sorted(path.name for path in folder.iterdir()
                      if _COMMIT.fullmatch(path.name)) if folder.is_dir() else []

    def _ref(self, name: str) -> str | None:
        try:
            commit = read_text(self._root / 'refs' / name, 100).strip()
        except FileError:
            return None
        return commit if _COMMIT.fullmatch(commit) else None


def _at(revision: str | None) -> str:
    return f' at revision {revision}' if revision else ''
