"""Predicted masks, one an episode: as PNG files, which ``mmnet_jax.score`` reads, or packed in memory."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.storage.files import whole_folder

SaveMask = Callable[[int, Bool[np.ndarray, "h w"]], None]
"""Takes an episode's number and its mask in the scoring space, True where foreground is predicted."""


def mask_names(seeds: Sequence[int], per_seed: int) -> list[str]:
    """Each episode's file: ``000000.png`` on, or ``seed510/000000.png`` and so on where there are several seeds."""
    folders = [f"seed{seed}/" for seed in seeds] if len(seeds) > 1 else [""]
    return [f"{folder}{number:06d}.png" for folder in folders for number in range(per_seed)]


class PackedMasks:
    """Masks in memory, packed and compressed: about 2 KB each, in 0.1 ms."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[tuple[int, ...], bytes]] = {}

    def save(self, episode: int, mask: Bool[np.ndarray, "h w"]) -> None:
        """Keeps the mask of an episode; a ``SaveMask``."""
        self._packed[episode] = mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1)

    def read(self, episode: int) -> Bool[np.ndarray, "h w"]:
        """The mask of an episode."""
        shape, packed = self._packed[episode]
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=shape[0] * shape[1])
        return bits.reshape(shape).astype(bool)


@contextmanager
def saved_masks(folder: Path, seeds: Sequence[int], per_seed: int) -> Iterator[SaveMask]:
    """Gives a function that writes a mask to its file in ``folder``: 255 is foreground, 0 background.

    The folder appears when all is written, or not at all.
    """
    names = mask_names(seeds, per_seed)
    with whole_folder(folder) as made:
        for place in {(made / name).parent for name in names}:
            place.mkdir(parents=True)

        def save(episode: int, mask: Bool[np.ndarray, "h w"]) -> None:
            (made / names[episode]).write_bytes(png_bytes(np.where(mask, 255, 0).astype(np.uint8), compress_level=1))

        yield save
