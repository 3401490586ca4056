"""The selection of activation maps, and scored labels, worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.episode import Prediction
from mmnet_jax.evaluation import outputs
from mmnet_jax.evaluation.outputs import Scoring, scored_labels
from mmnet_jax.models.heads.mmnet import MMNetPrediction

top_activations = jax.jit(outputs.top_activations)


def prediction_of(support, query):
    """A prediction for one episode with these activations in (0, 1): [k, h, w, n] and [h, w, n]."""
    logits = jax.scipy.special.logit(jnp.asarray(support, jnp.float32))[None]
    return MMNetPrediction(None, activations=jnp.asarray(query, jnp.float32)[None], support_memory_logits=(logits,))


def test_embeddings_are_ranked_by_their_activation_on_the_foreground():
    label = jnp.array([[[[1, 1], [0, 255]]]])
    # an embedding a row, the four pixels: foreground twice, background, unknown
    support = np.array(
        [
            [0.5, 0.5, 0.5, 0.9],  # 0
            [0.9, 0.7, 0.2, 0.9],  # 0.6
            [0.1, 0.1, 0.8, 0.1],  # -0.7
            [0.4, 0.8, 0.3, 0.1],  # 0.3
            [0.9, 0.9, 0.1, 0.9],  # 0.8
        ]
    )
    query = np.arange(20.0).reshape(2, 2, 5)
    maps, embeddings = top_activations(prediction_of(support.T.reshape(1, 2, 2, 5), query), label)
    assert embeddings.tolist() == [[4, 1, 3]]
    np.testing.assert_array_equal(maps[0], [query[..., n] for n in (4, 1, 3)])


def test_ranking_pools_all_shots_and_a_small_memory_is_shown_whole():
    labels = jnp.array([[[[1, 0], [0, 0]], [[1, 1], [1, 0]]]])
    first = np.array([[0.2, 0.8], [0.4, 0.1], [0.4, 0.1], [0.4, 0.1]])
    second = np.array([[0.9, 0.2], [0.9, 0.2], [0.9, 0.2], [0.3, 0.4]])
    # foreground 0.725 and 0.35 over four pixels, background 0.375 and 0.175
    support = np.stack([first, second]).reshape(2, 2, 2, 2)
    maps, embeddings = top_activations(prediction_of(support, np.zeros((2, 2, 2))), labels)
    assert embeddings.tolist() == [[0, 1]] and maps.shape == (1, 2, 2, 2)
    # of the first shot alone it would be the second
    _, embeddings = top_activations(prediction_of(support[:1], np.zeros((2, 2, 2))), labels[:, :1])
    assert embeddings.tolist() == [[1, 0]]


def test_no_memory_gives_no_maps_and_a_second_memory_continues_the_indices():
    for prediction in (Prediction(jnp.zeros((2, 9, 9, 2))), MMNetPrediction(jnp.zeros((2, 9, 9, 2)))):
        maps, embeddings = top_activations(prediction, jnp.ones((2, 1, 9, 9), int))
        assert maps.shape[:2] == embeddings.shape == (2, 0)
    label = jnp.array([[[[1, 1], [0, 0]]]])
    first = jnp.full((1, 1, 2, 2, 3), 0.0)
    second = first.at[..., 1].set(jnp.array([[2.0, 2.0], [-2.0, -2.0]]))
    query = jnp.arange(24.0).reshape(1, 2, 2, 6)
    prediction = MMNetPrediction(None, activations=query, support_memory_logits=(first, second))
    maps, embeddings = top_activations(prediction, label)
    assert embeddings[0, 0] == 4
    np.testing.assert_array_equal(maps[0, 0], query[0, ..., 4])


def test_ignored_pixels_count_as_background_where_the_protocol_says_so_and_padding_never_does():
    labels = jnp.array([[[1, 255, 255], [0, 1, 255], [255, 255, 255]]], jnp.uint8)
    sizes = jnp.array([[2, 2]])
    for scoring, expected in [
        (Scoring(), [[1, 255, 255], [0, 1, 255], [255, 255, 255]]),
        (Scoring(ignored_is_background=True), [[1, 0, 255], [0, 1, 255], [255, 255, 255]]),
        (Scoring(side=4), [[1, 1, 255, 255], [1, 1, 255, 255], [0, 0, 1, 1], [0, 0, 1, 1]]),
        (Scoring(4, True), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]),
    ]:
        scored, own = jax.jit(scored_labels, static_argnums=2)(labels, sizes, scoring)
        assert scored.tolist() == [expected]
        assert own.tolist() == [[scoring.side or 2] * 2]
