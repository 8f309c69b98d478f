"""The command line: each command's words, JSON and exit code, on a small demo run once."""

import json
import re
import sys
from decimal import Decimal

import pytest

from schemas import AdlDecision, ForcedTrade, decode_output
from worker import cli
from worker.edge.recording import committed_outputs
from worker.summary import summarise


def run(*arguments):
    """Exit code of `adl ARGUMENTS`."""
    old, sys.argv = sys.argv, ["adl", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = old
    return 0


def adl(capsys, *arguments):
    """Exit code, standard output, standard error of `adl ARGUMENTS`."""
    capsys.readouterr()
    code = run(*arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Outputs of a demo of 1,000 accounts."""
    out = tmp_path_factory.mktemp("demo")
    assert run("demo", "--out", out, "--accounts", 1000, "--seed", 3, "--json") in (0, 1)  # 1: a check, tested below
    return out


@pytest.fixture(scope="module")
def outputs(folder):
    return list(committed_outputs(folder))


def test_there_is_nothing_to_verify_without_outputs(capsys, folder, tmp_path):
    """One sentence that says what to do, and no folder is left behind."""
    recording = tmp_path / "other.jsonl"
    recording.write_bytes((folder / "recording.jsonl").read_bytes())
    code, _, err = adl(capsys, "replay", recording, "--verify", "--settings", folder / "settings.toml")
    assert (code, err.count("\n")) == (3, 1)
    assert "there is nothing to verify in" in err
    assert list(tmp_path.iterdir()) == [recording]


def test_a_replay_of_the_demo_writes_the_demos_bytes(capsys, folder, tmp_path):
    """The recording alone gives the outputs that the exchange was answered with."""
    arguments = folder / "recording.jsonl", "--settings", folder / "settings.toml", "--out", tmp_path, "--json"
    code, out, _ = adl(capsys, "replay", *arguments)
    assert code == (0 if all(not check["failures"] for check in json.loads(out)["summary"]["checks"]) else 1)
    assert (tmp_path / "outputs.jsonl").read_bytes() == (folder / "outputs.jsonl").read_bytes()
    assert json.loads(out)["summary"]["decisions"]
    again = adl(capsys, "replay", *arguments)
    assert (tmp_path / "outputs.jsonl").read_bytes() == (folder / "outputs.jsonl").read_bytes()
    assert json.loads(again[1])["summary"] == json.loads(out)["summary"]


def test_verify_derives_every_output_again(capsys, folder):
    """Exit code 0 and the number compared; nothing is written."""
    before = (folder / "outputs.jsonl").read_bytes()
    count = len(before.splitlines())
    arguments = folder / "recording.jsonl", "--settings", folder / "settings.toml", "--out", folder
    code, out, _ = adl(capsys, "replay", "--verify", *arguments)
    assert code == 0
    assert re.match(rf"{count} outputs with \d+ decisions derived again: the same bytes\n", out)
    assert (folder / "outputs.jsonl").read_bytes() == before


def test_verify_by_another_version_claims_no_bytes(capsys, folder, monkeypatch):
    """What another version of the code decided is compared on meaning, and nothing else is said."""
    monkeypatch.setattr(sys.modules["worker.cli.replay"], "code_digest", lambda _: "another")
    arguments = folder / "recording.jsonl", "--settings", folder / "settings.toml", "--out", folder
    code, out, _ = adl(capsys, "replay", "--verify", *arguments)
    assert code == 0
    assert "derived again: the same in meaning\nanother version of the code decided them" in out
    assert "bytes" not in out


def test_verify_finds_a_changed_output(capsys, folder, tmp_path):
    """One quantity changed in one trade: exit code 1, and the record is named."""
    lines = (folder / "outputs.jsonl").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b"COUNTERPARTY" in line)
    lines[at] = re.sub(rb'(\\"quote_amount\\":\\"-?)(\d)', lambda m: m[1] + b"%d" % ((int(m[2]) + 1) % 10), lines[at])
    (tmp_path / "outputs.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "commits.jsonl").write_bytes((folder / "commits.jsonl").read_bytes())
    arguments = folder / "recording.jsonl", "--settings", folder / "settings.toml", "--out", tmp_path
    code, out, _ = adl(capsys, "replay", "--verify", *arguments, "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    offset = json.loads(lines[at])["offset"]
    assert any(f"forced-trades record {offset} differs" in sentence for sentence in report["differences"])


def test_a_trade_is_explained_in_words_and_as_json(capsys, folder, outputs):
    """Who, why, how much, at which price; the rank is the one the outputs give."""
    trades = [m for r in outputs if isinstance(m := decode_output(r.value), ForcedTrade)]
    trade = max((t for t in trades if t.role == "COUNTERPARTY"), key=lambda t: (Decimal(t.haircut), t.trade_id))
    code, out, _ = adl(capsys, "explain", trade.trade_id[:20], "--out", folder)
    assert code == 0
    for words in (trade.account, trade.quantity, "Why this account", "Why this amount", f"gives up {trade.haircut}"):
        assert words in out
    facts = json.loads(adl(capsys, "explain", trade.trade_id, "--out", folder, "--json")[1])["facts"]
    peers = [
        t
        for t in trades
        if (t.decision_id, t.symbol, t.side, t.round, t.role)
        == (trade.decision_id, trade.symbol, trade.side, trade.round, trade.role)
    ]
    assert facts["rank"]["of"] == len(peers)
    assert facts["rank"]["place"] == 1 + sum(t.score > trade.score for t in peers)


@pytest.mark.parametrize(
    ("option", "value"), [("--accounts", 499), ("--symbols", 1), ("--symbols", 21), ("--seed", -1)]
)
def test_a_demo_that_cannot_be_made_is_wrong_use(capsys, tmp_path, option, value):
    """The option is named; no folder is made."""
    code, _, err = adl(capsys, "demo", "--out", tmp_path / "none", option, value)
    assert code == 2
    assert option in err
    assert not (tmp_path / "none").exists()


def test_every_decision_and_trade_can_be_explained(outputs):
    """No status, role or round lacks its words."""
    messages = [decode_output(record.value) for record in outputs]
    decisions = {m.decision_id: m for m in messages if isinstance(m, AdlDecision)}
    trades = [m for m in messages if isinstance(m, ForcedTrade)]
    from worker.explain import explain_decision, explain_trade

    for decision in decisions.values():
        mine = [trade for trade in trades if trade.decision_id == decision.decision_id]
        assert all(explain_decision(decision, mine).sentences)
        for trade in mine:
            assert all(explain_trade(trade, decision, mine).sentences)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("explain", "zzz", "--out", "{folder}"), 2, "no decision or trade has the id 'zzz'"),
        (("explain", "0", "--out", "{folder}/no"), 3, "must be a folder of outputs"),
        (("replay", "{folder}/no.jsonl"), 3, "must be a readable file"),
        (
            ("replay", "{folder}/recording.jsonl", "--out", "{folder}/none", "--set", "input.topics.positions=books"),
            2,
            "input.topics must name every topic of the input, lacks positions",
        ),
        (("config", "show", "--set", "cut.watch=1"), 2, "cut.watch is not a setting; did you mean watch_ms?"),
        (("config", "show", "--settings", "{folder}/no.toml"), 2, "must be a readable TOML file"),
    ],
)
def test_expected_errors_are_one_sentence_and_an_exit_code(capsys, folder, arguments, code, sentence):
    """No traceback for what an operator can mend."""
    found, out, err = adl(capsys, *(word.format(folder=folder) for word in arguments))
    assert (found, out) == (code, "")
    assert err.startswith("adl: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_every_check_of_the_demo_passes(outputs):
    """What the outputs promise holds: chain, zero sums, trades there, certificates, reasons, waterfall."""
    assert [(check.promise, check.failures) for check in summarise(outputs).checks if not check.ok] == []


def test_the_summary_sees_a_lost_record(outputs):
    """Without its first forced trade the chain breaks, the sums are not zero and a decision misses a trade."""
    first = next(i for i, r in enumerate(outputs) if r.topic == "forced-trades")
    failed = {c.promise for c in summarise(outputs[:first] + outputs[first + 1 :]).checks if not c.ok}
    assert failed >= {
        "no output lost, doubled or torn",
        "per decision and symbol, quantities and cash sum to zero",
        "every decision's forced trades are there",
    }


def test_settings_and_version_are_shown_as_words_and_json(capsys):
    """Both forms say the same."""
    _, out, _ = adl(capsys, "config", "show", "--set", "cut.watch_ms=7")
    shown = json.loads(adl(capsys, "config", "show", "--set", "cut.watch_ms=7", "--json")[1])
    assert "watch_ms = 7" in out
    assert shown["settings"]["cut"]["watch_ms"] == 7
    assert f"# digest {shown['digest']}" in out
    facts = json.loads(adl(capsys, "version", "--json")[1])
    assert facts["code_digest"] in adl(capsys, "version")[1]
