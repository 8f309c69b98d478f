"""Balances in other currencies: what they are worth in a deficit, in risk, and what they never are, a position."""

import pytest

from schemas import AccountUpdate, Balance, Position
from tests.worker.tape import Tape
from worker.settings import SettingError, load

FLAG = "pool.collateral.ETH=ETH"


def pool(mark="50"):
    """BTC at 100, and ETH, whose symbol converts balances in ETH, at 50 in lots of a hundredth."""
    tape = Tape().instrument().mark().instrument("ETH", lot="0.01")
    return tape.mark("ETH", mark) if mark else tape


def holds(tape, name, cash, eth, weight, *positions, full=True):
    """An account with dollars, ethers and (symbol, quantity, entry price) positions."""
    seq = tape._seq[name] = tape._seq.get(name, 0) + 1
    balances = [Balance(currency="USD", amount=cash)] if cash is not None else []
    balances += [Balance(currency="ETH", amount=eth, collateral_weight=weight)] if eth is not None else []
    held = [Position(symbol=symbol, quantity=quantity, entry_price=entry) for symbol, quantity, entry in positions]
    return tape.say(AccountUpdate(account=name, epoch=1, seq=seq, full=full, balances=balances, positions=held))


@pytest.mark.parametrize(
    ("eth", "weight", "equity"),
    [
        ("1", "1", "0"), ("1", "0.5", "-25"), ("0.019", "1", "-49.5"), ("1", "0", "-50"), ("-1", "0.5", "-100"),
        ("10.000000000000000009", "0.1", "0"),
    ],
)  # fmt: skip
def test_a_balance_counts_by_its_weight_and_a_debt_in_full(eth, weight, equity):
    """The loser's position has lost 50; a balance is rounded down to a lot of the converting symbol."""
    tape = holds(pool(), "loser", "0", eth, weight, ("BTC", "10", "105"))
    tape.account("rich", "9000", ("BTC", "-10", "105")).at(2000).bankrupt("loser")
    said = tape.run(FLAG)
    assert said.decisions[0].bankruptcies[0].equity == equity
    # Paid is in the pool's currency, and nothing of the ethers is taken over.
    assert {(t.account, t.symbol) for t in said.trades} == {("loser", "BTC"), ("rich", "BTC")}
    assert sum(float(t.quote_amount) for t in said.trades) == 0


def test_a_mark_of_the_converting_symbol_moves_equities():
    """One ether at 50 saves the account, at 30 it does not."""
    tape = holds(pool(), "loser", "0", "1", "1", ("BTC", "10", "105"))
    tape.account("rich", "9000", ("BTC", "-10", "105")).mark("ETH", "30").at(2000).bankrupt("loser")
    assert tape.run(FLAG).decisions[0].bankruptcies[0].equity == "-20"


def test_a_delta_changes_the_currencies_that_it_lists_and_a_full_update_all():
    """Dollars listed alone leave the ethers; a full update without them takes them away."""
    tape = holds(pool(), "a", "0", "1", "1", ("BTC", "10", "105"))
    holds(tape, "b", "0", "1", "1", ("BTC", "10", "105"))
    holds(tape, "c", "0", "1", "1", ("BTC", "10", "105"))
    holds(tape, "a", "7", None, "1", full=False)
    holds(tape, "b", None, "0.5", "1", full=False)
    holds(tape, "c", "0", None, "1", ("BTC", "10", "105"))
    tape.account("rich", "9000", ("BTC", "-30", "105")).at(2000)
    said = tape.bankrupt("a").bankrupt("b").bankrupt("c").run(FLAG)
    assert [item.equity for item in said.decisions[0].bankruptcies] == ["7", "-25", "-50"]


def shorts(tape):
    """Two shorts of ten with an equity of 500: in dollars, and most of it in ten ethers."""
    tape.account("loser", "100", ("BTC", "10", "100"))
    holds(tape, "dollars", "500", None, "1", ("BTC", "-10", "100"))
    return holds(tape, "ethers", "0", "10", "1", ("BTC", "-10", "100")).at(2000).bankrupt("loser")


def test_collateral_is_neither_leverage_nor_taken():
    """Under waterfill both have leverage 2 and give the same; nobody is asked for ethers."""
    said = shorts(pool()).run(FLAG)
    given = {t.account: (t.quantity, t.leverage) for t in said.trades if t.role == "COUNTERPARTY"}
    assert given == {"dollars": ("5", 2.0), "ethers": ("5", 2.0)}


