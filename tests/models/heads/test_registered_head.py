"""A head that is added to the registry, with its own map and loss, is trained and evaluated without other changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jaxtyping import Array

from mmnet_jax import create_model, ops
from mmnet_jax.episode import Prediction
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.models.heads import HEADS
from mmnet_jax.models.heads.spec import HeadSpec
from mmnet_jax.models.layers import Classifier, convolution
from mmnet_jax.models.network import FewShotNetwork
from tests.tiny import draw_episode, training_step
from tests.training.tiny_training import tiny_config, tiny_dataset


@struct.dataclass
class PrototypePrediction(Prediction):
    similarity: Array | None = None

    def own_losses(self, objective):
        return {"sparsity": (0.5, jnp.mean(self.similarity**2))}


class PrototypeHead(FewShotNetwork):
    """Classifies the query's features times the prototype, without decoder, memory or confidence map."""

    def setup(self):
        self.projection = convolution(self.channels, 1)
        self.classifier = Classifier(self.channels)

    def encode(self, mid, role, train):
        return self.projection(mid)

    def support_state(self, encoded, high, mask):
        return {"prototype": ops.masked_average(encoded, mask)}

    def match(self, query, query_high, state):
        return query * state["prototype"].mean(axis=1)[:, None, None]

    def predict(self, query, state, matched, size, train):
        logits = ops.resize_bilinear(self.classifier(matched, train), size)
        return PrototypePrediction(logits, similarity=matched.sum(axis=-1))


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(HEADS, "prototype", HeadSpec("Prototype", lambda settings, shared: PrototypeHead(**shared)))
    config = tiny_config()
    config.model.network, config.loss.reconstruction_on = "prototype", "none"
    return config


def test_it_is_trained_and_evaluated(config):
    model, variables = create_model(config)
    state, update = training_step(config, model, variables)
    after, losses = update(state, variables, draw_episode(2, 1, config.data.image_size), jax.random.key(0))
    assert losses.by_name().keys() == {"main", "auxiliary", "sparsity", "total"}
    np.testing.assert_allclose(losses.total, losses.main + 0.5 * losses.own["sparsity"], rtol=1e-6)
    for before, now in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(before, now)
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config, episodes=4)
    result = evaluate(model, variables, config, dataset, manifest, baselines=True, samples=1)
    assert 0 <= result.scores.miou <= 100 and set(result.baselines) == {"untrained"}


def test_fields_of_other_heads_are_refused(config):
    config.model.nodes = "features"
    with pytest.raises(UserError, match=r"^model\.nodes has no effect with model\.network = prototype; leave it"):
        create_model(config)
