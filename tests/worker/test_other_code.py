"""What another version of the code decided is compared on meaning: a changed quantity is found, a changed float is not.

The other version is made here: what was published, with another digest of the code, fields changed, chained anew.
"""

from typing import Any, get_args

import msgspec

from schemas import link, messages
from tests.worker.random_run import source_of
from worker.edge.recording import committed_outputs
from worker.memory import MemorySink
from worker.output import CUTS, DEAD_LETTERS, DECISIONS, REDUCTIONS, TRADES
from worker.verify import BESIDE, verify_replay

OLDER = "older"


def by_another(folder, change=None, theirs=None):
    """A sink of what a folder holds, as another version would have said it; `theirs`: its decisions, else all."""
    sink, heads = MemorySink(), {}
    for record in committed_outputs(folder):
        topic, fields = record.topic, msgspec.json.decode(record.value)
        if topic == DECISIONS and (theirs is None or fields["decision_id"] in theirs):
            fields["code_digest"] = OLDER
        if change is not None:
            change(topic, fields)
        fields["chain"] = link(heads.get(topic, f"{fields['pool']}/{topic}".encode()))
        heads[topic] = msgspec.json.encode(fields)
        sink.records.append(msgspec.structs.replace(record, value=heads[topic]))
    return sink


def with_other_floats(said):
    """Every float in it another one, however deep."""
    if isinstance(said, float):
        return 1.5 * said + 1.0
    if isinstance(said, list):
        return [with_other_floats(item) for item in said]
    if isinstance(said, dict):
        return {name: with_other_floats(item) for name, item in said.items()}
    return said


def found_otherwise(topic, fields):
    """The same decisions, found in another way and said in other words."""
    fields |= with_other_floats(fields)
    if topic == DECISIONS:
        fields |= {"certificates": [], "state_digest": "0" * 32}
    if topic == DEAD_LETTERS:
        fields["sentence"] = "no"


def test_the_same_decisions_of_another_version_are_the_same_in_meaning(records, settings, undisturbed):
    """Its digest and how many decisions it made are said, and where it found them otherwise."""
    report = verify_replay(source_of(records), by_another(undisturbed[0], found_otherwise), settings)
    assert (report.ok, report.differences) == (True, [])
    assert report.other_code == {OLDER: report.decisions}
    assert report.decisions > 20
    assert report.beside.keys() >= {"certificates", "demands", "leverage", "sentence", "state_digest"}
    assert report.beside["state_digest"] == report.decisions


MEANT = [
    (TRADES, "quantity", "7777", None), (TRADES, "account", "a000x", None), (TRADES, "quote_amount", "7777", None),
    (TRADES, "adl_seq", 77, None), (TRADES, "decision_id", "another", None),
    (DECISIONS, "status", "NOTHING_TO_TAKE", None), (DECISIONS, "haircut", "7777", None),
    (DECISIONS, "policy", "another", None), (DECISIONS, "basis", {}, None), (DECISIONS, "fund_draws", {}, None),
    (DECISIONS, "taken", "7777", "demands"), (DECISIONS, "bad_debt", "7777", "bankruptcies"),
    (DEAD_LETTERS, "reason", "SIDE", None), (REDUCTIONS, "quantity", "7777", None),
]  # fmt: skip


def test_what_another_version_means_otherwise_is_found(records, settings, undisturbed):
    """One field of a record each, beside all that may be otherwise: every record and field is named."""
    waiting, spoilt = list(MEANT), []

    def change(topic, fields):
        found_otherwise(topic, fields)
        for case in waiting:
            of, name, value, row = case
            if of == topic and fields.get(row or name) not in (None, "0", value):
                (fields[row][0] if row else fields)[name] = value
                waiting.remove(case)
                spoilt.append((topic, fields["sequence"] - 1, row or name))
                return

    report = verify_replay(source_of(records), by_another(undisturbed[0], change), settings)
    assert waiting == []
    found = [sentence.partition(" was published as ")[0] for sentence in report.differences]
    assert sorted(found) == sorted(f"{topic} record {offset} differs: {name}" for topic, offset, name in spoilt)


def test_the_chain_of_another_version_must_hold(records, settings, undisturbed):
    """It is not ours, so it proves only that nothing was lost or doubled where it was published."""
    sink, broken = by_another(undisturbed[0]), []
    for topic in (TRADES, DECISIONS, CUTS):
        place = [at for at, record in enumerate(sink.records) if record.topic == topic][3]
        record = sink.records[place]
        fields = msgspec.json.decode(record.value) | {"chain": "0" * 32}
        sink.records[place] = msgspec.structs.replace(record, value=msgspec.json.encode(fields))
        broken.append(f"{topic} record {record.offset} differs: its chain is not that of the record before it")
    report = verify_replay(source_of(records), sink, settings)
    assert not report.ok
    assert set(broken) <= set(report.differences)


def test_in_a_log_of_two_versions_what_ours_decided_must_be_the_same_but_for_the_chain(records, settings, undisturbed):
    """An upgrade in the middle of the log hides nothing of what came behind it."""
    decisions = (record for record in committed_outputs(undisturbed[0]) if record.topic == DECISIONS)
    ids = [msgspec.json.decode(record.value)["decision_id"] for record in decisions]
    older = set(ids[: len(ids) // 2])

    def of_theirs(topic, fields):
        if fields.get("decision_id") in older:
            found_otherwise(topic, fields)

    def of_ours(topic, fields):
        if topic == TRADES and fields["decision_id"] not in older and "leverage" in fields:
            fields["leverage"] += 1.0

    count = sum(name in older for name in ids)
    for change, ok in ((of_theirs, True), (of_ours, False)):
        report = verify_replay(source_of(records), by_another(undisturbed[0], change, older), settings)
        assert (report.ok, report.other_code) == (ok, {OLDER: count})
        assert count < report.decisions
    assert all("leverage was published as" in sentence for sentence in report.differences)


OUTPUTS = (messages.ForcedTrade, messages.AdlDecision, messages.Cut, messages.MarginReduction, messages.DeadLetter)


def fields_in(hint: Any) -> dict[str, list[Any]]:
    """Types by name of the fields of a struct and of the structs in it."""
    if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        parts = [fields_in(part) for part in get_args(hint)]
    else:
        own = msgspec.structs.fields(hint)
        parts = [{field.name: [field.type]} for field in own] + [fields_in(field.type) for field in own]
    names = {name for part in parts for name in part}
    return {name: [hint for part in parts for hint in part.get(name, ())] for name in names}


def test_what_is_beside_the_meaning_is_all_floats_and_no_money():
    """A float added to an output is no meaning; a text left out would be, but for digests and sentences."""
    found = fields_in(tuple[OUTPUTS])
    floats = {name for name, hints in found.items() if any(float in (hint, *get_args(hint)) for hint in hints)}
    assert floats - {"kkt_residual", "objective_before", "objective_after"} <= BESIDE  # those stand in certificates
    assert found.keys() >= BESIDE
    texts = {name for name in BESIDE if any(str in (hint, *get_args(hint)) for hint in found[name])}
    assert texts == {"chain", "code_digest", "settings_digest", "state_digest", "risk_model_digest", "sentence"}