@pytest.mark.parametrize("policy", ["risk", "factor"])
def test_collateral_is_part_of_an_accounts_risk(policy):
    """What the ethers lose in a fall the short wins: who holds dollars is in more danger, and gives more."""
    said = shorts(pool()).run(FLAG, f"decision.policy={policy}")
    given = {t.account: int(t.quantity) for t in said.trades if t.role == "COUNTERPARTY"}
    assert given["dollars"] > given.get("ethers", 0)
    assert {t.leverage for t in said.trades if t.role == "COUNTERPARTY"} == {2.0}


@pytest.mark.parametrize("policy", ["risk", "factor"])
def test_lots_of_collateral_in_a_demanded_symbol_are_left_alone(policy):
    """Bitcoins as collateral beside a long in them, which is demanded: the position gives what it has, they do not."""
    tape = Tape().instrument().mark().account("loser", "1", ("BTC", "-30", "100"))
    balances = [Balance(currency="USD", amount="10"), Balance(currency="BTC", amount="20")]
    held = [Position(symbol="BTC", quantity="10", entry_price="100")]
    tape.say(AccountUpdate(account="coins", epoch=1, seq=1, full=True, balances=balances, positions=held))
    tape.say(AccountUpdate(account="saver", epoch=1, seq=1, full=True, balances=balances))
    tape.account("rich", "3000", ("BTC", "10", "100")).at(2000).bankrupt("loser")
    said = tape.run("pool.collateral.BTC=BTC", f"decision.policy={policy}")
    assert {t.account: t.quantity for t in said.trades if t.role == "COUNTERPARTY"} == {"coins": "10", "rich": "10"}
    assert said.decisions[0].demands[-1].residual == "10"


def test_without_a_mark_of_the_converting_symbol_an_account_is_not_asked():
    """Its equity is unknown; and a bankrupt's decision waits for the mark."""
    said = shorts(pool(mark=None)).run(FLAG)
    assert {t.account for t in said.trades if t.role == "COUNTERPARTY"} == {"dollars"}
    assert said.decisions[0].accounts_without_mark == 1
    tape = holds(pool(mark=None), "loser", "0", "1", "1", ("BTC", "10", "105"))
    said = tape.account("rich", "9000", ("BTC", "-10", "105")).at(2000).bankrupt("loser").run(FLAG)
    assert [(decision.status, decision.reason) for decision in said.decisions] == [("HELD", "MARK_MISSING ETH")]


@pytest.mark.parametrize(
    ("balances", "reason"),
    [
        ([Balance(currency="EUR", amount="1")], "UNSUPPORTED"),
        ([Balance(currency="XRP", amount="1")], "UNKNOWN_SYMBOL"),
        ([Balance(currency="ETH", amount="1", collateral_weight="1.01")], "FIELD"),
        ([Balance(currency="ETH", amount="1", collateral_weight="-0.5")], "FIELD"),
        ([Balance(currency="ETH", amount="1"), Balance(currency="ETH", amount="1")], "DUPLICATE"),
        ([Balance(currency="ETH", amount="1e3")], "NUMBER"),
        ([Balance(currency="ETH", amount="999999999999")], "RANGE"),
        ([Balance(currency="USD", amount="1", collateral_weight="0.9")], "UNSUPPORTED"),
    ],
)
def test_what_cannot_be_converted_is_refused(balances, reason):
    """Whole and with a sentence, and the account is parked."""
    tape = pool().say(AccountUpdate(account="odd", epoch=1, seq=1, full=True, balances=balances))
    [letter] = tape.run(FLAG, "pool.collateral.XRP=XRP").letters
    assert letter.reason == reason


def test_settings_of_collateral():
    """A table of currencies; flags and environment keep their spelling; a symbol converts one of them."""
    settings = load("[pool]\ncollateral.BTC = 'BTC-USDT'", {"ADL_POOL__COLLATERAL__ETH": "ETH-USDT"}, [FLAG])
    assert settings.pool.collateral == {"BTC": "BTC-USDT", "ETH": "ETH"}
    with pytest.raises(SettingError, match=r"pool\.collateral\.USDT must not be there"):
        load(flags=["pool.collateral.USDT=X"])
    with pytest.raises(SettingError, match=r"pool\.collateral\.ETH must be another symbol than that of BTC, was 'X'"):
        load(flags=["pool.collateral.BTC=X", "pool.collateral.ETH=X"])
