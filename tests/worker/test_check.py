"""Each defect, seeded into a clean recording of the demo's exchange, is found as exactly that and as nothing else."""

import json

import msgspec
import pytest

from schemas import AccountUpdate, encode
from tests.worker.defects import (
    DEFECTS,
    MARKS,
    UPDATES,
    at,
    changes,
    half_told_fill,
    last,
    numbered,
    seq_gap,
    seq_repeated,
    wrong_key,
)
from tests.worker.test_cli import adl, run
from worker.check import check
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import RecordingSource
from worker.findings import HARMLESS, SENTENCES, Odd
from worker.record import Record
from worker.settings import load

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


def found(records, settings, **options):
    """(kind, subject, count) of every finding."""
    report = check(RecordingSource(numbered(records)), settings, **options)
    assert report.ok == all(finding.kind in HARMLESS for finding in report.findings)
    return [(finding.kind, finding.subject, finding.count) for finding in report.findings]


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
