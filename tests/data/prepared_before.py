"""A dataset as the versions before shards prepared it: by TFDS's own builder, without checksums."""

from pathlib import Path

import tensorflow_datasets as tfds

from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.records import features, make_record, pack_counts


class Before(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The builder of those versions, without its messages."""

    name = "pascal5i"
    VERSION = tfds.core.Version("1.0.0")
    code_path = None

    def __init__(self, source: Path, data_dir: Path, variant: str) -> None:
        self._source = source
        config = tfds.core.BuilderConfig(name=variant, description=f"pascal5i {variant}")
        super().__init__(config=config, data_dir=data_dir, file_format="array_record")

    def _info(self):
        about = {"features": features(21), "metadata": tfds.core.MetadataDict()}
        return tfds.core.DatasetInfo(builder=self, disable_shuffling=True, **about)

    def _split_generators(self, dl_manager):
        spec = DATASETS["pascal5i"]
        self.info.metadata.update(class_names=list(spec.class_names), max_side=0, splits={})
        listings = spec.build(self._source, self.builder_config.name)
        for split, listing in listings.items():
            about = {"wanted": listing.wanted, "without_mask": listing.without_mask}
            self.info.metadata["splits"][split] = {**about, "ids": list(listing.ids), "counts": []}
        return {split: self._generate_examples(split, listing) for split, listing in listings.items()}

    def _generate_examples(self, split, listing):
        for i, (identity, source) in enumerate(zip(listing.ids, listing.sources, strict=True)):
            record, size = make_record(identity, listing.read(source), 21)
            self.info.metadata["splits"][split]["counts"].append(pack_counts(record["counts"]))
            self.info.metadata["max_side"] = max(self.info.metadata["max_side"], *size)
            yield i, record


def prepare_before(source: Path, data_dir: Path, variant: str) -> Path:
    tfds.disable_progress_bar()
    Before(source, data_dir, variant).download_and_prepare()
    return data_dir / "pascal5i" / variant / "1.0.0"
