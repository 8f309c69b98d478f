"""Defects to seed into a clean recording: each gives the records with it, and what must be found."""

import json

import msgspec

from schemas import Bankruptcy, BankruptcyLine, encode

UPDATES, MARKS = "positions", "mark-prices"


def numbered(records):
    """The records with offsets 0, 1, 2, ... in each partition."""
    following = {}
    made = []
    for record in records:
        offset = following[record.topic, record.partition] = following.get((record.topic, record.partition), -1) + 1
        made.append(msgspec.structs.replace(record, offset=offset))
    return made


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
    """The last update that moves one position never arrives."""
    place = at(records, UPDATES, where=lambda said: changes(said) and len(said.get("positions", ())) == 1, nth=-1)
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
