"""The pretrain command: its flags, and resuming with the same config only."""

import types

import pytest

from mmnet_jax import pretrain
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.errors import UserError
from mmnet_jax.pretraining import loop as pretraining
from tests.pretraining.test_loop import tiny_config, tiny_dataset


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command as a function of config and workdir."""

    def run(config, workdir=tmp_path / "run"):
        monkeypatch.setattr(pretrain, "FLAGS", types.SimpleNamespace(config=config, workdir=workdir and str(workdir)))
        pretrain.main()

    return run


def test_missing_flags_and_configs_without_pretraining_are_refused_and_leave_no_folder(command, tmp_path):
    with pytest.raises(UserError, match=r"--config is missing: .*configs/pretrain_imagenet\.py"):
        command(None)
    with pytest.raises(UserError, match="--workdir is missing"):
        command(tiny_config(), None)
    with pytest.raises(UserError, match=r"pretraining\.dataset is none: set it to crops or imagenet2012"):
        command(tiny_config(dataset="none"))
    config = tiny_config()
    config.model.weights = "w.safetensors"
    with pytest.raises(UserError, match=r"model\.weights names w\.safetensors; "):
        command(config)
    with pytest.raises(UserError, match="holds no prepared imagenet2012; prepare it with: tfds build imagenet2012"):
        command(tiny_config(dataset="imagenet2012", data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "run").exists()


def test_it_resumes_only_with_the_config_it_began_with(command, monkeypatch, capsys):
    def stop(config, workdir, say):
        (workdir.pretraining / "3").mkdir(parents=True)
        raise Stopped("pretraining stopped at step 3 of 8; a checkpoint is saved.")

    monkeypatch.setattr(pretraining, "open_dataset", lambda *choice: tiny_dataset())
    monkeypatch.setattr(pretraining, "pretrain", stop)
    with pytest.raises(SystemExit) as left:
        command(tiny_config())
    assert left.value.code == 130
    with pytest.raises(UserError, match=r"another config \(pretraining\.learning_rate: 0\.1 -> 0\.2\)"):
        command(tiny_config(learning_rate=0.2))

    monkeypatch.setattr(pretraining, "pretrain", lambda config, workdir, say: say(f"resumed {workdir.path.name}"))
    command(tiny_config(log_every=5))
    said = capsys.readouterr().out.splitlines()[-3:]
    file = said[1].removeprefix("pretrained: tiny is in ")
    assert said[0] == "resumed run" and file.endswith("run/backbone.safetensors")
    assert said[2] == f"to use it: --config.model.backbone=tiny --config.model.weights={file}"
