"""Each defect, seeded into a clean recording of the demo's exchange, is found as exactly that and as nothing else."""

import json

import msgspec
import pytest

from schemas import AccountUpdate, Bankruptcy, BankruptcyLine, encode
from tests.worker.test_cli import adl, run
from worker.check import check
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import RecordingSource
from worker.findings import HARMLESS, SENTENCES, Odd
from worker.record import Record
from worker.settings import load

UPDATES, MARKS = "positions", "mark-prices"
OF_TOPICS = {"TOPIC", "BEGIN_GONE"}  # no recording has them; seeded in tests/kafka/test_looking.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert run("demo", "--out", out, "--accounts", 500, "--symbols", 4, "--seed", 3, "--json") in (0, 1)
    return out


@pytest.fixture(scope="module")
def settings(folder):
    return load((folder / "settings.toml").read_text())


@pytest.fixture(scope="module")
def clean(folder):
    """The demo's recording without the updates that its exchange sends twice."""
    seqs, records = {}, []
    for record in (record for block in read_records(folder / "recording.jsonl") for record in block):
        if record.topic == UPDATES:
            said = json.loads(record.value)
            newest = said["epoch"], said["seq"]
            if newest <= seqs.get(said["account"], (0, 0)):
                continue
            seqs[said["account"]] = newest
        records.append(record)
    return numbered(records)


def numbered(records):
    """The records with offsets 0, 1, 2, ... in each partition."""
    following = {}
    made = []
    for record in records:
        offset = following[record.topic, record.partition] = following.get((record.topic, record.partition), -1) + 1
        made.append(msgspec.structs.replace(record, offset=offset))
    return made


def found(records, settings, **options):
    """(kind, subject, count) of every finding."""
    report = check(RecordingSource(numbered(records)), settings, **options)
    assert report.ok == all(finding.kind in HARMLESS for finding in report.findings)
    return [(finding.kind, finding.subject, finding.count) for finding in report.findings]


def at(records, topic, *, where=None, nth=0):
    """Place of the nth record of a topic of which something holds."""
    places = [i for i, r in enumerate(records) if r.topic == topic and (not where or where(json.loads(r.value)))]
    return places[nth]


def changed(record, **fields):
    return msgspec.structs.replace(record, value=json.dumps(json.loads(record.value) | fields).encode())


def last(record, records):
    """The record at the time of the last one."""
    return msgspec.structs.replace(record, log_time_ms=records[-1].log_time_ms)


def changes(said):
    return not said.get("full")


# --- one defect each: from the clean records to the seeded ones and what must be found --------------------------------


def seq_repeated(records):
    place = at(records, UPDATES, nth=40)
    return [*records[: place + 1], records[place], *records[place + 1 :]], ("SEQ_REPEATED", UPDATES, 1)


def seq_gap(records):
    """An account's numbers jump by one, from one change of it on."""
    place = at(records, UPDATES, where=changes, nth=30)
    account = json.loads(records[place].value)["account"]
    later = [
        changed(record, seq=json.loads(record.value)["seq"] + 1)
        if record.topic == UPDATES and json.loads(record.value)["account"] == account else record
        for record in records[place:]
    ]  # fmt: skip
    return records[:place] + later, ("SEQ_GAP", UPDATES, 1)


def unknown_symbol(records):
    mark = records[at(records, MARKS)]
    odd = msgspec.structs.replace(changed(mark, symbol="NEVER"), key=b"NEVER")
    return [*records, last(odd, records), last(odd, records)], ("UNKNOWN_SYMBOL", MARKS, 2)


def unknown_symbol_of_a_line(records):
    place = at(records, "bankruptcies")
    lines = [BankruptcyLine(symbol="NEVER", quantity="1")]
    value = encode(Bankruptcy(id="x", account="x", event_time_ms=1, lines=lines))
    odd = msgspec.structs.replace(records[place], key=b"x", value=value)
    return [*records, last(odd, records)], ("UNKNOWN_SYMBOL", "bankruptcies", 1)


def trader_without_update(records):
    account = records[at(records, "accounts")]
    odd = msgspec.structs.replace(account, key=b"silent", value=b'{"type":"Account","account":"silent"}')
    return [*records, last(odd, records)], ("NO_UPDATE", "accounts", 1)


def bankrupt_without_update(records):
    event = records[at(records, "bankruptcies")]
    odd = msgspec.structs.replace(
        event, key=b"ghost", value=encode(Bankruptcy(id="g", account="ghost", event_time_ms=1))
    )
    return [*records, last(odd, records)], ("NO_UPDATE", "accounts", 1)


