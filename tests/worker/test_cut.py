"""One order for all inputs: the sequence, and the cuts in it, against a twin that sorts complete logs."""

import random
from collections import defaultdict
from math import ceil

import pytest

from schemas import Control, MarkPrice, encode
from tests.worker.tape import Tape, settings_of
from worker.cut import BANKRUPTCY, CONTROL, KIND, RESULT, CutPoint, Event, Sequencer
from worker.edge.recording import RecordingSource, interleaved
from worker.loop import Reader
from worker.record import END, Record

INSTRUMENT, ACCOUNT, FUND, MARK, POSITION = 0, 2, 4, 5, 6


# --- logs by hand: a log is a list of (log time, kind, topic, partition); offsets follow ------------------------------


def log_of(*said):
    """Events of `(log time, kind, "topic:partition")`, offsets counted."""
    offsets = defaultdict(int)
    events = []
    for ms, kind, place in said:
        topic, _, number = place.partition(":")
        partition = int(number or 0)
        events.append(Event(Record(topic, partition, offsets[place], ms, None, b""), [], kind))
        offsets[place] += 1
    return events


def fresh(events):
    """The same log, nothing sequenced yet."""
    return [Event(event.record, [], event.kind) for event in events]


def place_of(event):
    return event.record.topic, event.record.partition


def name_of(event):
    return f"{event.record.topic}:{event.record.partition}@{event.record.offset}"


def plain(step):
    """A step as a value: the name of an event, or (log time, basis, names behind the cut)."""
    if isinstance(step, CutPoint):
        basis = {f"{topic}:{number}": offset for (topic, number), offset in step.basis.items() if offset}
        return step.log_time_ms, basis, [name_of(event) for event in step.cutting]
    return name_of(step)


def sequenced(events, watch_ms=1000, window_ms=0, batch=None, seed=None):
    """What the sequencer makes of a log that arrives in batches, in an interleaving of its partitions."""
    events = fresh(events)
    partitions = sorted({place_of(event) for event in events})
    left = {where: sum(place_of(event) == where for event in events) for where in partitions}
    newest = dict.fromkeys(partitions, -END)
    if seed is not None:
        by_record = {event.record: event for event in events}
        events = [by_record[record] for record in interleaved([event.record for event in events], seed)]
    sequencer = Sequencer(partitions, watch_ms, window_ms)
    batch = batch or len(events)
    steps = []
    for begin in range(0, len(events), batch):
        for event in events[begin : begin + batch]:
            sequencer.push(event)
            left[place_of(event)] -= 1
            newest[place_of(event)] = event.record.log_time_ms
        steps += sequencer.steps(lambda where: newest[where] if left[where] else END)
    steps += sequencer.steps(lambda _: END)
    return [plain(step) for step in steps]


def cuts_of(steps):
    return [step for step in steps if not isinstance(step, str)]


# --- the twin: no heap, no horizon, no state between batches; complete logs only --------------------------------------


def sequence_of(events):
    """The merge by head records, found by looking at every head each time; [(log time, event)]."""
    logs = defaultdict(list)
    for event in events:
        log = logs[place_of(event)]
        log.append((max([event.record.log_time_ms] + [ms for ms, _ in log[-1:]]), event))
    merged = []
    while any(logs.values()):
        where = min((log[0][0], log[0][1].kind, *where) for where, log in logs.items() if log)[2:]
        merged.append(logs[where].pop(0))
    return merged


def twin(events, watch_ms, window_ms):
    """Events and cuts as `architecture.md` words them, found on the whole sequence."""
    sequence = sequence_of(events)
    bankruptcies = [i for i, (_, event) in enumerate(sequence) if event.kind == BANKRUPTCY]
    last_of_group = set()
    while bankruptcies:
        until_ms = sequence[bankruptcies[0]][0] + window_ms
        group = [i for i in bankruptcies if sequence[i][0] <= until_ms]
        last_of_group.add(group[-1])
        bankruptcies = bankruptcies[len(group) :]
    steps, basis, i = [], {}, 0
    while i < len(sequence):
        ms, event = sequence[i]
        if i:
            watch = ceil(sequence[i - 1][0] / watch_ms) * watch_ms
            if watch < ms:
                steps.append((watch, dict(basis), []))
        end = i + 1
        if event.kind == RESULT:
            while end < len(sequence) and (sequence[end][0], sequence[end][1].kind) == (ms, RESULT):
                end += 1
        names = [name_of(event) for _, event in sequence[i:end]]
        if event.kind in (CONTROL, RESULT) or i in last_of_group:
            steps.append((ms, dict(basis), names))
        else:
            steps += names
        for _, passed in sequence[i:end]:
            basis["{}:{}".format(*place_of(passed))] = passed.record.offset + 1
        i = end
    if sequence:
        steps.append((ceil(sequence[-1][0] / watch_ms) * watch_ms, dict(basis), []))
    return steps


