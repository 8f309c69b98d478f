"""`adl compare`: each policy decides as the worker would, and what is said of it is what its outputs say."""

import json
import sys
from collections import Counter
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from schemas import (
    AccountUpdate,
    AdlDecision,
    Balance,
    ForcedTrade,
    Position,
    RiskModel,
    RiskSymbol,
    decode_output,
    encode,
)
from tests.worker.tape import Tape, settings_of
from tests.worker.test_cli import adl, run
from worker.candidate import Candidate
from worker.compare import compare
from worker.cut import Event
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import RecordingSource
from worker.loop import run as run_worker
from worker.memory import MemorySink
from worker.reader import Reader
from worker.settings import KINDS, load

POLICIES = ("risk", "factor", "waterfill", "queue:pnl_leverage")
PARTITIONS = [(kind, 0) for kind in KINDS]


def source_of(records):
    return RecordingSource(records, partitions=PARTITIONS)


@pytest.fixture(scope="module")
def crash(tmp_path_factory):
    """A small demo's recording, but for the answers to the trades of the policy that was in force; its settings."""
    out = tmp_path_factory.mktemp("demo")
    assert run("demo", "--out", out, "--accounts", 500, "--symbols", 4, "--seed", 5, "--json") in (0, 1)
    records = [record for block in read_records(out / "recording.jsonl") for record in block]
    settings = load((out / "settings.toml").read_text())
    return [record for record in records if record.topic != "forced-trade-results"], settings


@pytest.fixture(scope="module")
def compared(crash):
    """The comparison of all policies on it."""
    records, settings = crash
    return compare(source_of(records), settings, POLICIES)


@pytest.fixture(scope="module")
def outputs(crash):
    """What the worker itself says of it, by policy."""
    records, settings = crash
    said = {}
    for policy in POLICIES:
        decision = msgspec.structs.replace(settings.decision, policy=policy)
        said[policy] = MemorySink()
        run_worker(source_of(records), said[policy], msgspec.structs.replace(settings, decision=decision))
    return said


@pytest.mark.parametrize("policy", POLICIES)
def test_a_candidate_writes_the_workers_bytes(crash, outputs, policy):
    """Watching changes nothing."""
    records, settings = crash
    candidate, reader, written = Candidate(settings, policy, None, None), Reader(source_of(records), settings), []
    for steps in reader.steps():
        for step in steps:
            if isinstance(step, Event):
                candidate.apply(step)
            else:
                written += [(out.topic, out.key, out.value) for out in candidate.cut(step) if out.topic != "adl-state"]
    assert written == [(record.topic, record.key, record.value) for record in outputs[policy].records]


@pytest.mark.parametrize("policy", POLICIES)
def test_figures_are_those_of_the_outputs(compared, outputs, policy):
    """Counted again from decisions and forced trades alone."""
    found = next(item for item in compared[0].policies if item.policy == policy)
    messages = [decode_output(record.value) for record in outputs[policy].records]
    decisions = {m.decision_id: m for m in messages if isinstance(m, AdlDecision) and m.status != "HELD"}
    trades = [m for m in messages if isinstance(m, ForcedTrade) and m.role == "COUNTERPARTY"]
    hit = {name: {t.account for t in trades if t.decision_id == name} for name in decisions}
    times = Counter(account for accounts in hit.values() for account in accounts)
    in_all = found.in_all
    assert in_all.decisions == Counter(decision.status for decision in decisions.values())
    assert (in_all.accounts_touched, in_all.repeat_hits) == (len(times), sum(count > 1 for count in times.values()))
    assert in_all.haircut == sum(Decimal(decision.haircut) for decision in decisions.values()) > 0
    paid = sum(Decimal(trade.haircut) for trade in trades)  # each leg to the smallest amount
    assert abs(in_all.haircut - paid) <= Decimal("1e-6") * len(trades)
    assert in_all.bad_debt == sum(Decimal(decision.bad_debt) for decision in decisions.values())
    assert in_all.fund == sum(Decimal(decision.fund) for decision in decisions.values()) > 0
    assert in_all.residuals == sum(Decimal(d.residual) > 0 for m in decisions.values() for d in m.demands)
    taken = sum(Decimal(d.taken) * Decimal(d.mark_price) for m in decisions.values() for d in m.demands)
    assert in_all.notional == pytest.approx(float(taken), rel=1e-12)
    assert [burst.decision_id for burst in found.bursts] == list(decisions)
    exact = 0
    for burst in found.bursts:
        decision, mine = decisions[burst.decision_id], [t for t in trades if t.decision_id == burst.decision_id]
        assert burst.accounts == len(hit[burst.decision_id]) == decision.accounts
        if burst.metrics is None:
            assert not mine
            continue
        # To the rounding of each leg; where one price stands for several bankrupt accounts' and not all is taken, whose
        # lots were taken is a matter of single lots.
        whole = decision.status == "DECIDED" and len(decision.certificates) == 1
        within = 1e-6 * (decision.trades + 1) if whole else 1e-3 * float(burst.haircut)
        assert burst.metrics.haircut_total == pytest.approx(float(burst.haircut), abs=within)
        exact += whole
        assert burst.metrics.accounts_touched >= burst.accounts  # an isolated position counts for itself
    assert exact


