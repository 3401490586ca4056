"""Workdirs that cannot be used: of other versions, not writable."""

import errno
import json
import os
from pathlib import Path

import pytest

from mmnet_jax import __version__
from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.workdir.folder import FORMAT, Workdir
from tests.training.tiny_training import tiny_config


def write_config(workdir, **changes):
    workdir.path.mkdir(exist_ok=True)
    text = {"format": FORMAT, "version": __version__, "config": json.loads(tiny_config().to_json_best_effort())}
    workdir.config_file.write_text(json.dumps(text | changes))


def test_a_config_is_read_as_it_was_written_also_before_formats_were_numbered(tmp_path):
    workdir = Workdir(tmp_path)
    write_config(workdir)
    text = json.loads(workdir.config_file.read_text())
    assert workdir.load_config() == resolve(tiny_config()) and text.pop("format") == FORMAT
    workdir.config_file.write_text(json.dumps(text))
    assert workdir.load_config() == resolve(tiny_config())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": FORMAT + 1}, f"its format is {FORMAT + 1}, not {FORMAT}."),
        ({"config": {"fold": 1, "new_field": 2}}, "unknown config field new_field."),
        ({"config": {"fold": "one"}}, "config field fold must be of type int, but is 'one'."),
        ({"config": {"reading": "ours"}}, "reading must be one of paper, released, but is 'ours'."),
    ],
)
def test_a_workdir_of_a_version_that_does_not_fit_is_refused_by_both_versions(tmp_path, changes, reason):
    workdir = Workdir(tmp_path)
    write_config(workdir, version="9.8.7", **changes)
    with pytest.raises(UserError) as error:
        workdir.load_config()
    written = f"workdir {tmp_path} was written by mmnet_jax 9.8.7 and cannot be read by {__version__}, this one: "
    assert str(error.value) == written + reason


def test_checkpoints_without_a_config_are_not_written_over_and_one_without_its_parts_is_told(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is not a workdir: it has no config\.json"):
        Workdir(tmp_path).resumes(tiny_config())
    for text in ("[]", "{}", "7", "{"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json is not a config of this package"):
            Workdir(tmp_path).load_config()


def test_a_read_only_place_and_a_file_in_the_folders_place_are_told(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    for method in ("mkdir", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(UserError, match=r"workdir .*run cannot be written: Read-only file system\.$"):
                Workdir(tmp_path / "run").lock().__enter__()
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"run is a file, not a folder\.$"):
        Workdir(tmp_path / "run").lock().__enter__()


def test_a_lock_is_free_again_after_its_training(tmp_path):
    workdir = Workdir(tmp_path / "run")
    for _ in range(2):
        with workdir.lock():
            workdir.config_file.write_text("{}")
    assert {path.name for path in workdir.path.iterdir()} == {".lock", "config.json"}
