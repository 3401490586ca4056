import jax.numpy as jnp
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.workdir.checkpoints import Checkpoints
from tests.training.tiny_training import tiny_config


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    def model(**shapes):
        return {"params": {name: jnp.zeros(shape) for name, shape in shapes.items()}, "batch_stats": {}}

    with Checkpoints(tmp_path, tiny_config()) as checkpoints:
        checkpoints.save_model(3, model(a=3, b=4))
        checkpoints.wait()
        for like, difference in (
            (model(a=3, b=5), r"params/b is \(4,\) there, \(5,\) here"),
            (model(a=3), r"params/b is \(4,\) there, not here"),
            (model(a=3, b=4, c=1), r"params/c is not there, \(1,\) here"),
        ):
            with pytest.raises(UserError, match=rf"/3 does not fit the network of .*, this version: {difference}\.$"):
                checkpoints.restore_model(3, like)
