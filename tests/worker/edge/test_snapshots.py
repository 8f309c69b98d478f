"""Files of snapshots: whole or not there, nothing believed that was changed, a few kept."""

import os
import random
import shutil
import signal
import socket
import time

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from tests.worker.random_run import SEED, source_of
from tests.worker.random_tape import random_log
from worker.edge.recording import OUTPUTS_FILE, RecordingSink
from worker.edge.snapshot_file import MAGIC, Header, SnapshotFile, checksum, write_snapshot
from worker.edge.snapshots import REFUSED, Snapshots, snapshots_in
from worker.engine import Engine
from worker.loop import run
from worker.record import NotKeptError, Place
from worker.saved import Saved, load
from worker.settings import SettingError

FLIPS = 1000
FACTS = {"pool": "main", "code_digest": "code", "layout_digest": "layout", "settings_digest": "settings"}


class AtEvery(Snapshots):
    """Takes one at each so many cuts."""

    def __init__(self, folder, every, *, in_background=False, keep=3, **facts):
        super().__init__(folder, **(FACTS | facts), interval_ms=0, keep=keep, in_background=in_background)
        self._every, self._cuts = every, 0

    def due(self):
        self._cuts += 1
        return super().due() and self._cuts % self._every == 0


@pytest.fixture(scope="module")
def log():
    return random_log(SEED + 2, accounts=80)


@pytest.fixture(scope="module")
def made(log, settings, tmp_path_factory):
    """A folder of a whole run, with its three last snapshots."""
    folder = tmp_path_factory.mktemp("made")
    with RecordingSink(folder) as sink:
        run(source_of(log, batch_max=20), sink, settings, keeper=AtEvery(folder / "snapshots", 9))
    assert len(snapshots_in(folder / "snapshots")) == 3
    return folder


def begun_from(folder, log, settings, capsys, **facts):
    """Runs on; the cut that the state came from, 0: the whole log. The outputs must stay as they are."""
    before = (folder / OUTPUTS_FILE).read_bytes()
    keeper, engines = AtEvery(folder / "snapshots", 10**9, **facts), []

    def see(engine):
        engines.append(engine.cut_number)

    with RecordingSink(folder) as sink:
        run(source_of(log), sink, settings, keeper=keeper, on_engine=see)
    assert (folder / OUTPUTS_FILE).read_bytes() == before
    return engines[0], [line for line in capsys.readouterr().out.splitlines() if "adl.snapshot_refused" in line]


def loaded(path, settings):
    """An engine with the state of a file."""
    found, engine = SnapshotFile(path), Engine(settings)
    load(engine, found.words(), found.fill)
    return engine


def cuts_in(folder):
    return [SnapshotFile(path).facts.cut for path in snapshots_in(folder / "snapshots")]


def copy_of(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def test_the_newest_is_taken_up(made, log, settings, capsys, tmp_path):
    """Nothing else is said."""
    folder = copy_of(made, tmp_path)
    assert begun_from(folder, log, settings, capsys) == (cuts_in(folder)[-1], [])


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"pool": "other"}, "it is of pool main"),
        ({"layout_digest": "new"}, "another layout"),
        ({"settings_digest": "new"}, "other settings"),
    ],
)
def test_a_foreign_snapshot_is_passed_over_for_the_whole_log(made, log, settings, capsys, tmp_path, facts, sentence):
    """One line for each; all of them are set aside."""
    folder = copy_of(made, tmp_path)
    cut, lines = begun_from(folder, log, settings, capsys, **facts)
    assert cut == 0
    assert [sentence in line for line in lines] == [True] * 3
    assert len(list((folder / "snapshots").glob(f"*{REFUSED}"))) == 3


def test_other_code_with_the_same_layout_is_no_hindrance(made, log, settings, capsys, tmp_path):
    folder = copy_of(made, tmp_path)
    assert begun_from(folder, log, settings, capsys, code_digest="new")[0] == cuts_in(folder)[-1]


def test_a_snapshot_newer_than_what_is_committed_is_passed_over(made, log, settings, capsys, tmp_path):
    """As when the folder of outputs, or the topics, were put back from a copy."""
    folder = copy_of(made, tmp_path)
    commits = (folder / "commits.jsonl").read_bytes().splitlines(keepends=True)
    newest = cuts_in(folder)[-1]
    kept = [line for line in commits if msgspec.json.decode(msgspec.json.decode(line)["metadata"])["cut"] < newest]
    (folder / "commits.jsonl").write_bytes(b"".join(kept))
    with RecordingSink(folder) as sink:
        engines = []
        keeper = AtEvery(folder / "snapshots", 10**9)
        run(source_of(log), sink, settings, keeper=keeper, on_engine=lambda engine: engines.append(engine.cut_number))
    assert 0 < engines[0] < newest
    assert "committed is cut" in capsys.readouterr().out
    assert (folder / OUTPUTS_FILE).read_bytes() == (made / OUTPUTS_FILE).read_bytes()


