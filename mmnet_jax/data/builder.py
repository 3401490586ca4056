"""The one TFDS builder: it writes the images that a ``DatasetSpec`` lists as records, with an index of all of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing
from mmnet_jax.data.images import decode_upright
from mmnet_jax.data.masks import check_size, count_classes, decode_mask
from mmnet_jax.drawing.images import png_bytes

VERSION = "1.0.0"
"""Version of the record format, part of the prepared folder's path."""


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds one variant of a dataset from its source folder (None: it is generated)."""

    name = "segmentation"
    VERSION = tfds.core.Version(VERSION)
    code_path = None
    """Nothing is downloaded, so no checksums are looked for beside the code; TFDS's own way of finding the code needs
    a package, importlib_resources, that it does not declare."""

    def __init__(self, spec: DatasetSpec, source: Path | None, variant: str, data_dir: Path, say: Say | None) -> None:
        """A builder that puts the records in ``data_dir/name/variant/version``."""
        self.name, self._spec, self._source, self._say = spec.name, spec, source, say
        config = tfds.core.BuilderConfig(name=variant, description=f"{spec.name} {variant}")
        super().__init__(config=config, data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "counts": tfds.features.Tensor(shape=(len(self._spec.class_names),), dtype=np.int64),
        }
        about = {"features": tfds.features.FeaturesDict(features), "metadata": tfds.core.MetadataDict()}
        return tfds.core.DatasetInfo(builder=self, disable_shuffling=True, **about)  # test episodes follow the lists

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        assert self._spec.build is not None
        listings = self._spec.build(self._source, self.builder_config.name)
        self.info.metadata.update(class_names=list(self._spec.class_names), max_side=0, splits={})
        for split, listing in listings.items():
            about = {"wanted": listing.wanted, "without_mask": listing.without_mask}
            self.info.metadata["splits"][split] = {**about, "ids": list(listing.ids), "counts": []}
        return {split: self._generate_examples(split, listing) for split, listing in listings.items() if listing.ids}

    def _generate_examples(self, split: str, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
        metadata = self.info.metadata
        with Progress(f"{self.name} {split}: image", len(listing.ids), "images", self._say) as progress:
            for i, (identity, source) in enumerate(zip(listing.ids, listing.sources, strict=True)):
                example = listing.read(source)
                record, size = make_record(identity, example, len(self._spec.class_names))
                metadata["splits"][split]["counts"].append(pack_counts(record["counts"]))
                metadata["max_side"] = max(metadata["max_side"], *size)
                progress.update(i + 1)
                yield i, record

    def _log_download_bytes(self) -> None:
        """TFDS announces a download here, and there is none."""

    _log_download_done = _log_download_bytes


def make_record(identity: str, example: Example, classes: int) -> tuple[dict[str, Any], tuple[int, int]]:
    """A checked record, and its image's height and width; mask indices are below ``classes``, or 255.

    The image's bytes are kept as they are, unless EXIF says that it is to be turned: then it is encoded anew, upright,
    as PNG. The mask becomes a grey PNG of its indices, since some decoders turn a palette PNG into colours. A
    ``UserError`` names the file that is broken, or the mask that does not fit its image or shows no class.
    """
    image, (pixels, orientation) = example.image, decode_upright(example.image, example.image_name)
    if orientation != 1:
        image = png_bytes(pixels)
    indices = decode_mask(example.mask, example.mask_name)
    check_size(indices.shape, example.mask_name, pixels.shape, example.image_name, orientation)
    counts = count_classes(indices, classes, example.mask_name, example.may_be_empty)
    return {"id": identity, "image": image, "mask": png_bytes(indices), "counts": counts}, pixels.shape[:2]


def pack_counts(counts: Int[np.ndarray, " classes"]) -> list[int]:
    """The classes that are present and their pixels, ``[class, pixels, class, pixels, ...]``, for the index."""
    present = np.flatnonzero(counts)
    return np.stack([present, counts[present]], axis=1).ravel().tolist()


def unpack_counts(packed: Sequence[Sequence[int]], classes: int) -> Int[np.ndarray, "n classes"]:
    """Pixels of every class in every image, from what ``pack_counts`` made of each."""
    counts = np.zeros((len(packed), classes), np.int64)
    for row, pairs in zip(counts, packed, strict=True):
        row[np.asarray(pairs[::2], int)] = pairs[1::2]
    return counts
