"""What a shared unit consists of, as a file whose name says what must be in it."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_NAME = re.compile(r"(?P<unit>.+)\.(?P<number>\d{9})\.(?P<sha256>[0-9a-f]{64})\.json")
_CHUNK_BYTES = 1024 * 1024


class StoredFile(BaseModel):
    """One file of a unit: its name in the workspace and `stored_as`, a name in the store that is never given again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stored_as: str
    sha256: str
    n_bytes: int
    modified_ns: int = Field(description="which strategies are older is told by this on every machine")


class Manifest(BaseModel):
    """The files of one version of a unit, in the order in which they are put in place."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    files: tuple[StoredFile, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes whose hash becomes part of the name."""
        return self.model_dump_json(by_alias=True).encode()

    def changed(self, files: Iterable[StoredFile], dropping: Iterable[str]) -> "Manifest":
        """Return the next version: without what is dropped, and with these files last."""
        new = tuple(files)
        gone = {*dropping, *(file.name for file in new)}
        return Manifest(files=(*(file for file in self.files if file.name not in gone), *new))

    def find(self, name: str) -> StoredFile | None:
        """Return a file, None where the unit has none of this name."""
        return next((file for file in self.files if file.name == name), None)


EMPTY = Manifest(files=())


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Which version of a unit: the higher number is newer. All of it stands in the manifest's file name."""

    number: int
    sha256: str

    def file_name(self, unit: str) -> str:
        """Return the name of the manifest's file."""
        return f"{unit.replace('/', '@')}.{self.number:09d}.{self.sha256}.json"


def next_version(after: Version | None, manifest: Manifest) -> Version:
    """Return the version that a manifest becomes."""
    return Version(1 if after is None else after.number + 1, hashlib.sha256(manifest.to_bytes()).hexdigest())


def parse_names(names: Iterable[str]) -> dict[str, list[Version]]:
    """Return the versions of each unit, newest first. Names of another form are somebody else's."""
    found: dict[str, list[Version]] = {}
    for name in names:
        if (match := _NAME.fullmatch(name)) is not None:
            version = Version(int(match["number"]), match["sha256"])
            found.setdefault(match["unit"].replace("@", "/"), []).append(version)
    return {unit: sorted(versions, reverse=True) for unit, versions in found.items()}


def parse_manifest(data: bytes, version: Version) -> Manifest | None:
    """Return the manifest, None where these are not the bytes that its name tells: half of them, for instance."""
    if hashlib.sha256(data).hexdigest() != version.sha256:
        return None
    return Manifest.model_validate_json(data)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