def test_leverage_and_losses_are_those_of_the_decisions(compared, outputs):
    """What certificates and demands say of a decision of one round is what is measured."""
    checked = 0
    for item in compared[0].policies:
        messages = [decode_output(record.value) for record in outputs[item.policy].records]
        decisions = {m.decision_id: m for m in messages if isinstance(m, AdlDecision) and m.status != "HELD"}
        for burst in item.bursts:
            decision = decisions[burst.decision_id]
            if len(decision.certificates) != 1:
                continue
            largest = max((d.leverage_after_max or 0.0 for d in decision.demands), default=0.0)
            assert burst.metrics.leverage_after_max >= largest * (1 - 1e-12)  # accounts that may not be asked count too
            certificate = decision.certificates[0]
            if item.policy == "risk":
                assert burst.metrics.expected_loss_before == pytest.approx(certificate.objective_before, rel=1e-12)
                # In whole lots, the certificate's are relaxed: it can only be worse, and by no more than lots matter.
                assert burst.metrics.expected_loss_after >= certificate.objective_after * (1 - 1e-9)
                assert burst.metrics.expected_loss_after == pytest.approx(certificate.objective_after, rel=0.05)
                checked += 1
    assert checked > 3


def test_the_first_decision_is_on_the_same_book_and_risk_leaves_the_least(compared):
    """All begin with the same expected loss; no policy's is smaller after than the one that minimises it."""
    first = {item.policy: item.bursts[0].metrics for item in compared[0].policies}
    assert len({metrics.expected_loss_before for metrics in first.values()}) == 1
    least = first["risk"].expected_loss_after
    assert all(metrics.expected_loss_after >= least * (1 - 1e-6) for metrics in first.values())
    assert len({item.in_all.loss_removed for item in compared[0].policies}) > 2


def test_curves_are_of_those_who_could_pay(compared):
    """What is drawn adds up to what is said."""
    for item, curves in zip(compared[0].policies, compared[1], strict=True):
        assert curves.policy == item.policy
        assert curves.notional.sum() == pytest.approx(item.in_all.notional)
        assert curves.haircut.sum() == pytest.approx(float(item.in_all.haircut), rel=1e-3)
        touched = sum(burst.metrics.accounts_touched for burst in item.bursts if burst.metrics)
        assert curves.leverage_before.size == curves.leverage_after.size == touched
        assert curves.haircut.size >= item.in_all.accounts_touched


def twins(*more):
    """Two shorts alike, 10 each at 105 on equity 1,100, and a long of 10 that is 50 under water."""
    tape = Tape().instrument().mark(price="100")
    for name in ("anna", "bert", *more):
        tape.account(name, "1050", ("BTC", "-10", "105"))
    return tape.account("loser", "0", ("BTC", "10", "105")).at(2000)


def figures(tape, policy, **more):
    return compare(source_of(tape.records), settings_of(), [policy], **more)[0].policies[0]


def test_two_policies_by_hand():
    """Waterfill takes five of each, a queue all of one; 50 of haircut either way."""
    tape = twins().bankrupt("loser")
    both, one = figures(tape, "waterfill").in_all, figures(tape, "queue:pnl_leverage").in_all
    assert (both.accounts_touched, both.accounts_closed, both.haircut_gini, both.haircut) == (2, 0, 0.0, 50)
    assert (one.accounts_touched, one.accounts_closed, one.haircut_gini, one.haircut) == (1, 1, 0.5, 50)
    assert (both.leverage_end_max, one.leverage_end_max) == (pytest.approx(500 / 1075), pytest.approx(1000 / 1100))
    assert (both.haircut_to_profit_max, one.haircut_to_profit_max) == (0.5, 1.0)
    assert (both.haircut_to_equity_max, one.haircut_to_equity_max) == (
        pytest.approx(25 / 1100),
        pytest.approx(50 / 1100),
    )
    # 25 left of 50 to either; 50 to who was not asked.
    assert (both.profit_to_deficits, both.profit_to_largest_deficit, one.profit_to_deficits) == (0.5, 0.5, 1.0)
    assert (both.deficit, both.overshoot, both.notional, both.accounts_insolvent_end) == (50, 0, 1000.0, 0)


