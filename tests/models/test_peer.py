"""The network, its training mode and its optimiser against PyTorch (tests/reference/mmnet_torch.py)."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, get_config, losses, weights
from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.models import backbones
from mmnet_jax.models.backbones import ResNet
from mmnet_jax.models.registry import build_model
from tests.tiny import no_dropout, training_step

torch = pytest.importorskip("torch")

from tests.reference import inputs  # noqa: E402
from tests.reference.mmnet_torch import MMNet as Peer  # noqa: E402

SIZE, CHANNELS = 33, 24
BINS = (1.0, 0.5, 0.25)
DEPTHS = (1, 1, 1, 1)


@pytest.fixture(autouse=True)
def short_backbone(monkeypatch):
    """One block for each stage in both networks, because the head and its training are compared."""
    short = partial(ResNet, depths=DEPTHS, deep_stem=True)
    monkeypatch.setitem(backbones.BACKBONES, "resnet50_v2", short)


@cache
def batch(shots):
    """Two episodes with unequal ignored areas, as PyTorch's arrays and as ours."""
    seeds = [[10 * b + k for k in range(1 + shots)] for b in range(2)]
    images, labels = (
        np.array([[make(seed, SIZE) for seed in row] for row in seeds]) for make in (inputs.image, inputs.mask)
    )
    labels[1, 0, 15:] = 255
    theirs = torch.from_numpy(images), torch.from_numpy(labels).long()
    ours = jnp.asarray(images.transpose(0, 1, 3, 4, 2)), jnp.asarray(labels)
    episode = Episode(ours[0][:, 0], ours[0][:, 1:], ours[1][:, 1:], ours[1][:, 0])
    return (theirs[0][:, 0], theirs[0][:, 1:], theirs[1][:, 1:], theirs[1][:, 0]), episode


def seeded_peer(**options):
    """The peer with the tensors of tests/reference/inputs.py in its backbone."""
    torch.manual_seed(0)
    peer = Peer(deep=True, **options)
    with torch.no_grad():
        for name, value in peer.state_dict().items():
            if name.startswith("layer") and value.is_floating_point():
                value.copy_(torch.from_numpy(inputs.tensor(name, tuple(value.shape))))
        peer.part_emb_2_level.mul_(0.15)
    return peer


def pair(reading, batch_norm="frozen", shots=1):
    peer = seeded_peer(flavor=reading, bins=BINS, d=CHANNELS, blocks=DEPTHS)
    for module in peer.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    config = get_config(reading)
    config.model.update(backbone="resnet50_v2", bins=BINS, channels=CHANNELS, batch_norm=batch_norm, dropout=0.0)
    config.data.image_size, config.shots = SIZE, shots
    config = resolve(config)
    tensors = {name: value.numpy().copy() for name, value in peer.state_dict().items()}
    return peer, config, build_model(network_settings(config)), weights.from_released(tensors, config)


def close(ours, theirs, tolerance=1e-4, name=""):
    theirs = np.asarray(theirs.detach() if hasattr(theirs, "detach") else theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["paper", "released"])
def test_training_for_20_steps_ends_at_the_same_parameters(reading):
    peer, config, model, variables = pair(reading)
    (x, sx, sy, y), episode = batch(1)
    peer.eval()  # batch normalisation on running statistics; there is no dropout
    trained = [p for name, p in peer.named_parameters() if not name.startswith("layer")]
    descent = torch.optim.SGD(trained, lr=1.0, momentum=0.9, weight_decay=1e-4)
    steps = 20
    for i in range(steps):
        for group in descent.param_groups:
            group["lr"] = 0.025 * (1 - (i + 1) / steps) ** 0.9
        descent.zero_grad()
        loss = peer(x, sx, sy, y)["loss"]
        loss.backward()
        descent.step()

    state, update = training_step(config, model, variables, steps)
    first = None
    for _ in range(steps):
        state, terms = update(state, variables, episode, jax.random.key(0))
        first = first or float(terms.total)
    assert float(terms.total) < first - 0.1  # it did train
    close(terms.total, loss, 1e-4)
    expected = weights.from_released({n: v.numpy() for n, v in peer.state_dict().items()}, config)["params"]
    for (path, ours), theirs, before in zip(
        jax.tree_util.tree_leaves_with_path(state.params),
        jax.tree.leaves(expected),
        jax.tree.leaves(variables["params"]),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4, err_msg=str(path))
        apart, moved = np.linalg.norm(ours - theirs), np.linalg.norm(theirs - before)
        assert apart < 1e-4 * np.linalg.norm(theirs) and apart < 5e-3 * moved, path


def test_the_released_training_mode_normalises_by_batch_and_updates_running_statistics():
    peer, config, model, variables = pair("released", batch_norm="batch", shots=2)
    (x, sx, sy, y), episode = batch(2)
    peer.train()
    theirs = peer(x, sx, sy, y)

    @jax.jit
    def run(variables):
        prediction, changed = model.apply(
            variables, episode, train=True, rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"]
        )
        return losses.episode_losses(prediction, episode, config), prediction, changed

    terms, prediction, changed = no_dropout(run)(variables)
    close(prediction.confidence, theirs["conf"], 1e-3)
    close(prediction.logits, theirs["logits"].permute(0, 2, 3, 1), 1e-3)
    close(terms.total, theirs["loss"], 1e-4)
    expected = weights.from_released({n: v.numpy() for n, v in peer.state_dict().items()}, config)["batch_stats"]
    jax.tree_util.tree_map_with_path(lambda path, a, b: close(a, b, 1e-4, str(path)), changed["batch_stats"], expected)
