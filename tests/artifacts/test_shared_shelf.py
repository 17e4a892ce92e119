"""Units that two machines share through a store: a folder, or a server over a network."""

import asyncio
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import fsspec
import pytest
from fakes.ftp_server import PASSWORD, FtpServer
from fsspec.implementations.local import LocalFileSystem

from ktrdr.artifacts.remote_folder import MARKER, RemoteFolder, masked_url
from ktrdr.artifacts.shared_shelf import SharedShelf
from ktrdr.database.patience import patiently
from ktrdr.errors import ArtifactsUnavailable, InvalidInput

DOCUMENTS = (".yaml", ".json")


class Killed(BaseException):
    """What a SIGKILL is to the code: nothing handles it."""


class DyingFileSystem(LocalFileSystem):
    """A protocol whose client dies in the middle of its n-th change, half of a file written."""

    protocol = ("dying",)
    cachable = False
    changes_left = 10**9

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("dying://"))

    def _live(self, path=None, data=b""):
        type(self).changes_left -= 1
        if self.changes_left < 0:
            if path is not None:
                Path(path).write_bytes(data[: len(data) // 2])
            raise Killed

    def pipe_file(self, path, value, **kwargs):
        self._live(self._strip_protocol(path), value)
        Path(self._strip_protocol(path)).write_bytes(value)

    def put_file(self, lpath, rpath, **kwargs):
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path):
        self._live()
        super().rm_file(path)


fsspec.register_implementation("dying", DyingFileSystem, clobber=True)


class Machine:
    """One machine's shelf of strategies."""

    def __init__(self, folder: Path, url: str, *, patience_s: float = 0.0) -> None:
        self.folder = folder
        self.root = folder / "strategies"
        self.remote = RemoteFolder(url, patience_s=patience_s, waits=False)
        self.remote.open()
        self.shelf = SharedShelf("strategies", self.root, self.remote, cache_folder=folder / "cache", lock=nullcontext)

    def attempt(self, **files: str) -> Path:
        folder = self.folder / f"attempt{len(list(self.folder.glob('attempt*')))}"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        return folder

    def tree(self) -> dict[str, str]:
        return {str(path.relative_to(self.root)): path.read_text() for path in self.root.rglob("*.*")}


@pytest.fixture(params=["file", "ftp"])
def store_url(request, tmp_path):
    if request.param == "file":
        (tmp_path / "store").mkdir()
        yield f"file://{tmp_path / 'store'}"
        return
    server = FtpServer(tmp_path / "store")
    yield server.url
    server.stop()


def test_what_one_machine_publishes_the_other_sees_whole_and_in_the_same_order(tmp_path, store_url):
    one, two = Machine(tmp_path / "one", store_url), Machine(tmp_path / "two", store_url)
    first = one.attempt(strategy_yaml="a", design_json="{}")
    os.utime(first / "strategy.yaml", ns=(10**18, 10**18))
    one.shelf.publish_new("trend", first)
    two.shelf.bring_all(lambda name: name.endswith(DOCUMENTS))
    assert two.tree() == one.tree() == {"trend/strategy.yaml": "a", "trend/design.json": "{}"}
    assert (two.root / "trend" / "strategy.yaml").stat().st_mtime_ns == 10**18
    with pytest.raises(FileExistsError):
        two.shelf.publish_new("trend", two.attempt(strategy_yaml="b"))

    names = ("model.bin", "training.json")
    job = two.attempt(model_bin="m1", training_json="t1")
    uploaded = two.shelf.upload("trend", job, names)
    one.shelf.bring("trend")
    assert "trend/training.json" not in one.tree()  # uploaded is not published
    # The machine that ran the job is gone: another one, which has no such folder, puts its files in place.
    one.shelf.publish("trend", tmp_path / "nowhere", names, uploaded=uploaded)
    one.shelf.publish("trend", tmp_path / "nowhere", names, uploaded=uploaded)
    one.shelf.bring("trend", lambda name: name.endswith(DOCUMENTS))
    assert "trend/model.bin" not in one.tree()  # large files come when they are asked for
    one.shelf.bring("trend")
    two.shelf.bring("trend")
    assert one.tree() == two.tree() == {**one.tree(), "trend/model.bin": "m1", "trend/training.json": "t1"}

    for number in range(2, 6):
        two.shelf.write("trend", "model.bin", f"m{number}".encode())
    two.shelf.publish("trend", two.attempt(training_json="t5"), ("training.json",), dropping=("design.json",))
    one.shelf.bring("trend")
    assert (
        one.tree() == two.tree() == {"trend/strategy.yaml": "a", "trend/model.bin": "m5", "trend/training.json": "t5"}
    )
    stored = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != MARKER]
    assert len(stored) <= 2 + 5  # two versions and what they name; older ones went

    two.shelf.discard("trend")
    assert two.tree() == {}
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == [MARKER]