def random_log(seed):
    """Any kind in any partition, crowded in time, now and then a time that goes back."""
    rng = random.Random(seed)
    places = [f"{topic}:{number}" for topic in "abc" for number in range(rng.randint(1, 3))]
    kinds = [*KIND.values(), RESULT, RESULT, BANKRUPTCY, BANKRUPTCY]
    ms, said = rng.randint(0, 30), []
    for _ in range(rng.randint(1, 60)):
        ms += rng.choice((0, 0, 0, 1, 1, 2, 5, 40))
        said.append((max(0, ms - rng.choice((0, 0, 0, 0, 3))), rng.choice(kinds), rng.choice(places)))
    return log_of(*said)


@pytest.mark.parametrize("seed", range(40))
def test_any_log_gives_the_steps_of_the_twin(seed):
    """Ten random logs a seed, any watch and window, any batch size and interleaving: the twin's events and cuts."""
    for number in range(10):
        rng = random.Random(f"{seed} {number}")
        events = random_log(f"{seed} {number}")
        watch_ms, window_ms = rng.choice((1, 7, 10, 1000)), rng.choice((0, 0, 1, 4, 50))
        expected = twin(events, watch_ms, window_ms)
        assert sequenced(events, watch_ms, window_ms) == expected
        for batch in (1, rng.randint(2, 9)):
            assert sequenced(events, watch_ms, window_ms, batch, rng.random()) == expected


# --- each rule by itself ----------------------------------------------------------------------------------------------


def test_records_come_by_log_time_then_kind_then_topic_then_partition():
    """The whole sequence of one crowded millisecond, behind a record that is older."""
    said = [
        (5, BANKRUPTCY, "h"), (5, POSITION, "g:1"), (5, POSITION, "g:0"), (5, MARK, "f"), (5, FUND, "e"),
        (5, ACCOUNT, "d"), (5, INSTRUMENT, "c"), (5, INSTRUMENT, "b"), (4, POSITION, "z"),
    ]  # fmt: skip
    steps = sequenced(log_of(*said))
    names = [step for step in steps if isinstance(step, str)]
    assert names == ["z:0@0", "b:0@0", "c:0@0", "d:0@0", "e:0@0", "f:0@0", "g:0@0", "g:1@0"]
    assert cuts_of(steps)[0][2] == ["h:0@0"]


def test_kinds_stand_in_the_order_of_the_design():
    """Definitions, then controls, money, prices, books, answers, and the questions last."""
    order = sorted(KIND, key=KIND.get)
    assert [kind.__name__ for kind in order] == [
        "Instrument", "RiskModel", "Account", "Control", "InsuranceFund", "MarkPrice", "AccountUpdate", "PositionBatch",
        "ForcedTradeResult", "Bankruptcy",
    ]  # fmt: skip


def test_offset_order_holds_inside_a_partition_whatever_the_kinds():
    """A bankruptcy in front of a mark of the same partition is not overtaken by it."""
    steps = sequenced(log_of((5, BANKRUPTCY, "all"), (5, MARK, "all"), (5, INSTRUMENT, "all")))
    assert steps[:3] == [(5, {}, ["all:0@0"]), "all:0@1", "all:0@2"]


def test_a_time_that_goes_back_counts_as_the_newest_of_its_partition():
    """The clock of a producer may step back; the order of its partition does not."""
    steps = sequenced(log_of((50, MARK, "m"), (10, MARK, "m"), (40, POSITION, "p")))
    assert steps == ["p:0@0", "m:0@0", "m:0@1", (1000, {"m:0": 2, "p:0": 1}, [])]


def test_a_watch_cut_stands_after_all_records_up_to_its_multiple():
    """A record at the multiple belongs before the cut, one later behind it."""
    steps = sequenced(log_of((999, MARK, "m"), (1000, MARK, "m"), (1001, MARK, "m")))
    assert steps == ["m:0@0", "m:0@1", (1000, {"m:0": 2}, []), "m:0@2", (2000, {"m:0": 3}, [])]


def test_multiples_with_no_record_between_them_are_one_cut():
    """An hour of silence is one cut, not 3,600."""
    steps = sequenced(log_of((1, MARK, "m"), (3_600_000, MARK, "m")))
    assert cuts_of(steps) == [(1000, {"m:0": 1}, []), (3_600_000, {"m:0": 2}, [])]


def test_a_watch_cut_covers_what_stood_at_another_cut():
    """A control is a record like others: the next multiple is looked at once more."""
    steps = sequenced(log_of((100, CONTROL, "c")))
    assert steps == [(100, {}, ["c:0@0"]), (1000, {"c:0": 1}, [])]


def test_bankruptcies_of_one_log_time_stand_at_one_cut():
    """The first of the group is applied before the cut, the last stands at it."""
    steps = sequenced(log_of((5, BANKRUPTCY, "b:0"), (5, BANKRUPTCY, "b:1"), (5, MARK, "m"), (6, BANKRUPTCY, "b:0")))
    assert steps == [
        "m:0@0", "b:0@0", (5, {"m:0": 1, "b:0": 1}, ["b:1@0"]),
        (6, {"m:0": 1, "b:0": 1, "b:1": 1}, ["b:0@1"]),
        (1000, {"m:0": 1, "b:0": 2, "b:1": 1}, []),
    ]  # fmt: skip


