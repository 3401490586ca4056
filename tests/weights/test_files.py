import numpy as np
import pytest
import safetensors.numpy

from mmnet_jax.errors import UserError
from mmnet_jax.weights import sha256
from mmnet_jax.weights.files import read_safetensors, write_safetensors

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(7)}


@pytest.mark.parametrize("metadata", ["[" * 100_000, "7", "{"], ids=["deep", "no table", "no JSON"])
def test_malformed_metadata_is_refused(tmp_path, metadata):
    safetensors.numpy.save_file(TENSORS, tmp_path / "w.safetensors", {"mmnet_jax": metadata})
    with pytest.raises(UserError, match=r"w\.safetensors is truncated"):
        read_safetensors(tmp_path / "w.safetensors")


def test_tensors_and_metadata_are_written_atomically(tmp_path):
    path = tmp_path / "new" / "w.safetensors"
    write_safetensors(path, {"a": TENSORS["a.weight"].T}, {"backbone": "x", "version": "1"})
    tensors, metadata = read_safetensors(path)
    np.testing.assert_array_equal(tensors["a"], TENSORS["a.weight"].T)
    assert metadata == {"backbone": "x", "version": "1"}
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]
    with pytest.raises(UserError, match=r"w\.safetensors/below\.safetensors cannot be written"):
        write_safetensors(path / "below.safetensors", {}, {})


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="does not exist"):
        sha256(tmp_path / "absent")
