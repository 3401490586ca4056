"""Predicted masks, one for each episode: as PNG files, which ``mmnet_jax.score`` reads, or packed in memory."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.storage.files import atomic_folder

SaveMask = Callable[[int, Bool[np.ndarray, "h w"]], None]
"""Takes an episode's number and its mask at the scored size, True where foreground is predicted."""


def mask_names(seeds: Sequence[int], per_seed: int) -> list[str]:
    """The file of each episode: ``000000.png`` and so on; with several seeds ``seed510/000000.png`` and so on."""
    folders = [f"seed{seed}/" for seed in seeds] if len(seeds) > 1 else [""]
    return [f"{folder}{number:06d}.png" for folder in folders for number in range(per_seed)]


def pack_mask(mask: Bool[np.ndarray, "h w"]) -> tuple[tuple[int, ...], bytes]:
    """Shape and compressed pixels of a mask: about 2 KB, in 0.1 ms."""
    return mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1)


def unpack_mask(shape: tuple[int, ...], packed: bytes) -> Bool[np.ndarray, "h w"]:
    """The mask that ``pack_mask`` packed."""
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)


@contextmanager
def saved_masks(folder: Path, seeds: Sequence[int], per_seed: int) -> Iterator[SaveMask]:
    """Yields a function that writes a mask to its file in ``folder``: 255 is foreground, 0 background.

    The folder appears when all masks are written, or not at all.
    """
    names = mask_names(seeds, per_seed)
    with atomic_folder(folder) as made:
        for place in {(made / name).parent for name in names}:
            place.mkdir(parents=True)

        def save(episode: int, mask: Bool[np.ndarray, "h w"]) -> None:
            (made / names[episode]).write_bytes(png_bytes(np.where(mask, 255, 0).astype(np.uint8), compress_level=1))

        yield save
