"""A file of bars as bytes of one known kind: unpacked, decoded, or refused for what it is."""

import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import zstandard

from ktrdr.errors import ImportRefused

PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC, ZSTD_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
OLD_EXCEL_MAGIC = b"\xd0\xcf\x11\xe0"
PACKED_SUFFIXES = (".gz", ".zst", ".zip")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
LARGEST_BYTES = 4 * 1024**3  # unpacked: more is a bomb, or does not fit into memory
SNIFFED_BYTES = 4096
CHUNK_BYTES = 1024**2
NOTHING = "Nothing was imported."


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """The unpacked bytes of a file; text is UTF-8 without a byte order mark."""

    file: str
    kind: Literal["parquet", "text"]
    data: bytes
    notices: list[str] = field(default_factory=list)


def read_content(path: Path) -> Content:
    """Read a file, unpack it if it is packed, and find out what it holds by looking inside.

    Raises:
        ImportRefused: It cannot be read, or holds no table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImportRefused(f"{path}: cannot be read: {error.strerror}. {NOTHING}") from None
    notices: list[str] = []
    suffix = path.suffix.lower()
    if suffix in PACKED_SUFFIXES:
        suffix = Path(path.stem).suffix.lower() or ".csv"
    if suffix not in TABLE_SUFFIXES:
        raise ImportRefused(
            f"{path.name}: need a .csv, .tsv, .txt or .parquet file, packed as .gz, .zst or .zip or not,"
            f" was {path.suffix.lower()!r}. {NOTHING}"
        )
    data = _unpack(path.name, data, notices)
    if not data.strip():
        raise ImportRefused(f"{path.name}: the file is empty. {NOTHING}")
    if data.startswith(PARQUET_MAGIC):
        return Content(path.name, "parquet", data, notices)
    if suffix == ".parquet":
        raise ImportRefused(f"{path.name}: is not a Parquet file whatever its name says. {NOTHING}")
    return Content(path.name, "text", _decode(path.name, data, notices), notices)


def _unpack(file: str, data: bytes, notices: list[str]) -> bytes:
    try:
        if data.startswith(GZIP_MAGIC):
            with gzip.open(io.BytesIO(data)) as stream:
                return _read_limited(file, stream)
        if data.startswith(ZSTD_MAGIC):
            return _unpack_zstd(file, data)
        if data.startswith(ZIP_MAGIC):
            return _unzip(file, data, notices)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ImportRefused(f"{file}: packed, and damaged or cut short: {error}. {NOTHING}") from None
    if data.startswith(OLD_EXCEL_MAGIC):
        raise ImportRefused(f"{file}: is an Excel workbook: save its sheet as CSV. {NOTHING}")
    return data


def _unpack_zstd(file: str, data: bytes) -> bytes:
    """Return the content of all frames; a frame that is cut short is an error, which a stream reader would hide."""
    unpacked, rest = bytearray(), data
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        for start in range(0, len(rest), CHUNK_BYTES):
            unpacked += frame.decompress(rest[start : start + CHUNK_BYTES])
            _check_size(file, len(unpacked))
            if frame.eof:
                rest = frame.unused_data + rest[start + CHUNK_BYTES :]
                break
        else:
            raise EOFError("the last frame has no end")
    return bytes(unpacked)


def _unzip(file: str, data: bytes, notices: list[str]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.filename.startswith("xl/") for member in members):
            raise ImportRefused(f"{file}: is an Excel workbook: save its sheet as CSV. {NOTHING}")
        if len(members) != 1:
            names = ", ".join(repr(member.filename) for member in members[:5])
            raise ImportRefused(
                f"{file}: need an archive of one file, were {len(members)} ({names}): unpack it and import the one"
                f" you mean. {NOTHING}"
            )
        if members[0].flag_bits & 1:
            raise ImportRefused(f"{file}: the archive is encrypted: unpack it first. {NOTHING}")
        notices.append(f"read {members[0].filename} inside {file}")
        with archive.open(members[0]) as stream:
            return _read_limited(file, stream)


def _read_limited(file: str, stream: _Readable) -> bytes:
    data = stream.read(LARGEST_BYTES + 1)
    _check_size(file, len(data))
    return data


def _check_size(file: str, n_bytes: int) -> None:
    if n_bytes > LARGEST_BYTES:
        raise ImportRefused(f"{file}: unpacks to more than {LARGEST_BYTES // 1024**3} GiB. {NOTHING}")


def _decode(file: str, data: bytes, notices: list[str]) -> bytes:
    """Return UTF-8 text, or refuse what is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise ImportRefused(f"{file}: begins as UTF-16 and goes on otherwise: {error}. {NOTHING}") from None
        notices.append("text is UTF-16: decoded")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\x00" in data:
        raise ImportRefused(f"{file}: need UTF-8 text, was binary or UTF-16 without its mark. {NOTHING}")
    start = data[:SNIFFED_BYTES].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ImportRefused(
            f"{file}, line 1: is a web page, not bars: the download failed; open it to read why. {NOTHING}"
        )
    if start.startswith((b"{", b"[")):
        raise ImportRefused(f"{file}, line 1: is JSON, not a table: write it as CSV with a header. {NOTHING}")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ImportRefused(f"{file}, line {line}: need UTF-8 text. {NOTHING}") from None
    return data
