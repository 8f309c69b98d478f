"""What the worker makes of a risk model: its numbers to the bit, and the documented default for whom it leaves out."""

from math import inf, sqrt

import numpy as np
import pytest

from schemas import Instrument, RiskModel, RiskSymbol, encode
from tests.worker.small_market import market, run
from worker.book.book import Book
from worker.risk import Risk


def markets(contract_type="linear", **fractions):
    """A book's markets with these maintenance margin fractions."""
    book = Book("USD", 2)
    for symbol, fraction in fractions.items():
        book.set_instrument(
            Instrument(
                symbol=symbol, tick_size="1", lot_size="1", settlement_currency="USD",
                maintenance_margin_fraction=fraction, contract_type=contract_type,
            )
        )  # fmt: skip
    return book.markets


def model(*rows, tail=4.0, name="m"):
    """A model of rows (symbol, loadings, variance)."""
    symbols = [RiskSymbol(symbol=s, loadings=loadings, idiosyncratic=variance) for s, loadings, variance in rows]
    return RiskModel(id=name, horizon_seconds=60, tail=tail, symbols=symbols)


def risk_of(*rows, **more):
    risk = Risk()
    risk.set(model(*rows, **more))
    return risk


def covariance(returns):
    return returns.loadings @ returns.loadings.T + np.diag(returns.idiosyncratic)


def test_without_a_model_the_documented_scale_holds():
    """c = mmf / 2: one factor sqrt(0.7) c, variance 0.3 c^2 of its own, four degrees of freedom; as without symbols."""
    risk = Risk()
    returns = risk.returns(markets(A="0.02", B="0.1"))
    assert returns.loadings.tolist() == [[sqrt(0.7) * 0.01], [sqrt(0.7) * 0.05]]
    assert returns.idiosyncratic.tolist() == pytest.approx([0.3 * 0.01**2, 0.3 * 0.05**2])
    assert (returns.tail, risk.name, risk.model_digest, risk.unnamed("AB")) == (4.0, "default", None, [])


def test_an_inverse_contract_moves_against_its_price():
    """What is booked is its reciprocal: loadings change sign, in the default, in a model and in the common move."""
    held = [*markets(A="0.02"), *markets(contract_type="inverse", B="0.02")]
    plain = Risk().returns(held)
    assert plain.loadings.tolist() == [[sqrt(0.7) * 0.01], [-sqrt(0.7) * 0.01]]
    risk = risk_of(("A", [0.1, 0.0], 1e-3), ("B", [0.1, 0.0], 1e-3))
    assert repr(risk.returns(held).loadings.tolist()) == repr([[0.1, 0.0], [-0.1, 0.0]])
    assert risk.returns(held, "factor").loadings.tolist() == [[0.1], [-0.1]]
    assert covariance(risk.returns(held))[0, 1] == -0.1 * 0.1


def test_a_model_gives_the_numbers_that_it_was_given():
    """To the bit, in the order of the symbols asked for; null is Gaussian."""
    risk = risk_of(("B", [0.1, 0.2], 1e-3), ("A", [1 / 3, -0.0], 1e-7), tail=None)
    returns = risk.returns(markets(A="0.02", B="0.1"))
    assert repr(returns.loadings.tolist()) == repr([[1 / 3, 0.0], [0.1, 0.2]])
    assert (returns.idiosyncratic.tolist(), returns.tail) == ([1e-7, 1e-3], inf)
    assert risk.unnamed(["B", "A"]) == []


def test_a_symbol_that_the_model_leaves_out_moves_with_the_others():
    """Its scale is the default one; seven tenths of its variance lie where the model's symbols move together."""
    risk = risk_of(("A", [0.03, 0.01], 1e-4), ("B", [0.04, -0.01], 1e-4))
    found = covariance(risk.returns(markets(A="0.02", B="0.02", NEW="0.06")))
    assert found[2, 2] == pytest.approx(0.03**2)
    assert found[2, 0] > 0
    assert found[2, 1] > 0
    assert risk.unnamed(["NEW", "A", "OLD"]) == ["NEW", "OLD"]