def test_what_a_policy_took_is_held_in_its_own_book():
    """The second decision begins where the first ended, under each policy, and hits are counted over both."""
    tape = twins("cleo").account("later", "0", ("BTC", "8", "105")).bankrupt("loser").at(3000).bankrupt("later")
    both, one = figures(tape, "waterfill"), figures(tape, "queue:pnl_leverage")
    assert [burst.accounts for burst in both.bursts] == [3, 3]
    assert (both.in_all.accounts_touched, both.in_all.repeat_hits) == (3, 3)
    assert (one.in_all.accounts_touched, one.in_all.repeat_hits) == (2, 0)
    assert [burst.metrics.repeat_hits for burst in both.bursts] == [0, 3]
    assert one.bursts[1].metrics.leverage_after_max == pytest.approx(1000 / 1100)


def test_losses_of_every_policy_count_balances_in_other_currencies():
    """Ethers behind a short of dollars' worth are a risk whoever is asked: all begin with the loss that `risk` sees."""
    tape = Tape().instrument().instrument("ETH", lot="0.01").mark(price="100").mark("ETH", "50")
    for seq, (name, eth) in enumerate((("anna", "10"), ("bert", "20"))):
        balances = [Balance(currency="USD", amount="550"), Balance(currency="ETH", amount=eth)]
        held = [Position(symbol="BTC", quantity="-10", entry_price="105")]
        tape.say(AccountUpdate(account=name, epoch=1, seq=seq, full=True, balances=balances, positions=held))
    tape.account("loser", "0", ("BTC", "10", "105")).at(2000).bankrupt("loser")
    settings = settings_of("pool.collateral.ETH=ETH")
    first = {
        item.policy: item.bursts[0].metrics for item in compare(source_of(tape.records), settings, POLICIES)[0].policies
    }
    assert len({metrics.expected_loss_before for metrics in first.values()}) == 1
    least = first["risk"].expected_loss_after
    assert all(metrics.expected_loss_after >= least * (1 - 1e-9) for metrics in first.values())


def model(name, scale):
    symbols = [RiskSymbol(symbol="BTC", loadings=[scale], idiosyncratic=0.0)]
    return RiskModel(id=name, horizon_seconds=60, tail=4.0, symbols=symbols)


def test_one_model_measures_all_and_a_given_one_stands_in_place_of_the_streams():
    """The stream's where none is given; the given one whatever the stream says; the default without either."""
    without, tape = twins().bankrupt("loser"), twins()
    tape.say(model("mild", 0.1)).at(2500).bankrupt("loser")
    found = {}
    for name, records, given in (("default", without, None), ("mild", tape, None), ("wild", tape, model("wild", 0.4))):
        comparison = compare(source_of(records.records), settings_of(), POLICIES[2:], model=given)[0]
        assert comparison.risk_models == [name]
        losses = {item.bursts[0].metrics.expected_loss_before for item in comparison.policies}
        assert len(losses) == 1
        found[name] = losses.pop()
    assert 0 < found["default"] < found["mild"] < found["wild"]


def test_a_control_changes_no_policy_and_results_answer_nothing():
    """What an operator and an exchange said was about the policy that was in force."""
    tape = twins().bankrupt("loser")
    said = tape.run("decision.policy=waterfill")
    tape.at(3000)
    for trade in said.trades:
        tape.result(trade, "0", "SAID_NO")
    tape.control("POLICY", policy="queue:effective_leverage")
    found = figures(tape, "waterfill")
    assert found == figures(twins().bankrupt("loser"), "waterfill")


def test_in_shadow_mode_everything_is_held_all_the_same():
    """A comparison asks nobody for anything."""
    tape = twins("cleo").account("later", "0", ("BTC", "8", "105")).bankrupt("loser").at(3000).bankrupt("later")
    shadow = compare(source_of(tape.records), settings_of("worker.mode=shadow"), ["waterfill"])[0]
    assert shadow.policies[0].in_all == figures(tape, "waterfill").in_all


