"""Malicious weight files, which run code, take memory or crash the process elsewhere, are refused in a sentence."""

import gzip
import io
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.weights import read_state_dict
from mmnet_jax.weights.pytorch import STREAM, VERSION

LIMIT = 32 * 2**20  # bytes that reading one of these files may take
DEEP = 30_000  # levels of a nested tuple: hashing 200,000 overflows the stack, so that fewer are allowed


# opcodes of a pickle as bytes
def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def named(name):
    return b"c%s\n%s\n" % tuple(part.encode() for part in name.rsplit(".", 1))


def several(*items):
    return b"(" + b"".join(items) + b"t"


def called(name, *arguments):
    return named(name) + several(*arguments) + b"R"


def table(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def whole(content):
    return b"\x80\x02" + content + b"."


def storage(key="0", size=4, kind="torch.FloatStorage", view=b""):
    return several(text("storage"), named(kind), text(key), text("cpu"), number(size), view) + b"Q"


def tensor(source=None, offset=0, size=(4,), stride=(1,)):
    sides = (several(*map(number, sides)) for sides in (size, stride))
    return called("torch._utils._rebuild_tensor_v2", source or storage(), number(offset), *sides, b"\x89", b"}")


def as_zip(content, **records):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in ({"data.pkl": whole(content), "data/0": bytes(16)} | records).items():
            file.writestr(f"w/{name}", data)
    return buffer.getvalue()


def as_stream(content, keys=("0",), sizes=(4,)):
    parts = [STREAM, VERSION, {"little_endian": True}]
    stored = b"".join(struct.pack("<q", size) + bytes(16) for size in sizes)
    return b"".join(pickle.dumps(part, 2) for part in parts) + whole(content) + pickle.dumps(list(keys), 2) + stored


FORMATS = (as_zip, as_stream, whole)


def refusal(path, data):
    """The message that refuses ``data``, after a check that reading took at most ``LIMIT``."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            read_state_dict(path)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()
    sentence = str(error.value)
    assert sentence.startswith(f"weight file {path}") and "\n" not in sentence
    return sentence


def test_valid_files_of_these_builders_are_read(tmp_path):
    for write in (as_zip, as_stream):
        (tmp_path / "w.pth").write_bytes(write(table(a=tensor(), b=tensor(size=(2, 2), stride=(2, 1)))))
        tensors = read_state_dict(tmp_path / "w.pth")
        assert {name: array.shape for name, array in tensors.items()} == {"a": (4,), "b": (2, 2)}
    (tmp_path / "w.ckpt").write_bytes(whole(table(a=array((2, 2), data=np.arange(4, dtype="<f4").tobytes()))))
    np.testing.assert_array_equal(read_state_dict(tmp_path / "w.ckpt")["a"], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    "name",
    [
        *("builtins.eval", "builtins.getattr", "__builtin__.print", "os.system", "subprocess.Popen", "torch.load"),
        *("torch._utils", "numpy.load", "numpy.core.multiarray.scalar", "collections.OrderedDict.fromkeys"),
    ],
)
def test_names_outside_the_allow_list_are_refused(tmp_path, name):
    for write in FORMATS:
        message = refusal(tmp_path / "w.pth", write(table(a=called(name, text("echo")))))
        unsafe = f"which is unsafe to read ({name}); save its state_dict alone."
        assert message.endswith(f"holds more than tensors, {unsafe}")


def test_the_allow_list_is_that_of_the_format(tmp_path):
    for name in ("torch.FloatStorage", "torch._utils._rebuild_tensor_v2"):
        assert f"({name})" in refusal(tmp_path / "w.ckpt", whole(named(name)))
    assert "(numpy.dtype)" in refusal(tmp_path / "w.pth", as_zip(named("numpy.dtype")))
    assert len(refusal(tmp_path / "w.pth", whole(named("os." + "x" * 10_000)))) < 500


@pytest.mark.parametrize(
    "opcode",
    [
        b"(}b",  # BUILD of nothing
        b"\x81",  # NEWOBJ
        b"\x82\x01",  # EXT1
        b"\x8e" + b"\xff" * 7 + b"\x7f",  # BINBYTES8 of 2**63 bytes
        b"B\xff\xff\xff\xff",  # BINBYTES of 4 GB
        b"X\xff\xff\xff\xff",  # BINUNICODE of 4 GB
        b"}r\xff\xff\xff\xffr\xff\xff\xff\x7fh\x00",  # a memo index for which Python allocates 32 GB
        b"R",
        b"Q",
    ],
)
def test_unknown_opcodes_and_sizes_beyond_the_file_are_refused(tmp_path, opcode):
    for write in FORMATS:
        assert "is truncated or not a weight file" in refusal(tmp_path / "w.pth", write(opcode))


@pytest.mark.parametrize(
    "content",
    [
        b"}" + b")" + b"\x85" * DEEP + b"Ns",  # a nested tuple as a key
        called("collections.OrderedDict", b"](" + several(b")" + b"\x85" * DEEP, b"N") + b"e"),
        b")q\x000" + b"h\x00h\x00\x86q\x000" * 60 + b"}h\x00Ns",  # a key whose hash takes 2**60 steps
        b"]" * 4_000 + b"a" * 3_999,
        (b"}" + text("a")) * 4_000 + b"N" + b"s" * 4_000,
        b"}" + text("a" * 2**16) + b"q\x01" + b"}h\x01" * 2_000 + b"N" + b"s" * 2_001,  # names of up to 131 MB
        b"}q\x00" + text("a") + b"h\x00s",  # a dict within itself
        b"}" + b"".join(b"q%c}(" % i + b"".join(text(k) + b"h%c" % i for k in "ab") + b"u" for i in range(40)),
    ],
    ids=["key", "argument", "shared key", "lists", "dicts", "names", "itself", "doubling"],
)
def test_deep_and_recursive_nesting_is_refused(tmp_path, content):
    for write in (as_zip, whole):
        refusal(tmp_path / "w.pth", write(content))


@pytest.mark.parametrize(
    "content",
    [
        tensor(offset=1),
        tensor(offset=-1),
        tensor(size=(5,)),
        tensor(size=(-1,)),
        tensor(size=(4,), stride=(2,)),
        tensor(size=(2, 2)),
        tensor(size=(2**62, 2**62), stride=(0, 0)),
        tensor(storage(size=2**40)),
        tensor(storage(size=-1)),
        tensor(storage(kind="torch.DoubleStorage")),
        tensor(storage(key="../../etc/passwd")),
        tensor(storage(view=several(text("1"), number(0), number(4)))),
        tensor(tensor(size=(4,), stride=(0,)), size=(4,)),  # a view of a view, beyond the storage
        several(tensor(), tensor(storage(kind="torch.IntStorage"))),
        called("torch._utils._rebuild_tensor_v2", storage(), text("0"), several(text("4")), several(text("1"))),
        storage() + b"}b",
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, content):
    for write in (as_zip, as_stream):
        assert "is truncated or not a weight file" in refusal(tmp_path / "w.pth", write(table(a=content)))


def test_classes_and_functions_of_the_allow_list_cannot_be_changed(tmp_path):
    for name in ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2"):
        for state in (table(x=b"N"), several(b"N", table(x=b"N"))):
            for write in (as_zip, as_stream):
                content = table(a=named(name) + state + b"b")
                assert "is truncated or not a weight file" in refusal(tmp_path / "w.pth", write(content))


def test_tensors_that_share_a_storage_are_not_copied_without_bound(tmp_path):
    half = tensor(storage(size=2**16, kind="torch.HalfStorage"), size=(2**16,))
    data = as_zip(table(**{f"t{i}": half for i in range(1000)}), **{"data/0": bytes(2**17)})
    assert "share their storage too often" in refusal(tmp_path / "w.pth", data)


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [((), ()), (("1",), (4,)), (("0", "0"), (4, 4)), (("0",), (2**62,)), (("0",), (-1,)), (("0",), (3,)), ((0,), (4,))],
)
def test_a_stream_with_storages_that_do_not_fit_its_tensors_is_refused(tmp_path, keys, sizes):
    assert "is truncated or not a weight file" in refusal(tmp_path / "w.pth", as_stream(table(a=tensor()), keys, sizes))


def array(shape, dtype="f4", data=b""):
    state = (number(3), text("<"), *[b"N"] * 3, number(-1), number(-1), number(0))
    described = called("numpy.dtype", text(dtype), b"\x89", b"\x88") + several(*state) + b"b"
    made = called("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), several(number(0)), b"C\x01b")
    content = b"B" + struct.pack("<I", len(data)) + data
    return made + several(number(1), several(*map(number, shape)), described, b"\x89", content) + b"b"


@pytest.mark.parametrize(
    "content",
    [
        array((2**40,)),
        array((2,), data=bytes(12)),
        array((2**32, 2**32), data=b""),
        array((1,), dtype="O8", data=bytes(8)),
        array((1,), dtype="f4,O", data=bytes(12)),
        named("numpy.ndarray") + several(number(2**40)) + b"R",
        array((1,), data=bytes(4)) + b"q\x00" + several(b"h\x00", b"h\x00"),
    ],
)
def test_an_array_that_does_not_fit_its_content_is_refused(tmp_path, content):
    assert "is truncated or not a weight file" in refusal(tmp_path / "w.ckpt", whole(table(a=content)))


def zipped(name, data, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name, data)
    return buffer.getvalue()


def tarred(**changes):
    """A tar file of one weight file with a changed header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as file:
        member = tarfile.TarInfo("w.pth")
        member.size = 16
        for name, value in changes.items():
            setattr(member, name, value)
        file.addfile(member)
        buffer.write(bytes(1024))
    return buffer.getvalue()


BIG = bytes(64 * 2**20)
ENTRY = b"PK\x01\x02\x14\x03\x14\x00\x00"  # begins a zip file's directory; the last byte is the encryption flag


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("w.whl", lambda: zipped("w.pth", BIG), "it unpacks to more than 1,048,576 bytes"),
        ("w.whl", lambda: zipped("w.pth", b"a", zipfile.ZIP_LZMA), "it uses a compression other than deflate"),
        ("w.whl", lambda: zipped("w.pth", BIG).replace(struct.pack("<I", len(BIG)), struct.pack("<I", 9)), "Bad CRC"),
        ("w.whl", lambda: zipped("w.pth", b"a").replace(ENTRY, ENTRY[:-1] + b"\x01"), "encrypted"),
        ("w.tar.gz", lambda: gzip.compress(BIG), "it unpacks to more than 1,048,576 bytes"),
        ("w.tar.gz", lambda: gzip.compress(tarred())[:-20], "Compressed file ended"),
        ("w.tar", lambda: tarred(size=2**40), "unexpected end of data"),
        ("w.tar", lambda: tarred(size=-1024), "negative"),
    ],
)
def test_an_archive_bomb_or_a_damaged_archive_is_refused(tmp_path, name, data, reason):
    assert reason in refusal(tmp_path / name, data())


def test_links_and_devices_in_a_tar_are_left_out(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        (tmp_path / "w.tar").write_bytes(tarred(type=kind, linkname="/etc/passwd", size=0))
        with pytest.raises(UserError, match=r"w\.tar holds no PyTorch file or pickle"):
            read_state_dict(tmp_path / "w.tar")


def test_reading_an_archive_writes_nothing(tmp_path):
    archive = tmp_path / "inner" / "most" / "w.zip"
    archive.parent.mkdir(parents=True)
    for name in ("../../w.pth", "/w.pth", "C:\\w.pth"):
        archive.write_bytes(zipped(name, whole(table(a=array((1,), data=bytes(4))))))
        assert list(read_state_dict(archive)) == ["a"]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


def test_a_nested_archive_is_refused(tmp_path):
    (tmp_path / "w.zip").write_bytes(zipped("w.tar", zipped("w.pth", b"a")))
    with pytest.raises(UserError, match=r"^weight file w\.tar in .*zip is .* \(it is an archive inside an archive"):
        read_state_dict(tmp_path / "w.zip")
