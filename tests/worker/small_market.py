"""The market of the tests that can be checked by hand; every run is also read by the auditor.

BTC at 100, maintenance 10 %. `loser` holds 10 long bought at 105 and no cash: 50 under water with a requirement of 100,
so his bankruptcy price is 105. `winner` is 10 short on 1,100, `rich` 10 short on 100,050.
"""

from tests.worker.auditor import audit
from tests.worker.tape import Tape

FEW = ("account", "deficit", "fund", "haircut", "bad_debt")


def market(*losers):
    tape = Tape().instrument().mark(price="100")
    tape.account("winner", "1050", ("BTC", "-10", "105")).account("rich", "100000", ("BTC", "-10", "105"))
    for name in losers or ("loser",):
        tape.account(name, "0", ("BTC", "10", "105"))
    return tape.at(2000)


def run(tape, *flags):
    """What the worker says, once the auditor agrees."""
    said = tape.run(*flags)
    given = dict(flag.removeprefix("decision.").split("=") for flag in flags)
    rules = {name: given[name] for name in ("settlement", "collar", "residual") if name in given}
    assert audit(tape.records, said.decisions, said.trades, said.cuts, **rules) == []
    return said


def waterfall(decision):
    return [tuple(getattr(item, name) for name in FEW) for item in decision.bankruptcies]


def legs(said, decision=0):
    """(account, side, quantity, quote) of a decision's legs, sorted, whatever their symbol."""
    name = said.decisions[decision].decision_id
    return sorted((t.account, t.side, t.quantity, t.quote_amount) for t in said.trades if t.decision_id == name)


def thin():
    """A short of 6 with equity 20: it cannot give up 5 of 100, but can be closed at the mark."""
    tape = Tape().instrument().mark().account("loser", "0", ("BTC", "10", "105"))
    return tape.account("rich", "5000", ("BTC", "-4", "105")).account("thin", "-10", ("BTC", "-6", "105")).at(2000)


def answered(tape, filled, *flags, ms=3000):
    """The tape with results of its first run's counterparties: filled quantities by account."""
    said = tape.run(*flags)
    tape.at(ms)
    for trade in said.trades:
        if trade.role == "COUNTERPARTY" and trade.account in filled:
            tape.result(trade, filled[trade.account], "SAID_NO")
    return tape
