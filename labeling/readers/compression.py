"""Gzip and zstd, known by their first bytes, so that a file's name does not matter."""

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
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
    """What an Arrow stream unpacks, as an ordinary file."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def unpacked(file: BinaryIO) -> tuple[BinaryIO, str]:
    """The file from its beginning as it is without its compression, and the compression's name ("" for none)."""
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file)), "gzip"
    if magic == ZSTD:
        import pyarrow

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(_Borrowed(file), mode="r"), "zstd")
        return cast(BinaryIO, io.BufferedReader(_Unpacked(stream), 1 << 16)), "zstd"
    return file, ""