def half_told_fill(records):
    """The last update that moves a position never arrives."""
    place = at(records, UPDATES, where=lambda said: changes(said) and said.get("positions"), nth=-1)
    symbol = json.loads(records[place].value)["positions"][0]["symbol"]
    assert all(
        json.loads(record.value)["account"] != json.loads(records[place].value)["account"]
        for record in records[place + 1 :] if record.topic == UPDATES
    ), "a later update of the account would show the gap as well"  # fmt: skip
    return records[:place] + records[place + 1 :], ("LONGS_SHORTS", symbol, 1)


def silent_mark(records):
    """One symbol has its first and last marks only."""
    symbol = json.loads(records[at(records, MARKS)].value)["symbol"]
    mine = [i for i, r in enumerate(records) if r.topic == MARKS and json.loads(r.value)["symbol"] == symbol]
    gone = set(mine[1:-1])
    return [record for i, record in enumerate(records) if i not in gone], ("MARK_AGE", symbol, 1)


def no_mark(records):
    symbol = json.loads(records[at(records, MARKS)].value)["symbol"]
    kept = [r for r in records if not (r.topic == MARKS and json.loads(r.value)["symbol"] == symbol)]
    return kept, ("NO_MARK", symbol, 1)


def time_back(records):
    place = at(records, MARKS, nth=100)
    odd = msgspec.structs.replace(records[place], log_time_ms=records[place].log_time_ms - 5000)
    return [*records[:place], odd, *records[place + 1 :]], ("TIME_BACK", MARKS, 1)


def two_partitions(records):
    """An account's last update goes to a partition of its own."""
    last = {json.loads(r.value)["account"]: i for i, r in enumerate(records) if r.topic == UPDATES}
    place = max(last.values())
    odd = msgspec.structs.replace(records[place], partition=records[place].partition + 10)
    return [*records[:place], *records[place + 1 :], odd], ("TWO_PARTITIONS", UPDATES, 1)


def wrong_key(records):
    place = at(records, UPDATES, nth=7)
    odd = msgspec.structs.replace(records[place], key=b"somebody")
    return [*records[:place], odd, *records[place + 1 :]], ("KEY", UPDATES, 1)


def no_key(records):
    place = at(records, "instruments")
    odd = msgspec.structs.replace(records[place], key=None)
    return [*records[:place], odd, *records[place + 1 :]], ("KEY", "instruments", 1)


def null_value(records):
    return [*records, msgspec.structs.replace(records[-1], topic=MARKS, partition=0, value=None)], ("NULL", MARKS, 1)


def not_ours(records):
    return [*records, msgspec.structs.replace(records[-1], topic=MARKS, partition=0, value=b"{")], (
        "REFUSED", "DECODE", 1,
    )  # fmt: skip


def part_of_a_lot(records):
    place = at(records, UPDATES, where=lambda said: said.get("positions"), nth=-1)
    said = json.loads(records[place].value)
    odd = changed(records[place], seq=said["seq"] + 1, positions=[said["positions"][0] | {"quantity": "0.00000001"}])
    return [*records, odd], ("REFUSED", "LOT", 1)


def no_instruments(records):
    return [record for record in records if record.topic != "instruments"], ("NO_INSTRUMENTS", "instruments", 1)


DEFECTS = [
    seq_repeated, seq_gap, unknown_symbol, unknown_symbol_of_a_line, trader_without_update, bankrupt_without_update,
    half_told_fill, silent_mark, no_mark, time_back, two_partitions, wrong_key, no_key, null_value, not_ours,
    part_of_a_lot, no_instruments,
]  # fmt: skip


def test_the_clean_recording_has_nothing_odd(clean, settings):
    """And all facts are there."""
    report = check(RecordingSource(clean), settings)
    assert (report.ok, report.findings) == (True, [])
    assert report.records == len(clean) == sum(report.partitions.values())
    assert sum(report.messages.values()) >= report.records
    assert len(report.symbols) == 4
    assert {facts.longs_minus_shorts for facts in report.symbols} == {"0"}
    assert report.seq_counts_by_one


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found_as_itself_and_as_nothing_else(clean, settings, defect):
    """Kind, subject and count; what only follows from it is not told."""
    seeded, finding = defect(list(clean))
    assert seeded != clean
    assert found(seeded, settings) == [finding]