def test_a_snapshot_of_another_history_is_passed_over(made, settings, capsys, tmp_path):
    """Same pool, same cut number, other cuts before it: the chain of what was said tells."""
    other = tmp_path / "other"
    log = random_log(SEED + 3, accounts=80)
    with RecordingSink(other) as sink:
        run(source_of(log, batch_max=20), sink, settings, keeper=AtEvery(other / "snapshots", 9))
    shutil.rmtree(other / "snapshots")
    shutil.copytree(made / "snapshots", other / "snapshots")
    cut, lines = begun_from(other, log, settings, capsys)
    assert cut == 0
    assert len(lines) == 3
    assert all("not of this history" in line or "committed is cut" in line for line in lines)


def test_no_changed_byte_is_ever_believed(made, settings, tmp_path):
    """11: each flip and each missing end of a file is found, wherever it is."""
    path = snapshots_in(made / "snapshots")[-1]
    whole, chance, broken = path.read_bytes(), random.Random(1), tmp_path / "broken.snapshot"
    for trial in range(FLIPS):
        text = bytearray(whole)
        if trial % 3:
            # The parts beside the columns are small, so half of the flips go there.
            ends = (min(4000, len(text)), len(text)) if trial % 2 else (len(text), len(text))
            place = chance.randrange(ends[chance.random() < 0.5]) if trial % 4 else -chance.randint(1, 3000)
            text[place] ^= 1 << chance.randrange(8)
        elif trial % 2:
            del text[chance.randrange(len(text)) :]
        else:
            text += bytes(chance.randint(1, 64))
        broken.write_bytes(text)
        with pytest.raises(NotKeptError):
            loaded(broken, settings)
        if trial % 10 == 0:
            with pytest.raises(NotKeptError):
                SnapshotFile(broken).verify()
    broken.write_bytes(whole)
    SnapshotFile(broken).verify()
    assert loaded(broken, settings).cut_number == SnapshotFile(path).facts.cut


