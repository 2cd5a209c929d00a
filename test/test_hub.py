# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A checkpoint of a hub is loaded from the cache, and its commit changes only on request."""

import copy
import json
import shutil
import subprocess
import sys

from goldens import SPEC
import pytest

from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError

pytest.importorskip('torch')
huggingface_hub = pytest.importorskip('huggingface_hub')

from vla_ros.doctor.checkpoint import check_checkpoint  # noqa: E402, I100
from vla_ros.model.checkpoint import open_checkpoint  # noqa: E402
from vla_ros.util.tiny_checkpoint import write_checkpoint  # noqa: E402
from vla_ros.util.tiny_tokenizer import write_tokenizer  # noqa: E402

OLD, NEW = 'a' * 40, 'b' * 40


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Write a small complete checkpoint."""
    spec = copy.deepcopy(SPEC)
    spec['config']['text_config'].update(vocab_size=1024 + 64, num_hidden_layers=1)
    folder = tmp_path_factory.mktemp('files')
    write_checkpoint(spec, folder)
    write_tokenizer(folder, 256)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Make an empty cache, and switch the hub off."""
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    return tmp_path / 'hub' / 'models--team--robot'


@pytest.fixture
def downloads(monkeypatch, cache, files):
    """Replace downloads by complete commits, main being the newer; return the requested ones."""
    requested = []
    real = huggingface_hub.snapshot_download

    def download(repository, revision=None, local_files_only=False, **settings):
        if local_files_only:
            return real(repository, revision=revision, local_files_only=True, **settings)
        requested.append(revision)
        commit = NEW if revision == 'main' else revision
        folder = cache / 'snapshots' / commit
        shutil.copytree(files, folder, dirs_exist_ok=True)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    return requested


def fill_cache(cache, files, commit, ref='', without=()):
    shutil.copytree(files, cache / 'snapshots' / commit, dirs_exist_ok=True)
    for name in without:
        (cache / 'snapshots' / commit / name).unlink()
    if ref:
        (cache / 'refs').mkdir(exist_ok=True)
        (cache / 'refs' / ref).write_text(commit)


def test_a_cached_checkpoint_is_loaded_without_the_hub(cache, files, downloads):
    fill_cache(cache, files, OLD, 'main')
    for _ in range(2):
        checkpoint = open_checkpoint('team/robot')
        assert (checkpoint.revision, checkpoint.folder) == (OLD, cache / 'snapshots' / OLD)
    assert downloads == []


def test_a_missing_file_that_is_not_needed_causes_no_request_to_the_hub(cache, files, downloads):
    """Newer clients cache the list of files; README.md is in it but is not needed."""
    fill_cache(cache, files, OLD, 'main')
    tree = {path.name: {'size': path.stat().st_size, 'blob_id': '0' * 40}
            for path in files.iterdir()}
    tree['README.md'] = {'size': 1, 'blob_id': '0' * 40}
    (cache / 'trees').mkdir()
    (cache / 'trees' / f'{OLD}.json').write_text(
        json.dumps({'format_version': 1, 'files': tree}))
    assert open_checkpoint('team/robot').revision == OLD
    assert downloads == []


def test_a_newer_commit_is_loaded_only_if_named(cache, files, downloads):
    fill_cache(cache, files, OLD, 'main')
    assert open_checkpoint('team/robot', 'main').revision == OLD
    assert open_checkpoint('team/robot', NEW).revision == NEW
    assert downloads == [NEW]
    # It is cached now, and still loaded only if named.
    assert open_checkpoint('team/robot').revision == OLD
    assert downloads == [NEW]


def test_the_first_download_reports_its_commit(cache, downloads):
    assert open_checkpoint('team/robot').revision == NEW
    assert downloads == ['main']
    # The replaced client has written no ref for main: the only cached commit is loaded.
    assert open_checkpoint('team/robot').revision == NEW
    assert downloads == ['main']


@pytest.mark.parametrize('missing', [['model.safetensors'], ['preprocessor_config.json'],
                                     ['model.safetensors', 'dataset_statistics.json']])
def test_an_incomplete_folder_is_completed_at_its_own_commit(cache, files, downloads, missing):
    fill_cache(cache, files, OLD, 'main', missing)
    assert open_checkpoint('team/robot').revision == OLD
    assert downloads == [OLD]


def test_an_incomplete_folder_that_cannot_be_completed_is_named(cache, files):
    fill_cache(cache, files, OLD, 'main', ['model.safetensors', 'preprocessor_config.json'])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint('team/robot')
    text = str(caught.value)
    assert f'the cached copy of commit {OLD} is incomplete' in text and '\n' not in text
    assert 'preprocessor_config.json, model.safetensors missing' in text
    assert f'hf download team/robot --revision {OLD}' in text


def test_a_newer_incomplete_commit_is_not_used(cache, files, downloads, caplog):
    """Another program has downloaded the tokenizer of a newer main."""
    fill_cache(cache, files, OLD)
    fill_cache(cache, files, NEW, 'main', ['model.safetensors'])
    assert open_checkpoint('team/robot').revision == OLD
    assert downloads == []
    assert f'commit {OLD} is loaded, as before' in caplog.text


def test_several_cached_commits_without_main_need_a_revision(cache, files, downloads):
    fill_cache(cache, files, OLD)
    fill_cache(cache, files, NEW)
    with pytest.raises(CheckpointError, match=f'{OLD}, {NEW}.*name one as revision'):
        open_checkpoint('team/robot')
    assert open_checkpoint('team/robot', OLD).revision == OLD
    assert downloads == []


def test_a_tag_is_looked_up_in_the_cache(cache, files, downloads):
    fill_cache(cache, files, OLD, 'v1.0')
    assert open_checkpoint('team/robot', 'v1.0').revision == OLD
    assert downloads == []


@pytest.mark.parametrize('revision', ['', '../x', 'a b', '/etc/passwd', '-x'])
def test_an_invalid_revision_is_refused(cache, revision):
    with pytest.raises(ParameterError, match='revision'):
        open_checkpoint('team/robot', revision)


def test_a_folder_has_no_revisions(files):
    with pytest.raises(ParameterError, match='has no revisions'):
        open_checkpoint(str(files), OLD)
    assert open_checkpoint(str(files)).revision == ''


def test_the_doctor_checks_the_cached_checkpoint_and_downloads_nothing(cache, files, downloads):
    fill_cache(cache, files, OLD, 'main')
    first, *others = check_checkpoint('team/robot')
    assert OLD in first.line() and {finding.level for finding in others} == {'ok'}
    assert [finding.level for finding in check_checkpoint('team/robot', NEW)] == ['error']
    assert downloads == []


def test_the_doctor_checks_a_checkpoint_without_torch(files):
    script = ("import sys; sys.modules['torch'] = None\n"
              'from vla_ros.doctor.checkpoint import check_checkpoint\n'
              'for finding in check_checkpoint(sys.argv[1]): print(finding.level)')
    done = subprocess.run([sys.executable, '-c', script, str(files)], capture_output=True,
                          text=True, timeout=100)
    assert done.stdout.split() == ['ok'] * 5, done.stdout + done.stderr
