"""Text files opened, unpacked and decoded, in blocks of whole lines. A line that is not UTF-8 costs itself only."""

import bz2
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from journeys_dagster.errors import JourneysError

BLOCK_BYTES = 16 << 20
BAD_LINE = "\0\ufffebad line "
"""Stands for a line that is not UTF-8 text while records are put together; no text file holds it."""
NOT_UTF8 = "the line is not UTF-8 text"
_bad_line_numbers = itertools.count()
_HEAD_BYTES = 64 << 10
_BEGINNING = 64
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
_OTHER_FORMATS = {
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"ARROW1": "Arrow",
    b"FEA1": "Feather",
    b"PK\x03\x04": "zip or Excel",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"SEQ\x06": "a Hadoop sequence file",
    b"SQLite format 3": "SQLite",
    b"\x89HDF": "HDF5",
    b"PAR1": "Parquet inside another file",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
UNPACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What libraries raise where a packed file is damaged, beside `OSError`."""


class UnreadableFileError(JourneysError, carries_user_text=False):
    """A landing file that cannot be opened or decoded; the message says why."""


@dataclass
class Block:
    """Whole lines of a file.

    Attributes
    ----------
    text : str
    bad_lines : dict of str to str
        Lines that are not UTF-8 text, with signs in place of their bytes, by what stands for them in `text`.
    """

    text: str
    bad_lines: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The lines with their ends, of whatever kind."""
        return list(io.StringIO(self.text, newline=""))


def read_head(path: Path) -> tuple[bytes, bool]:
    """The file's first bytes, and whether they are UTF-16.

    Raises
    ------
    UnreadableFileError
        They are those of another format.
    """
    with _opened(path) as file:
        head = file.read(_HEAD_BYTES)
    for magic, name in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnreadableFileError(f"its format ({name}) is not read; write Parquet, CSV or NDJSON")
    is_utf16 = head.startswith(_UTF16)
    # At the end they are what a power cut leaves.
    if not is_utf16 and head[:_BEGINNING].count(b"\0") > _BEGINNING // 8:
        raise UnreadableFileError("it is no text in UTF-8, and of no format that is read; write Parquet, CSV or NDJSON")
    return head, is_utf16


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where they are packed."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        packing = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
        if packing == "zstd":
            file = stack.enter_context(pa.CompressedInputStream(file, "zstd"))
        elif packing is not None:
            file = stack.enter_context({"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}[packing](file))
        yield file


def read_blocks(path: Path) -> Iterator[Block]:
    """The file's text in blocks of whole lines."""
    with _opened(path) as file:
        rest, is_first = b"", True
        while content := file.read(BLOCK_BYTES):
            content = rest + content
            if is_first and content.startswith(_UTF16):
                yield _of_utf16(content + file.read())
                return
            if is_first:
                content, is_first = content.removeprefix(b"\xef\xbb\xbf"), False
            end = content.rfind(b"\n") + 1
            rest = content[end:]
            if end:
                yield _decoded(content[:end])
        if rest:
            yield _decoded(rest)


def _of_utf16(content: bytes) -> Block:
    try:
        return Block(content.decode("utf-16"))
    except UnicodeDecodeError:
        raise UnreadableFileError("it begins as UTF-16 text and does not go on so") from None


def _decoded(content: bytes) -> Block:
    try:
        return Block(content.decode())
    except UnicodeDecodeError:
        block = Block("")
    lines = []
    for line in content.splitlines(keepends=True):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            mark = f"{BAD_LINE}{next(_bad_line_numbers)}"
            block.bad_lines[mark] = line.decode(errors="replace").rstrip("\r\n")
            lines.append(f"{mark}\n")
    block.text = "".join(lines)
    return block