@pytest.mark.parametrize("torn", [1, 2, 3])
def test_a_torn_snapshot_gives_way_to_an_older_one(torn, made, log, settings, capsys, tmp_path):
    """11: the newest, the two newest, all three: then the whole log."""
    folder = copy_of(made, tmp_path)
    cuts = cuts_in(folder)
    for path in snapshots_in(folder / "snapshots")[-torn:]:
        os.truncate(path, path.stat().st_size * 2 // 3)
    cut, lines = begun_from(folder, log, settings, capsys)
    assert cut == [0, *cuts][-1 - torn]
    assert len(lines) == torn
    assert all("torn" in line for line in lines)


def test_a_snapshot_is_there_as_a_whole_or_not_at_all(made, tmp_path, monkeypatch):
    """A full disk at any write leaves neither a file nor a part of one."""
    file = SnapshotFile(snapshots_in(made / "snapshots")[-1])
    words, columns = file.words(), file.columns()
    calls = len(columns) + 3
    for at in range(calls):
        left = [at]

        def full(_, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(
                "worker.edge.snapshot_file._write", lambda file, part, full=full: full(file) or file.write(part)
            )
            if at % 2:
                patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                write_snapshot(tmp_path / "a.snapshot", file.facts, words, columns)
        assert list(tmp_path.iterdir()) == []
    write_snapshot(tmp_path / "a.snapshot", file.facts, words, columns)
    assert (tmp_path / "a.snapshot").read_bytes() == file.path.read_bytes()


def test_in_the_background_the_state_is_that_of_the_moment(log, settings, tmp_path):
    """The copy writes while the loop goes on; what it wrote is good, and three are kept."""
    keeper = AtEvery(tmp_path / "snapshots", 20, in_background=True)
    with RecordingSink(tmp_path) as sink:
        run(source_of(log, batch_max=20), sink, settings, keeper=keeper)
    keeper.wait()
    paths = snapshots_in(tmp_path / "snapshots")
    assert 1 <= len(paths) <= 3
    for path in paths:
        assert loaded(path, settings).digest() == SnapshotFile(path).facts.digest


def test_a_copy_that_writes_holds_no_port(tmp_path):
    """A worker that was killed meanwhile can start again at once."""
    keeper, place = AtEvery(tmp_path, 1, in_background=True), Place(1, 1, "d", {}, {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        keeper.keep(place, lambda: (time.sleep(3), (b"", []))[1])
        time.sleep(0.5)  # for the copy to begin
    begun = time.monotonic()
    socket.create_server(address).close()
    assert Snapshots.due(keeper) is False
    keeper.wait()
    assert time.monotonic() - begun > 1
    assert len(snapshots_in(tmp_path)) == 1


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_a_copy_that_fails_is_told_and_leaves_nothing(how, tmp_path, capsys):
    """The next one is taken as if nothing had been."""
    keeper, place = AtEvery(tmp_path, 1, in_background=True), Place(1, 1, "d", {}, {})
    column = np.zeros(10)
    if how == "killed":
        with tmp_path.joinpath("1.snapshot.0.tmp").open("wb"):
            keeper.keep(place, lambda: (time.sleep(30), (b"", []))[1])
        tmp_path.joinpath("1.snapshot.0.tmp").rename(tmp_path / f"1.snapshot.{keeper._child}.tmp")
        os.kill(keeper._child, signal.SIGKILL)
    else:
        keeper.keep(place, lambda: 1 // 0)
    keeper.wait()
    assert "adl.snapshot_failed" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    keeper.keep(place, lambda: (b"words", [("column", column)]))
    keeper.wait()
    (path,) = snapshots_in(tmp_path)
    assert SnapshotFile(path).words() == b"words"


def test_a_copy_that_cannot_begin_or_was_reaped_is_told(tmp_path, capsys, monkeypatch):
    """The worker goes on, and the next one is taken."""
    keeper, place = AtEvery(tmp_path, 1, in_background=True), Place(1, 1, "d", {}, {})

    def none():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", none)
        keeper.keep(place, lambda: (b"", []))
    assert "adl.snapshot_failed" in capsys.readouterr().out
    assert Snapshots.due(keeper)
    assert list(tmp_path.iterdir()) == []
    for look in (lambda: Snapshots.due(keeper), keeper.wait, keeper.close):
        keeper.keep(place, lambda: (b"words", []))
        os.waitpid(keeper._child, 0)
        look()
        assert "adl.snapshot_failed" in capsys.readouterr().out
        assert Snapshots.due(keeper)
    assert len(snapshots_in(tmp_path)) == 1


class Vanishing(AtEvery):
    """The newest file is gone once it was found."""

    def kept(self, cut_max):
        for number, found in enumerate(super().kept(cut_max)):
            if not number:
                found._file.path.unlink()
            yield found


@pytest.mark.parametrize("when", ["found", "begun", "other header"])
def test_a_snapshot_that_can_no_longer_be_read_gives_way_to_an_older_one(when, made, settings, log, capsys, tmp_path):
    """Gone behind its header, gone before its words, or with a header of other code."""
    folder = copy_of(made, tmp_path)
    cuts, newest = cuts_in(folder), snapshots_in(folder / "snapshots")[-1]
    keeper, engines = (Vanishing if when == "begun" else AtEvery)(folder / "snapshots", 10**9), []
    with pytest.MonkeyPatch.context() as patched, RecordingSink(folder) as sink:
        if when == "found":
            rows = Header.row_bytes
            patched.setattr(Header, "row_bytes", lambda header: newest.unlink(missing_ok=True) or rows(header))
        elif when == "other header":
            text = b"{}"
            newest.write_bytes(MAGIC + len(text).to_bytes(8, "big") + text + checksum(text) + bytes(32))
        run(source_of(log), sink, settings, keeper=keeper, on_engine=lambda engine: engines.append(engine.cut_number))
    assert engines == [cuts[-2]]
    assert capsys.readouterr().out.count("adl.snapshot_refused") == 1


def other_words(words, how):
    saved = msgspec.msgpack.decode(words, type=Saved)
    book, (market, *rest) = saved.book, saved.book.markets
    refused = replace(market, instrument=replace(market.instrument, tick_size="x"))
    other = {
        "too short": lambda: replace(saved, book=replace(book, heap=b"123")),
        "not whole": lambda: replace(saved, solvent=replace(saved.solvent, last=999)),
        "refused": lambda: replace(saved, book=replace(book, markets=[refused, *rest])),
        "not words": lambda: {"mark": 1},
    }
    return msgspec.msgpack.encode(other[how]())


@pytest.mark.parametrize("how", ["too short", "not whole", "refused", "not words"])
def test_words_that_cannot_be_loaded_give_way_to_an_older_snapshot(how, made, settings, log, capsys, tmp_path):
    """Their checksums are right: other code has written them."""
    folder = copy_of(made, tmp_path)
    cuts, newest = cuts_in(folder), snapshots_in(folder / "snapshots")[-1]
    file = SnapshotFile(newest)
    write_snapshot(newest, file.facts, other_words(file.words(), how), file.columns())
    cut, lines = begun_from(folder, log, settings, capsys)
    assert cut == cuts[-2]
    assert len(lines) == 1


def test_a_pool_that_began_anew_keeps_its_own_snapshots(tmp_path):
    """Those of the life before stand at later cuts and were never looked at."""
    for cut in (1000, 1001, 1002, 5, 6, 7):
        AtEvery(tmp_path, 1).keep(Place(cut, 1, "", {}, {}), lambda: (b"", []))
    assert [SnapshotFile(path).facts.cut for path in snapshots_in(tmp_path)] == [5, 6, 7]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    """By the setting's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"snapshot\.folder must be a folder"):
        Snapshots(tmp_path / "file", **FACTS, interval_ms=0, keep=3)


def test_what_was_left_half_written_is_removed(tmp_path):
    """A process that died while it wrote."""
    (tmp_path / "00000000000000000007.snapshot.123.tmp").write_text("half")
    Snapshots(tmp_path, **FACTS, interval_ms=0, keep=3)
    assert list(tmp_path.iterdir()) == []
