"""Records of a prepared dataset: an image, its mask, and the pixels of each class."""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from tensorflow_datasets.proto import tf_example_pb2

from mmnet_jax.data.datasets.spec import Example
from mmnet_jax.data.images import decode_upright
from mmnet_jax.data.masks import check_size, count_classes, decode_mask
from mmnet_jax.drawing.images import png_bytes


def features(classes: int) -> tfds.features.FeaturesDict:
    """The fields of a record of a dataset with ``classes`` classes, the background included."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "counts": tfds.features.Tensor(shape=(classes,), dtype=np.int64),
        }
    )


def serialise(record: Mapping[str, Any], features: tfds.features.FeaturesDict) -> bytes:
    """The bytes of a record, the same in every process; TFDS writes the fields in random order."""
    example = features.serialize_example(features.encode_example(record))
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)


class Records(Sequence[Mapping[str, Any]]):
    """The records of a prepared split, read and parsed on access, three times as fast as by TFDS.

    A record has ``id``, ``image`` and ``mask`` as bytes and ``counts`` as integers.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str) -> None:
        self._raw = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, i: SupportsIndex) -> Mapping[str, Any]:  # type: ignore[override]  # slices are not needed
        index = range(len(self))[i]  # ArrayRecord's error beyond the end is not an IndexError
        fields = tf_example_pb2.Example.FromString(self._raw[index]).features.feature
        record = {name: fields[name].bytes_list.value[0] for name in ("id", "image", "mask")}
        return record | {"counts": np.array(fields["counts"].int64_list.value)}


def make_record(identity: str, example: Example, classes: int) -> tuple[dict[str, Any], tuple[int, int]]:
    """A checked record, and its image's height and width; mask indices are below ``classes``, or 255.

    The image's bytes are kept unless its EXIF orientation turns it: then it is stored upright, as PNG. The mask becomes
    a grey PNG of its indices, since some decoders turn a palette PNG into colours; for an image of one class it holds
    0, 1 and 255, and the counts name the class.

    Raises:
      UserError: naming a broken file, or a mask that does not fit its image or shows no class.
    """
    image, (pixels, orientation) = example.image, decode_upright(example.image, example.image_name)
    if orientation != 1:
        image = png_bytes(pixels)
    indices = example.mask
    if isinstance(indices, bytes):
        indices = decode_mask(indices, example.mask_name)
    check_size(indices.shape, example.mask_name, pixels.shape, example.image_name, orientation)
    own = example.class_id
    counts = count_classes(indices, classes if own is None else 2, example.mask_name, example.may_be_empty)
    if own is not None:
        background, foreground = counts
        counts = np.zeros(classes, np.int64)
        counts[[0, own]] = background, foreground
    return {"id": identity, "image": image, "mask": png_bytes(indices), "counts": counts}, pixels.shape[:2]


def pack_counts(counts: Int[np.ndarray, " classes"]) -> list[int]:
    """The classes present and their pixels as ``[class, pixels, class, pixels, ...]``, for the index."""
    present = np.flatnonzero(counts)
    return np.stack([present, counts[present]], axis=1).ravel().tolist()


def unpack_counts(packed: Sequence[Sequence[int]], classes: int) -> Int[np.ndarray, "n classes"]:
    """Pixels of every class in every image, from the results of ``pack_counts``."""
    counts = np.zeros((len(packed), classes), np.int64)
    for row, pairs in zip(counts, packed, strict=True):
        row[np.asarray(pairs[::2], int)] = pairs[1::2]
    return counts
