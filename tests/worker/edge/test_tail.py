"""Outputs as lines: each says who, what and how much, and can be looked up."""

import json

import pytest

from schemas import AdlDecision, DeadLetter, ForcedTrade, MarginReduction, decode_output, encode
from tests.schemas.test_examples import FILES, messages_of
from tests.worker.test_cli import adl, run
from worker.edge.recording import committed_outputs
from worker.edge.tail import line
from worker.record import Record

SAID = AdlDecision | ForcedTrade | MarginReduction | DeadLetter
EXAMPLES = {file.stem: messages_of(file)[0] for file in FILES}


def lines(records):
    """The lines of those records that have one."""
    messages = [(decode_output(record.value), record.log_time_ms) for record in records]
    return [line(message, at_ms) for message, at_ms in messages if isinstance(message, SAID)]


def line_of(name, encoding="json", log_time_ms=1760131000120):
    return lines([Record("t", 0, 0, log_time_ms, b"k", encode(EXAMPLES[name], encoding))])


LINES = """
adl_decision_decided      decision 6a18e2319d57 DECIDED: carol (deficit 1000); SHORT 2/2 BTC-PERP at 50300; 3 trades \
with 2 accounts; fund 400, haircut 600, bad debt 0
forced_trade_counterparty trade 274b01e98bd2 of 6a18e2319d57: COUNTERPARTY dave BUY 0.871 BTC-PERP at 50300 for \
-43811.3, haircut 261.3, leverage 5.0x
forced_trade_liquidated   trade 9a6e377cfdef of 6a18e2319d57: LIQUIDATED carol SELL 2 BTC-PERP at 50300 for 100600, \
haircut -600
margin_reduction_cross    reduction 534998e78432: ivan SELL 1.39 BTC-PERP cross, 1 of 1, tier 1.25, margin ratio \
1.169064, then 2.338129
margin_reduction_isolated reduction c5e37cc02f57: grace BUY 5.5 ETH-PERP isolated, 1 of 1, tier 1.1, margin ratio \
1.058275, then nothing left
dead_letter               dead letter LOT positions:1@912: quantity must be a whole number of lots of 0.001, \
was '1.0005'
""".strip().splitlines()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize(("name", "words"), [line.split(maxsplit=1) for line in LINES])
def test_a_line_says_who_what_and_how_much(name, words, encoding):
    """In whichever encoding the output was written."""
    assert line_of(name, encoding) == [f"2025-10-10 21:16:40.120 {words}"]


def test_every_output_has_its_line_or_says_nothing():
    """Every status, role and reason of the examples; cuts and advice are left out."""
    for name, message in EXAMPLES.items():
        if name.split("_")[0] in ("adl", "forced", "margin", "cut", "dead") and not name.startswith(
            "forced_trade_result"
        ):
            assert len(line_of(name)) == isinstance(message, SAID), name
    [held] = line_of("adl_decision_held")
    assert f"HELD {EXAMPLES['adl_decision_held'].reason}: " in held
    assert line_of("adl_decision_shadow")[0].endswith("; shadow, nothing was traded")


def test_a_decision_of_many_names_the_first():
    """A burst of hundreds is one line of a length that can be read."""
    decision = EXAMPLES["adl_decision_decided"]
    many = AdlDecision(**{name: getattr(decision, name) for name in decision.__struct_fields__} | {
        "bankruptcies": decision.bankruptcies * 100, "demands": decision.demands * 50,
    })  # fmt: skip
    [words] = lines([Record("t", 0, 0, 0, b"k", encode(many))])
    assert "carol (deficit 1000) and 97 more; " in words
    assert "at 50300 and 47 more; " in words


def test_any_log_time_has_a_line():
    """A recording may hold a time that no calendar has."""
    assert line_of("dead_letter", log_time_ms=2**53)[0].startswith(f"{2**53} dead letter")


def test_the_command_prints_the_last_lines(capsys, tmp_path):
    """The last twenty; others when asked; as JSON the messages themselves."""
    assert run("demo", "--out", tmp_path, "--accounts", 500, "--symbols", 4, "--json") in (0, 1)
    everything = lines(committed_outputs(tmp_path))
    assert len(everything) > 30
    assert adl(capsys, "tail", tmp_path)[1].splitlines() == everything[-20:]
    assert adl(capsys, "tail", tmp_path, "-n", 0)[1].splitlines() == everything
    code, out, _ = adl(capsys, "tail", tmp_path, "-n", 3, "--json")
    messages = [decode_output(record.value) for record in committed_outputs(tmp_path)]
    shown = [m for m in messages if isinstance(m, SAID)][-3:]
    assert (code, out.splitlines()) == (0, [encode(message).decode() for message in shown])
    assert all(json.loads(words)["type"] for words in out.splitlines())


def test_a_folder_without_outputs_is_one_sentence(capsys, tmp_path):
    """Exit code 3, as everywhere."""
    code, out, err = adl(capsys, "tail", tmp_path)
    assert (code, out, err.count("\n")) == (3, "", 1)


def test_a_folder_with_a_record_taken_out_is_called_broken(capsys, tmp_path):
    """What is left is shown; the exit code says that it is not whole. A folder cannot be followed."""
    assert run("demo", "--out", tmp_path, "--accounts", 500, "--symbols", 4, "--json") in (0, 1)
    records = (tmp_path / "outputs.jsonl").read_bytes().splitlines(keepends=True)
    gone = next(place for place, record in enumerate(records) if b'"forced-trades"' in record)
    (tmp_path / "outputs.jsonl").write_bytes(b"".join(records[:gone] + records[gone + 1 :]) + b" " * 2000)
    code, out, err = adl(capsys, "tail", tmp_path)
    assert (code, len(out.splitlines())) == (1, 20)
    assert err.startswith("BROKEN forced-trades: record 1 is missing before forced-trades:0@1\n")
    assert adl(capsys, "tail", tmp_path, "--follow")[0] == 2