# --- the command ------------------------------------------------------------------------------------------------------

SETTINGS = ("--set", "pool.currency=USD", "--set", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "twins.jsonl"
    write_records(path, twins().bankrupt("loser").records)
    return path


def test_the_table_the_file_and_standard_output_say_the_same(capsys, recording, tmp_path):
    """One line per figure, one column per policy; the JSON document is the comparison."""
    arguments = "compare", recording, *SETTINGS, "--policies", "waterfill, queue:pnl_leverage", "--out", tmp_path
    code, out, err = adl(capsys, *arguments)
    assert (code, err) == (0, "")
    lines = {tuple(line.split()) for line in out.splitlines()}
    assert ("figure", "waterfill", "queue:pnl_leverage") in lines
    assert ("accounts", "taken", "from", "2", "1") in lines
    assert ("Gini", "of", "haircuts", "0.000", "0.500") in lines
    assert ("largest", "haircut", "of", "profit", "50.00%", "100.00%") in lines
    assert "by risk model default" in out
    written = json.loads((tmp_path / "compare.json").read_bytes())
    assert [item["in_all"]["haircut"] for item in written["policies"]] == ["50", "50"]
    code, out, _ = adl(capsys, *arguments, "--json")
    assert json.loads(out) == written


def test_pictures_are_written_and_the_same_each_time(capsys, recording, tmp_path):
    """Two SVG files; a policy that asks nobody has its place."""
    for folder in ("one", "two"):
        assert adl(capsys, "compare", recording, *SETTINGS, "--out", tmp_path / folder)[0] == 0
    for name in ("leverage.svg", "who-paid.svg"):
        picture = (tmp_path / "one" / name).read_bytes()
        assert picture == (tmp_path / "two" / name).read_bytes()
        for policy in (b"risk", b"waterfill", b"queue:pnl_leverage"):
            assert policy in picture
    quiet = tmp_path / "quiet.jsonl"
    write_records(quiet, twins().records)
    assert adl(capsys, "compare", quiet, *SETTINGS, "--policies", "waterfill", "--out", tmp_path / "quiet")[0] == 0
    assert b"no haircuts" in (tmp_path / "quiet" / "who-paid.svg").read_bytes()


def test_without_matplotlib_one_sentence_and_the_rest(capsys, recording, tmp_path, monkeypatch):
    """The JSON is written all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = adl(capsys, "compare", recording, *SETTINGS, "-p", "waterfill", "--out", tmp_path)
    assert (code, err) == (0, "adl: plots need matplotlib: pip install 'adl-worker[plot]'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["compare.json"]


def test_a_model_from_a_file_is_named(capsys, recording, tmp_path):
    """As `adl risk-model fit` writes it."""
    path = tmp_path / "model.json"
    path.write_bytes(encode(model("mine", 0.2)) + b"\n")
    out = adl(capsys, "compare", recording, *SETTINGS, "-p", "waterfill", "--risk-model", path)[1]
    assert "by risk model mine" in out


@pytest.mark.parametrize(("policies", "sentence"), [("none", "was 'none'"), ("waterfill,waterfill", "once")])
def test_a_wrong_list_of_policies_is_wrong_use(capsys, recording, policies, sentence):
    """Exit code 2 and what there is."""
    code, _, err = adl(capsys, "compare", recording, "--policies", policies)
    assert (code, sentence in err) == (2, True)


def test_an_infinite_share_is_said_in_words(capsys, tmp_path):
    """Who has no profit and pays: not a number in the table, null in the document."""
    tape = Tape().instrument().mark(price="100").account("anna", "1000", ("BTC", "-10", "95"))
    tape.account("loser", "0", ("BTC", "10", "105")).at(2000).bankrupt("loser")
    write_records(tmp_path / "r.jsonl", tape.records)
    out = adl(capsys, "compare", tmp_path / "r.jsonl", *SETTINGS, "-p", "waterfill", "--out", tmp_path)[1]
    assert "no profit" in out
    document = json.loads((tmp_path / "compare.json").read_bytes())
    assert document["policies"][0]["in_all"]["haircut_to_profit_max"] is None
    assert np.isinf(figures(tape, "waterfill").in_all.haircut_to_profit_max)
