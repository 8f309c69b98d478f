"""A solver that is wrong ends in a refused decision: what fails its certificate is never published as trades."""

from dataclasses import replace

import numpy as np
import pytest

from solver import solve
from tests.worker.small_market import run
from tests.worker.tape import Tape


def market():
    """Three shorts of 100 BTC of different leverage; `loser` and `next` are long."""
    tape = Tape().instrument().mark()
    for name, balance in (("a", "1050"), ("b", "2000"), ("c", "9000")):
        tape.account(name, balance, ("BTC", "-100", "105"))
    return tape.account("loser", "0", ("BTC", "60", "105")).account("next", "0", ("BTC", "50", "105")).at(2000)


def a_lot_moved(solution):
    """The account that gave the most keeps a lot, the one that gave the least gives it."""
    lots = solution.reduction_lots.copy()
    lots[[np.argmax(lots), np.argmin(lots)]] += [-1, 1]
    return {"reduction_lots": lots}


def a_lot_short(solution):
    return {"reduction_lots": solution.reduction_lots - (solution.reduction_lots == solution.reduction_lots.max())}


WRONG = {
    "a lot from another account": a_lot_moved,
    "a lot short": a_lot_short,
    "lots twice": lambda s: {"reduction_lots": 2 * s.reduction_lots},
    "a shortage that is none": lambda s: {"residual_lots": s.residual_lots + 1, "status": "RESIDUAL"},
    "no convergence": lambda _: {"status": "NOT_CONVERGED"},
    "not a number": lambda s: {"relaxed_lots": s.relaxed_lots * np.nan},
    "nothing at all": lambda _: {"relaxed_lots": None},
}


@pytest.mark.parametrize("policy", ["risk", "waterfill", "queue:pnl_leverage", "pro_rata:contracts"])
@pytest.mark.parametrize("name", WRONG)
def test_what_fails_its_certificate_is_refused(monkeypatch, policy, name):
    """No trade of it is said, the certificate says why; the next bankruptcy is decided by a solver that is right."""
    calls = []

    def wrong_once(problem, **arguments):
        calls.append(problem)
        solution = solve(problem, **arguments)
        return replace(solution, **WRONG[name](solution)) if len(calls) == 1 else solution

    monkeypatch.setattr("worker.rounds.solve", wrong_once)
    said = run(market().bankrupt("loser").at(3000).bankrupt("next"), f"decision.policy={policy}")
    refused, decided = said.decisions
    assert (refused.status, refused.reason) == ("REFUSED", "CERTIFICATE")
    assert not any(trade.decision_id == refused.decision_id for trade in said.trades)
    (certificate,) = refused.certificates
    assert not certificate.ok
    assert all(len(sentence.split()) > 3 for sentence in certificate.failures)
    assert decided.status == "DECIDED"
    assert any(trade.decision_id == decided.decision_id for trade in said.trades)