def test_a_joint_window_begins_at_the_first_and_cuts_at_the_last_bankruptcy():
    """Marks inside the window count, those behind the last bankruptcy do not; the window does not slide."""
    said = [(10, BANKRUPTCY, "b"), (12, MARK, "m"), (15, BANKRUPTCY, "b"), (16, MARK, "m"), (21, BANKRUPTCY, "b")]
    assert sequenced(log_of(*said), window_ms=10)[:6] == [
        "b:0@0", "m:0@0", (15, {"b:0": 1, "m:0": 1}, ["b:0@1"]), "m:0@1", (21, {"b:0": 2, "m:0": 2}, ["b:0@2"]),
        (1000, {"b:0": 3, "m:0": 2}, []),
    ]  # fmt: skip


def test_watch_and_control_cuts_stand_inside_a_joint_window():
    """The order of the sequence holds inside a window too: nothing is moved behind its last bankruptcy."""
    said = [(8, BANKRUPTCY, "b"), (9, CONTROL, "c"), (12, BANKRUPTCY, "b")]
    assert sequenced(log_of(*said), watch_ms=10, window_ms=10) == [
        "b:0@0", (9, {"b:0": 1}, ["c:0@0"]), (10, {"b:0": 1, "c:0": 1}, []), (12, {"b:0": 1, "c:0": 1}, ["b:0@1"]),
        (20, {"b:0": 2, "c:0": 1}, []),
    ]  # fmt: skip


def test_results_of_one_log_time_stand_at_one_cut():
    """A burst of answers is one look at what they left, over partitions too; another time is another cut."""
    steps = sequenced(log_of((5, RESULT, "r:0"), (5, RESULT, "r:0"), (5, RESULT, "r:1"), (6, RESULT, "r:0")))
    assert steps[:2] == [(5, {}, ["r:0@0", "r:0@1", "r:1@0"]), (6, {"r:0": 2, "r:1": 1}, ["r:0@2"])]


def test_another_record_ends_a_run_of_results():
    """A bankruptcy of the same log time sees the results before it, and not those behind it in its partition."""
    steps = sequenced(log_of((5, RESULT, "r"), (5, BANKRUPTCY, "r"), (5, RESULT, "r")))
    assert steps == [
        (5, {}, ["r:0@0"]), (5, {"r:0": 1}, ["r:0@1"]), (5, {"r:0": 2}, ["r:0@2"]), (1000, {"r:0": 3}, []),
    ]  # fmt: skip


def test_nothing_is_said_that_a_record_to_come_could_change():
    """While a silent partition may still give a smaller time, its sequence and cuts wait."""
    mark, bankrupt, late = fresh(log_of((5, MARK, "m"), (7, BANKRUPTCY, "b"), (6, POSITION, "p")))
    sequencer = Sequencer([("m", 0), ("b", 0), ("p", 0)], 1000, 0)
    until_ms = {("m", 0): END, ("b", 0): END, ("p", 0): 5}
    sequencer.push(mark)
    sequencer.push(bankrupt)
    assert [plain(step) for step in sequencer.steps(until_ms.get)] == []
    until_ms["p", 0] = 6
    assert [plain(step) for step in sequencer.steps(until_ms.get)] == ["m:0@0"]
    sequencer.push(late)
    until_ms["p", 0] = 7
    assert [plain(step) for step in sequencer.steps(until_ms.get)] == ["p:0@0"]
    until_ms["p", 0] = 8
    steps = [plain(step) for step in sequencer.steps(until_ms.get)]
    assert steps == [(7, {"m:0": 1, "p:0": 1}, ["b:0@0"])]


# --- from records to cuts ---------------------------------------------------------------------------------------------


def steps_of_reader(records, batch):
    reader = Reader(RecordingSource(records, batch_max=batch), settings_of())
    return [plain(step) for steps in reader.steps() for step in steps]


def test_a_record_of_several_messages_stands_where_its_most_binding_one_would():
    """A control beside a mark in one record still has a cut before it; the record stays one step."""
    tape = Tape().at(500).mark().at(600)
    control = Control(id="c", action="PAUSE", operator="ann", reason="test")
    mark = MarkPrice(symbol="B", mark_price="1", event_time_ms=1)
    tape.raw("mark-prices", b"[" + encode(control) + b"," + encode(mark) + b"]")
    steps = steps_of_reader(tape.records, None)
    assert steps[:2] == ["mark-prices:0@0", (600, {"mark-prices:0": 1}, ["mark-prices:0@1"])]


def test_what_does_not_decode_stands_where_its_topic_says():
    """Poison among bankruptcies makes a cut, poison among marks does not; both keep their place."""
    tape = Tape().at(500).raw("mark-prices", b"?").raw("bankruptcies", b"?").at(600).raw("mark-prices", None)
    steps = steps_of_reader(tape.records, None)
    assert steps[:3] == ["mark-prices:0@0", (500, {"mark-prices:0": 1}, ["bankruptcies:0@0"]), "mark-prices:0@1"]
    assert steps_of_reader(tape.records, 1) == steps
