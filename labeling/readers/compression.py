"""Gzip and zstd, known by their first bytes, so that a file's name does not matter."""

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

from labeling.readers.raw import Bound

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PARQUET = b"PAR1"
ARROW = (b"ARROW1", b"\xff\xff\xff\xff")
DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a damaged compressed file raises."""


class _Borrowed:
    """The file for an Arrow stream, which would close what it has read."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def close(self) -> None:
        """It is not ours to close."""


class _Unpacked(io.RawIOBase):
    """What a compressed stream unpacks, counted, as an ordinary file."""

    def __init__(self, stream: Any, bound: Bound) -> None:
        self._stream, self._bound = stream, bound

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._bound.add(len(content))
        buffer[: len(content)] = content
        return len(content)


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so may hold many times as much as its size says."""
    return head.startswith((GZIP, ZSTD, PARQUET, *ARROW))


def unpacked(file: BinaryIO, bound: Bound) -> tuple[BinaryIO, str]:
    """The file from its beginning as it is without its compression, and the compression's name ("" for none)."""
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP):
        return _counted(gzip.GzipFile(fileobj=file), bound), "gzip"
    if magic == ZSTD:
        import pyarrow

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(_Borrowed(file), mode="r"), "zstd")
        return _counted(stream, bound), "zstd"
    return file, ""


def _counted(stream: Any, bound: Bound) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, bound), 1 << 16))