def test_a_delta_on_a_compacted_topic_is_found_where_the_source_knows(clean, settings):
    """A recording does not say how its topics were cleaned."""
    deltas = sum(changes(json.loads(record.value)) for record in clean if record.topic == UPDATES)
    assert deltas > 100
    assert found(clean, settings, compacted=frozenset({UPDATES})) == [("DELTA_COMPACTED", UPDATES, deltas)]
    assert found(clean, settings, compacted=frozenset({MARKS})) == []


def test_every_kind_of_finding_was_seeded(clean):
    """The list is closed, each with its sentence and its test."""
    seeded = {defect(list(clean))[1][0] for defect in DEFECTS} | {"DELTA_COMPACTED"} | OF_TOPICS
    assert seeded == set(Odd) == set(SENTENCES)


def test_the_report_does_not_depend_on_how_the_stream_was_read(clean, settings):
    """Any batches and any interleaving of the partitions: it is judged in its one order."""
    seeded, _ = seq_gap(list(clean))
    seeded, _ = half_told_fill(seeded)
    seeded = numbered(wrong_key(seeded)[0])
    report = check(RecordingSource(seeded), settings)
    assert [finding.kind for finding in report.findings] == ["KEY", "SEQ_GAP", "LONGS_SHORTS"]
    for seed in (1, 2):
        assert check(RecordingSource(seeded, interleaving_seed=seed, batch_max=seed * 37), settings) == report


def test_numbers_across_accounts_are_not_taken_for_gaps(settings):
    """Where `seq` counts the whole exchange, nothing can be missed in it, and the report says so."""
    updates = [AccountUpdate(account=f"a{n % 2}", epoch=1, seq=n, full=n < 2) for n in range(20)]
    records = [Record(UPDATES, 0, m.seq, 1000, m.account.encode(), encode(m)) for m in updates]
    report = check(RecordingSource(records), settings)
    assert not report.seq_counts_by_one
    assert [finding.kind for finding in report.findings] == [Odd.NO_INSTRUMENTS]


def test_a_null_value_that_removes_an_account_is_counted_and_not_odd(clean, settings):
    """On topics of accounts and positions that is what it is for; the book goes on without the account."""
    place = at(clean, "accounts")
    gone = msgspec.structs.replace(last(clean[place], clean), value=None)
    report = check(RecordingSource(numbered([*clean, gone])), settings)
    assert (report.findings, report.removals) == ([], 1)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_command_says_what_it_found(capsys, clean, folder, tmp_path, form):
    """Exit code 0 for what is harmless, 1 for what is wrong; in words and as JSON."""
    arguments = ("--settings", folder / "settings.toml", *form)
    for defect, code in ((seq_repeated, 0), (wrong_key, 1)):
        seeded, (kind, subject, _) = defect(list(clean))
        write_records(tmp_path / "seeded.jsonl", numbered(seeded))
        ended, out, _ = adl(capsys, "check", tmp_path / "seeded.jsonl", *arguments)
        assert ended == code
        if form:
            assert [(f["kind"], f["subject"]) for f in json.loads(out)["findings"]] == [(kind, subject)]
            assert json.loads(out)["ok"] == (code == 0)
        else:
            assert f"{kind}: {SENTENCES[kind]}\n         {subject}, first at " in out


def test_a_recording_of_other_topics_is_refused(capsys, tmp_path):
    """One sentence, with the topic."""
    write_records(tmp_path / "other.jsonl", [Record("elsewhere", 0, 0, 1, b"k", b"{}")])
    code, _, err = adl(capsys, "check", tmp_path / "other.jsonl")
    assert (code, err.count("\n")) == (2, 1)
    assert "lacks elsewhere" in err


def test_many_findings_of_a_kind_are_a_few_lines(capsys, clean, folder, tmp_path):
    """Marks of all symbols stop: the meaning once, each symbol a line, nothing about the others but their number."""
    marks = [record for record in clean if record.topic == MARKS]
    kept = [record for record in clean if record.topic != MARKS] + marks[: len(marks) // 4]
    write_records(tmp_path / "seeded.jsonl", numbered(sorted(kept, key=lambda record: record.log_time_ms)))
    code, out, _ = adl(capsys, "check", tmp_path / "seeded.jsonl", "--settings", folder / "settings.toml")
    assert code == 0
    assert out.count("MARK_AGE") == 1
    assert len([line for line in out.splitlines() if line.endswith("the limit is 60,000")]) == 4