def test_a_push_killed_at_any_of_its_steps_shows_the_old_unit_or_the_new_and_can_be_repeated(tmp_path, monkeypatch):
    store = tmp_path / "store"
    store.mkdir()
    old = {"trend/strategy.yaml": "old strategy", "trend/training.json": "old training"}
    new = {"trend/strategy.yaml": "old strategy", "trend/model.bin": "new model", "trend/training.json": "new training"}
    seen = []
    for n_changes in range(20):
        unit = f"u{n_changes}"
        monkeypatch.setattr(DyingFileSystem, "changes_left", 10**9)
        one, two = Machine(tmp_path / "one", f"dying://{store}"), Machine(tmp_path / "two", f"file://{store}")
        one.shelf.publish_new(unit, one.attempt(strategy_yaml="old strategy", training_json="older training"))
        one.shelf.write(unit, "training.json", b"old training")
        two.shelf.bring(unit)
        attempt = one.attempt(model_bin="new model", training_json="new training")
        monkeypatch.setattr(DyingFileSystem, "changes_left", n_changes)
        try:
            one.shelf.publish(unit, attempt, ("model.bin", "training.json"))
        except Killed:
            two.shelf.bring(unit)
            seen.append({f"trend/{path.name}": path.read_text() for path in (two.root / unit).iterdir()})
            monkeypatch.setattr(DyingFileSystem, "changes_left", 10**9)
            one.shelf.publish(unit, attempt, ("model.bin", "training.json"))
        two.shelf.bring(unit)
        assert {f"trend/{path.name}": path.read_text() for path in (two.root / unit).iterdir()} == new
        if len(seen) <= n_changes:
            break
    # Two files, the manifest; then the new version is there, and what is removed afterwards does not matter.
    assert seen[:3] == [old] * 3
    assert len(seen) >= 5
    assert seen[3:] == [new] * (len(seen) - 3)


def test_a_workspace_from_before_is_taken_in_and_what_contradicts_the_store_is_set_aside(tmp_path):
    url = f"file://{tmp_path / 'store'}"
    (tmp_path / "store").mkdir()
    one, two = Machine(tmp_path / "one", url), Machine(tmp_path / "two", url)
    for machine, text in ((one, "mine"), (two, "theirs")):
        (machine.root / "same").mkdir(parents=True)
        (machine.root / "same" / "strategy.yaml").write_text(text)
    assert one.shelf.adopt(["same"], lambda unit: ["strategy.yaml"]) == ["same"]
    assert two.shelf.adopt(["same"], lambda unit: ["strategy.yaml"]) == []
    two.shelf.bring_all()
    assert two.tree() == one.tree() == {"same/strategy.yaml": "mine"}
    (kept,) = (tmp_path / "two" / "cache" / "aside").rglob("strategy.yaml")
    assert kept.read_text() == "theirs"


def test_a_store_that_is_away_is_waited_for_or_said_and_its_password_is_never_shown(tmp_path):
    server = FtpServer(tmp_path / "store")
    try:
        machine = Machine(tmp_path / "one", server.url, patience_s=30)
        machine.shelf.publish_new("trend", machine.attempt(strategy_yaml="a"))
        server.stop()
        with pytest.raises(ArtifactsUnavailable) as error:
            machine.shelf.bring_all()
        assert error.value.reason == "artifacts_unavailable"
        assert "ftp://***@127.0.0.1" in error.value.message
        assert PASSWORD not in error.value.message
        back = threading.Timer(0.4, server.start)
        back.start()
        asyncio.run(patiently(lambda: machine.shelf.write("trend", "design.json", b"{}")))
        back.join()
        assert sorted(machine.tree()) == ["trend/design.json", "trend/strategy.yaml"]
        began = time.monotonic()
        server.stop()
        with pytest.raises(ArtifactsUnavailable):
            asyncio.run(patiently(Machine(tmp_path / "two", server.url, patience_s=0.2).shelf.bring_all))
        assert time.monotonic() - began < 5
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:hidden@bucket/lab", r"pip install s3fs"),
        ("gopher://hidden@host/lab", r"no protocol 'gopher'"),
        ("file:///no/such/folder", r"no folder /no/such/folder: make it, or mount it"),
        ("http://hidden@127.0.0.1:9/lab", r"cannot read ktrdr-artifacts\.json in http://\*\*\*@127\.0\.0\.1:9/lab"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_do(url, words):
    with pytest.raises((InvalidInput, ArtifactsUnavailable), match=words) as error:
        RemoteFolder(url, patience_s=0, waits=False).open()
    assert "hidden" not in error.value.message
    assert masked_url("s3://bucket/lab?token=hidden") == "s3://bucket/lab?***"
