"""Unpacks zip and tar files in memory."""

import gzip
import io
import tarfile
import zipfile

MAX_RATIO = 16  # size of an archive's content over the archive's own; weights hardly compress
MIN_LIMIT = 2**20  # bytes of content that every archive may hold


def unpack(data: bytes) -> dict[str, bytes] | None:
    """The files in a zip, tar or tar.gz archive by path; None if ``data`` is not such an archive.

    Nothing is written to the disk, and links are left out.

    Raises:
      ValueError: it unpacks to far more than weights would, or uses a compression other than deflate.
      zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError: it is damaged or
        encrypted.
    """
    limit = max(MAX_RATIO * len(data), MIN_LIMIT)
    if data.startswith(b"PK\x03\x04"):
        return _unzip(data, limit)
    if data.startswith(b"\x1f\x8b"):
        data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"it unpacks to more than {limit:,} bytes")
    return _untar(data) if data[257:262] == b"ustar" else None


def _unzip(data: bytes, limit: int) -> dict[str, bytes]:
    files = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > limit:
            raise ValueError(f"it unpacks to more than {limit:,} bytes")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it uses a compression other than deflate")  # with no bound on what Python unpacks
            if member.CRC == 0:
                del member.CRC  # torch.save has an option to write none
            with archive.open(member) as file:
                files[member.filename] = file.read(member.file_size)  # bounded by the size that the archive declares
    return files


def _untar(data: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.size < 0:  # Python would read the same header forever
                raise ValueError("it holds a file of negative size")
            if member.isreg() and not member.issparse() and (file := archive.extractfile(member)):
                files[member.name] = file.read()
    return files