@pytest.mark.parametrize("turn", [[[-1, 0], [0, 1]], [[0, 1], [1, 0]], [[0.6, -0.8], [0.8, 0.6]]])
def test_turning_the_factors_changes_no_risk_of_anybody(turn):
    """A factor's sign and the choice of axes are arbitrary: two ways to write one model give one covariance."""
    rows = [("A", [0.03, 0.01], 1e-4), ("B", [0.04, -0.01], 1e-4)]
    turned = [(s, [float(x) for x in np.array(b) @ np.array(turn, float)], d) for s, b, d in rows]
    some = markets(A="0.02", B="0.02", NEW="0.06")
    expected = covariance(risk_of(*rows).returns(some))
    assert covariance(risk_of(*turned).returns(some)) == pytest.approx(expected)


def test_loadings_that_cancel_have_a_default_all_the_same():
    """No common move: the first factor; no factor at all: everything is its own; no symbols: as without a model."""
    some = markets(NEW="0.02")
    cancel = risk_of(("A", [0.01, 0.0], 0.0), ("B", [-0.01, 0.0], 0.0)).returns(some)
    assert cancel.loadings.tolist() == [[sqrt(0.7) * 0.01, 0.0]]
    none = risk_of(("A", [], 1e-4)).returns(some)
    assert (none.loadings.shape, none.idiosyncratic.tolist()) == ((1, 0), pytest.approx([0.0001]))
    assert risk_of().returns(some).loadings.tolist() == Risk().returns(some).loadings.tolist()


def test_the_digest_says_what_the_model_means():
    """Not in which order its symbols stand; every number, the name and the tail count."""
    a, b = ("A", [0.1], 1e-4), ("B", [0.2], 0.0)
    digest = risk_of(a, b).digest
    assert digest == risk_of(b, ("A", [0.1], 1e-4)).digest
    others = [
        risk_of(a), risk_of(a, b, tail=None), risk_of(a, b, tail=4.5), risk_of(a, b, name="n"), Risk(),
        risk_of(a, ("B", [0.2], 5e-324)), risk_of(a, ("B", [np.nextafter(0.2, 1)], 0.0)),
    ]  # fmt: skip
    assert len({digest, *(other.digest for other in others)}) == 8


def test_a_model_is_part_of_the_state_from_its_record_on():
    """The same tape with and without it, and with another, ends in three different states."""
    plain = run(market())
    one = run(market().say(model(("BTC", [0.05], 1e-4))))
    two = run(market().say(model(("BTC", [0.05], 2e-4))))
    back = run(market().say(model(("BTC", [0.05], 1e-4))).say(model(("BTC", [0.05], 2e-4))))
    assert len({said.report.state_digest for said in (plain, one, two)}) == 3
    assert two.report.state_digest == back.report.state_digest


def test_a_model_that_is_refused_changes_nothing():
    """A dead letter with a reason of the list; nobody is parked, and the model before it stays."""
    good = model(("BTC", [0.05], 1e-4))
    bad = encode(model(("BTC", [0.05], -1e-4)))
    null = market().say(good).raw("risk-model", None, b"main")
    for tape, reason in ((market().say(good).raw("risk-model", bad), "RANGE"), (null, "DECODE")):
        said = tape.run()
        assert [letter.reason for letter in said.letters] == [reason]
        assert said.states == []
        assert said.report.state_digest == run(market().say(good)).report.state_digest


def test_a_model_holds_for_what_is_decided_at_its_log_time():
    """Kinds of one log time: instruments, then the model, and bankruptcies last, whatever was written first."""
    said = run(market().bankrupt("x", ("BTC", "1")).say(model(("BTC", [0.05], 1e-4))))
    assert said.decisions[0].basis["risk-model:0"] == 1


def test_the_policy_factor_is_given_the_common_move_alone():
    """Loadings along the mean direction; of a model without factors every symbol's scale."""
    some = markets(A="0.02", B="0.02", NEW="0.06")
    risk = risk_of(("A", [0.03, 0.01], 1e-4), ("B", [0.04, -0.01], 1e-4))
    betas = risk.returns(some, "factor").loadings
    assert betas.shape == (3, 1)
    assert betas[:, 0] == pytest.approx([0.03, 0.04, sqrt(0.7) * 0.03], rel=0.05)
    turned = risk_of(("A", [0.01, -0.03], 1e-4), ("B", [-0.01, -0.04], 1e-4)).returns(some, "factor")
    assert turned.loadings == pytest.approx(betas)
    none = risk_of(("A", [], 4e-4)).returns(some, "factor")
    assert none.loadings[:, 0] == pytest.approx([0.02, 0.01, 0.03])
    assert Risk().returns(some, "factor").loadings.tolist() == Risk().returns(some).loadings.tolist()
