"""A checkpoint in the authors' format, saved by the PyTorch peer: the ported network gives the peer's logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, load_model
from mmnet_jax.workdir.porting import port_released
from tests.reference import inputs
from tests.weights.test_released import SHAPES

torch = pytest.importorskip("torch")

from tests.models.test_peer import seeded_peer  # noqa: E402

pytestmark = pytest.mark.usefixtures("optimised")

FRACTIONS = (1.0, 0.5, 0.25, 0.125)


def images_and_labels(size, seeds):
    """Images and labels for the peer."""
    images, labels = (np.array([make(seed, size) for seed in seeds]) for make in (inputs.image, inputs.mask))
    return torch.from_numpy(images), torch.from_numpy(labels).long()


@pytest.fixture(scope="module")
def peer():
    """The peer after one training step, which moves its BN statistics, and its optimiser."""
    peer = seeded_peer(flavor="released", bins=FRACTIONS)
    head = [parameter for name, parameter in peer.named_parameters() if not name.startswith("layer")]
    sgd = torch.optim.SGD(head, lr=0.0025, momentum=0.9, weight_decay=1e-4)
    (query, label), (support, mask) = images_and_labels(65, (0, 1)), images_and_labels(65, (2, 3))
    peer(query, support[:, None], mask[:, None], label)["loss"].backward()
    sgd.step()
    name = "layer4.2.bn3.running_mean"
    moved = peer.state_dict()[name].numpy()
    assert np.abs(moved - inputs.tensor(name, moved.shape)).max() > 0.01
    return peer.eval(), sgd


@pytest.fixture(scope="module")
def checkpoint(peer, tmp_path_factory):
    network, sgd = peer
    tensors = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    for name in ("alpha", "beta"):  # layers that the release never calls
        tensors |= {f"module.{name}.weight": torch.ones(256, 256), f"module.{name}.bias": torch.ones(256)}
    shapes = {name.removeprefix("module."): list(tensor.shape) for name, tensor in tensors.items()}
    assert {name: shape for name, shape in shapes.items() if "num_batches" not in name} == SHAPES["released"]
    path = tmp_path_factory.mktemp("authors") / "train_epoch_10.pth"
    torch.save({"epoch": 10, "state_dict": tensors, "optimizer": sgd.state_dict()}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("size", "shots"), [(97, 1), (161, 5), (473, 1)])
def test_logits_are_the_peers(peer, checkpoint, tmp_path, size, shots):
    ported = port_released(checkpoint, tmp_path / "run", {"data.image_size": size, "shots": shots})
    assert ported.epoch == 10
    model, variables, config = load_model(tmp_path / "run", checkpoint=10)
    network, _ = peer
    network.bins = tuple(config.model.bins)
    assert network.bins == ((60, 30, 15, 8) if size == 473 else FRACTIONS)
    (query, label), (support, mask) = images_and_labels(size, [1]), images_and_labels(size, range(10, 10 + shots))
    with torch.no_grad():
        theirs = network(query, support[None], mask[None])["logits"].permute(0, 2, 3, 1).numpy()
    ours = lambda images: jnp.asarray(images.numpy().transpose(0, 2, 3, 1))  # noqa: E731
    episode = Episode(ours(query), ours(support)[None], jnp.asarray(mask)[None], jnp.asarray(label))
    logits = jax.jit(model.apply)(variables, episode).logits
    np.testing.assert_allclose(logits, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
