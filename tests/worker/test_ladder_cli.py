"""`adl ladder` says of a recording what a full recomputation finds in its messages."""

import json
from math import inf

import pytest

from schemas import Account, AccountUpdate, Instrument, MarkPrice, decode, text_of
from tests.worker.book.twin import Twin
from tests.worker.book.twin_queue import depth, queue
from tests.worker.tape import Tape
from tests.worker.test_cli import adl, run
from worker.book.levels import leverage_from
from worker.edge.jsonlines import read_records, write_records
from worker.settings import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A crash at a small exchange: every role and class, cross and isolated positions, hedge mode."""
    out = tmp_path_factory.mktemp("demo")
    assert run("demo", "--out", out, "--accounts", 500, "--symbols", 4, "--seed", 3, "--json") in (0, 1)
    return out


@pytest.fixture(scope="module")
def twin(folder):
    settings = load((folder / "settings.toml").read_text())
    made = Twin(settings.pool.currency, settings.pool.currency_decimals, settings.pool.collateral)
    for block in read_records(folder / "recording.jsonl"):
        for record in block:
            for message in decode(record.value):
                if isinstance(message, Instrument):
                    made.set_instrument(message)
                elif isinstance(message, MarkPrice):
                    made.set_mark(message, record.log_time_ms)
                elif isinstance(message, Account):
                    made.set_account(message)
                elif isinstance(message, AccountUpdate):
                    made.apply_update(message)
    return made


def finite(leverage):
    return None if leverage == inf else leverage


def test_ladders_of_a_recording_are_those_of_a_full_recomputation(capsys, folder, twin):
    """Both sides of every symbol: levels, the whole queue in its order, and where its last one stands."""
    queued = 0
    options = "--recording", folder / "recording.jsonl", "--settings", folder / "settings.toml", "--json"
    for symbol in twin.instruments:
        lines = {side: queue(twin, symbol, sign) for side, sign in (("LONG", 1), ("SHORT", -1))}
        account = (lines["SHORT"] or lines["LONG"])[-1].account
        code, out, _ = adl(capsys, "ladder", symbol, "--top", 999, "--account", account, *options)
        said, lot = json.loads(out), twin.lot(symbol)
        assert (code, said["symbol"], [line["side"] for line in said["sides"]]) == (0, symbol, list(lines))
        for line, places in zip(said["sides"], lines.values(), strict=True):
            assert [
                (rung["leverage_above"], rung["positions"], float(rung["quantity"]), rung["notional"])
                for rung in line["levels"]
            ] == [
                (finite(leverage_from(level)), count, float(lots * lot), text_of(notional, twin.decimals))
                for level, count, lots, notional in depth(twin, symbol, places)
            ]
            assert [(one["rank"], one["account"], one["margin_mode"], one["leverage"]) for one in line["first"]] == [
                (rank, place.account, "isolated" if place.isolated else "cross", finite(place.leverage))
                for rank, place in enumerate(places, start=1)
            ]
            ranks = [rank for rank, place in enumerate(places, start=1) if place.account == account]
            assert line["account_rank"] in (ranks or [None])
            assert line["positions"] == len(places)
            queued += len(places)
    assert queued > 300


def test_a_ladder_can_be_read_by_people(capsys, tmp_path):
    """Depth, the first and one account's place, to the letter; a side where nobody stands says so."""
    tape = Tape().instrument("A").mark("A", "100")
    for name, cash, quantity in (("ann", "100", "10"), ("bob", "50", "10"), ("cee", "50", "10"), ("dee", "0", "1000")):
        tape.account(name, cash, ("A", quantity, "100"))
    path = tmp_path / "tape.jsonl"
    write_records(path, tape.records)
    flags = "--set", "pool.currency=USD", "--set", "pool.currency_decimals=2"
    code, out, err = adl(capsys, "ladder", "A", "--recording", path, "--top", 2, "--account", "ann", *flags)
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        "A, mark 100",
        "",
        "LONG: 4 positions, notional 103,000",
        "leverage above  positions  quantity  notional",
        "     no equity          1      1000   100,000",
        "        19.69x          2        20     2,000",
        "        9.846x          1        10     1,000",
        "",
        "First of 4:",
        "rank  account  margin   leverage",
        "   1  dee       cross  no equity",
        "   2  bob       cross        20x",
        "",
        "ann: 4 of 4",
        "",
        "SHORT: 0 positions, notional 0",
        "",
        "ann: not in this line",
    ]


def test_what_is_not_there_is_said(capsys, folder):
    """A symbol without an instrument, an account without an update: one sentence, and the code of wrong use."""
    options = "--recording", folder / "recording.jsonl", "--settings", folder / "settings.toml"
    code, _, err = adl(capsys, "ladder", "NONE", *options)
    assert (code, err) == (2, "adl: SYMBOL must have an instrument in the inputs, was NONE\n")
    symbol = "AAA-PERP"
    code, _, err = adl(capsys, "ladder", symbol, "--account", "nobody", *options)
    assert (code, err) == (2, "adl: --account must be one with an update in the inputs, was nobody\n")
