"""A run that goes on from a snapshot says what an undisturbed run says; what cannot be used is passed over."""

import random
from itertools import islice

import msgspec
import pytest

from tests.worker.arriving import ArrivingSource
from tests.worker.random_run import SEED, Timely, outputs_of, source_of
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import Said, Tape, run_tape, settings_of
from tests.worker.test_live import late
from worker.cli.run import _end
from worker.cut import CutPoint, Event, Sequencer, Standing
from worker.edge.exits import Exit
from worker.edge.recording import OUTPUTS_FILE, RecordingSink, RecordingSource
from worker.edge.snapshots import Snapshots, snapshots_in
from worker.loop import StateLostError, run
from worker.memory import MemorySink
from worker.record import END, KeptWrongError, Record
from worker.settings import KINDS
from worker.verify import verify_replay

STOPS = 20


class StoppedError(Exception):
    """The process is gone."""


class Dying(RecordingSink):
    """A sink whose process dies after its n-th commit."""

    def __init__(self, folder, at_commit):
        super().__init__(folder)
        self._left = at_commit

    def commit(self, *arguments):
        super().commit(*arguments)
        self._left -= 1
        if not self._left:
            raise StoppedError


WINDOWS = {0: (), 700: ("cut.joint_window_ms=700",)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By joint window: settings, a log and what an undisturbed run says of it."""
    found = {}
    for window_ms, flags in WINDOWS.items():
        settings = random_settings(*flags)
        log = random_log(SEED + 2, accounts=80, settings=settings)
        found[window_ms] = settings, log, outputs_of(log, settings, tmp_path_factory.mktemp("undisturbed"))
    return found


class Counting(Snapshots):
    """Says how many snapshots were taken up, and takes one at random cuts."""

    def __init__(self, *arguments, seed, share, **options):
        super().__init__(*arguments, **options)
        self.chance, self.share, self.begun = random.Random(seed), share, 0

    def due(self):
        return self.chance.random() < self.share

    def kept(self, cut_max):
        for found in super().kept(cut_max):
            self.begun += 1
            yield found


def counting(folder, seed, share=0.2):
    return Counting(
        folder / "snapshots", pool="main", code_digest="c", layout_digest="l", settings_digest="s", interval_ms=0,
        keep=3, in_background=False, seed=seed, share=share,
    )  # fmt: skip


@pytest.mark.parametrize("stop", range(STOPS))
def test_going_on_from_a_snapshot_gives_the_same_bytes(stop, runs, tmp_path):
    """Lives that end at random commits, snapshots at random cuts, other batches each time."""
    settings, log, said = runs[700 * (stop % 2)]
    chance = random.Random(stop)
    lives, begun = 0, 0
    while True:
        keeper = counting(tmp_path, stop * 100 + lives)
        source = chance.choice((Timely, source_of))
        options = {"batch_max": chance.choice((1, 4, 20, 60, 1000))}
        try:
            with Dying(tmp_path, chance.randint(5, 60)) as sink:
                run(source(log, **options), sink, settings, keeper=keeper)
            break
        except StoppedError:
            lives += 1
        finally:
            begun += keeper.begun
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == said
    assert not lives or begun
    assert 0 < len(snapshots_in(tmp_path / "snapshots")) <= 3


@pytest.mark.parametrize("window_ms", WINDOWS)
@pytest.mark.parametrize("seed", range(4))
def test_on_a_live_log_with_late_records_every_decision_is_derived_again(seed, window_ms, runs, tmp_path):
    """Lives that end at random turns, each but the first from a snapshot, over what had arrived before."""
    settings, log, _ = runs[window_ms]
    arrived, chance, there, begun = late(log, seed), random.Random(seed), 0, 0
    for life in range(5):
        polls = iter(range(chance.randint(10, 60) if life < 4 else 1_000_000))
        source = ArrivingSource(arrived, PARTITIONS, 10 * seed + life, beforehand=there)
        keeper = counting(tmp_path, 10 * seed + life, 0.5)
        with RecordingSink(tmp_path) as sink:
            run(source, sink, settings, stop=lambda polls=polls: next(polls, None) is None, keeper=keeper)
        there, begun = source.arrived, begun + keeper.begun
    assert begun > 1
    with RecordingSink(tmp_path) as sink:
        report = verify_replay(source_of(log), sink, settings)
    assert (report.ok, report.differences) == (True, [])


class Waiting:
    """A keeper that asks for a commit at every cut, and keeps nothing."""

    def due(self):
        return True

    def keep(self, place, state):
        pass

    def kept(self, _):
        return iter(())


class Mortal(MemorySink):
    """Dies behind its n-th commit; None: never."""

    def __init__(self, at_commit=None):
        super().__init__()
        self.left = at_commit

    def commit(self, *arguments):
        super().commit(*arguments)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise StoppedError


def joint_tape():
    """A group that a refused bankruptcy opens, cuts inside it, and one bankruptcy that comes too late for it."""
    tape = Tape().instrument().mark(price="100").fund("0").account("w", "50000", ("BTC", "-20", "105"))
    for name in ("l1", "l2"):
        tape.account(name, "20", ("BTC", "10", "105"))
    tape.at(2000).raw("bankruptcies", b"garbage", b"x").at(2500).mark(price="100")
    tape.at(2900).bankrupt("l1").at(3500).bankrupt("l2")
    return tape.at(9000).mark(price="100").at(9500).mark(price="100")


def test_no_commit_for_a_snapshot_stands_inside_a_joint_group():
    """Killed behind each of its commits, a pool decides on the same groups and says the same bytes."""
    records = joint_tape().records
    settings = settings_of("cut.joint_window_ms=1000", "cut.watch_ms=100")
    wanted = run_tape(records, settings)
    assert [len(d.bankruptcies) for d in Said(wanted).decisions] == [1, 1]
    commits = 0
    while True:
        commits, sink = commits + 1, Mortal(commits + 1)
        source = RecordingSource(records, partitions=[(kind, 0) for kind in KINDS])
        try:
            run(source, sink, settings, keeper=Waiting())
            break
        except StoppedError:
            sink.left = None
        assert run_tape(records, settings, sink).records == wanted.records
    assert commits > 3
    assert sink.records == wanted.records


class Forgetting(RecordingSink):
    """Outputs of which only so many are found where those behind a snapshot should be."""

    def __init__(self, folder, found):
        super().__init__(folder)
        self._found = found

    def outputs_behind(self, topic, sequence, log_time_ms):  # noqa: ARG002  the protocol's
        behind = (record for record in self.outputs(topic) if msgspec.json.decode(record.value)["sequence"] > sequence)
        return islice(behind, self._found)


def kept_early(runs, folder):
    """A folder of a whole run whose snapshots stand many cuts before its end; its settings, its log."""
    settings, log, _ = runs[0]
    with pytest.raises(StoppedError), Dying(folder, 30) as sink:
        run(source_of(log, batch_max=20), sink, settings, keeper=counting(folder, 1))
    with RecordingSink(folder) as sink:
        run(source_of(log, batch_max=20), sink, settings, keeper=counting(folder, 1, share=0))
    assert len(snapshots_in(folder / "snapshots")) == 3
    return settings, log


def test_a_snapshot_behind_which_no_cut_can_be_found_is_passed_over(runs, tmp_path):
    """As where the broker stamps outputs with its own time: the whole log is read, in the same start."""
    settings, log = kept_early(runs, tmp_path)
    said, keeper = (tmp_path / OUTPUTS_FILE).read_bytes(), counting(tmp_path, 2, share=0)
    with Forgetting(tmp_path, 0) as sink:
        run(source_of(log), sink, settings, keeper=keeper)
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == said
    assert keeper.begun == 3
    assert snapshots_in(tmp_path / "snapshots") == []


def test_a_snapshot_that_turns_out_wrong_is_set_aside_for_the_next_start(runs, tmp_path):
    """Of what was said behind it only the first is there: each start tries one less, the last the whole log."""
    settings, log = kept_early(runs, tmp_path)
    said = (tmp_path / OUTPUTS_FILE).read_bytes()
    for left in (2, 1, 0):
        with pytest.raises(KeptWrongError, match="must hold"), Forgetting(tmp_path, 1) as sink:
            run(source_of(log), sink, settings, keeper=counting(tmp_path, 2, share=0))
        assert len(snapshots_in(tmp_path / "snapshots")) == left
    with Forgetting(tmp_path, 1) as sink:
        run(source_of(log), sink, settings, keeper=counting(tmp_path, 2, share=0))
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == said


def test_a_log_that_does_not_agree_is_lost_with_snapshots_too(runs, tmp_path):
    """They are tried one after the other; then it is no longer a snapshot that is to blame."""
    settings, log = kept_early(runs, tmp_path)
    short, ends = [record for record in log if record.log_time_ms < log[-1].log_time_ms - 5000], []
    for _ in range(4):
        with pytest.raises((StateLostError, KeptWrongError)) as error, RecordingSink(tmp_path) as sink:
            run(source_of(short), sink, settings, keeper=counting(tmp_path, 2, share=0))
        ends.append(error.type)
    assert ends == [KeptWrongError] * 3 + [StateLostError]


def test_who_restarts_the_worker_can_tell_a_wrong_snapshot_from_a_lost_state():
    """By the exit code."""
    assert [_end(KeptWrongError("")), _end(StateLostError(""))] == [Exit.KEPT_WRONG, Exit.STATE_LOST]


def told(step):
    """A step as it can be compared."""
    if isinstance(step, CutPoint):
        return step.log_time_ms, step.basis, [event.record for event in step.cutting]
    return step.record, step.log_time_ms


@pytest.mark.parametrize("seed", range(30))
def test_the_sequence_goes_on_behind_any_cut_as_if_it_had_not_stopped(seed):
    """Stamps go back inside partitions, so what a record counts as depends on those before it."""
    chance, where = random.Random(seed), [("a", 0), ("b", 0), ("b", 1)]
    offsets = dict.fromkeys(where, 0)
    records = []
    for at in range(60):
        topic, number = chance.choice(where)
        stamp_ms = 100 * at - chance.choice((0, 0, 0, 700, 3000))
        records.append(
            (Record(topic, number, offsets[topic, number], stamp_ms, None, b""), chance.choice((3, 5, 5, 6, 7)))
        )
        offsets[topic, number] += 1

    def filled(begin):
        sequencer = Sequencer(where, 500, 0)
        if begin is not None:
            sequencer.stand(begin)
        for record, kind in records:
            if begin is None or record.offset >= begin.offsets[record.topic, record.partition]:
                sequencer.push(Event(record, (), kind))
        return sequencer

    whole, steps, places = filled(None), [], []
    for step in whole.steps(lambda _: END):
        steps.append(told(step))
        if isinstance(step, CutPoint):
            places.append((len(steps), whole.standing()))
    assert len(places) > 5
    for count, standing in places:
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(standing), type=Standing)
        assert [told(step) for step in filled(kept).steps(lambda _: END)] == steps[count:]
