"""Synthetic accounts beside the real ones, seeded: 437,000 accounts and 221,000 positions in all, longs = shorts.

The data holds only accounts that were deleveraged, nearly all of them completely: on it alone every policy takes
everybody. What is added, and why it is drawn so:

* **How many.** Up to the size of the venue's snapshot. Positions per account follow the real accounts (1 to 38);
  accounts for which no position is left are balances only.
* **In what.** Assets as often as real accounts hold them, either side equally; no account holds an asset twice.
* **How much.** Per asset the survivors' shorts are as large as what is taken from shorts in the whole event (so the
  policy can always do without half of all holders); their longs are what makes longs = shorts, the bankrupt accounts'
  lots included (those accounts are in no book). Shares within an asset are lognormal.
* **How levered.** Drawn from the real accounts' leverages at the start, each moved by a lognormal factor and up by one
  (so that all account values together come near the venue's USD 5.1bn), those beyond `LEVERAGE_MAX` drawn anew below
  it; then equity is raised where needed so that the account stays above its worst loss over the recorded prices by a
  small margin: it survives.
* **At what profit.** Entries scatter around the mark by 12 %: as in reality, less profit than the accounts that the
  venue's queue picked.
"""

from dataclasses import dataclass

import numpy as np

from tests.oct10.data import CURRENCY_DECIMALS, Oct10

ACCOUNTS = 437_000
POSITIONS = 221_000
SEED = 20251010
LEVERAGE_MAX = 20.0
EACH_SIDE_MIN = 5  # positions of each asset and side
LOTS_EACH_MIN = 10  # on average, so that small assets can be shared out
WORST_LOSS_MARGIN = (1.02, 0.02)  # times the worst loss, plus a share of gross notional


@dataclass(frozen=True)
class Survivors:
    """`account` runs from 0; positions are sorted by account."""

    cash_minor: np.ndarray  # [N]
    position_account: np.ndarray  # [P]
    position_asset: np.ndarray
    position_lots: np.ndarray  # signed
    position_entry: np.ndarray  # scaled


def survivors(data: Oct10, seed: int = SEED) -> Survivors:
    """The same accounts for the same data and seed."""
    rng = np.random.default_rng(seed)
    accounts, positions = ACCOUNTS - len(data.account), POSITIONS - len(data.position_lots)
    account = _holders(rng, data, accounts, positions)
    asset, side = _assets_and_sides(rng, data, account)
    lots = _lots(rng, data, account, asset, side)

    mark = data.lot_value(asset)
    entry = _five_digits(data.mark[asset] * np.exp(rng.normal(0.0, 0.12, positions)))
    profit = lots * (mark - data.lot_value(asset, entry))
    gross = np.bincount(account, np.abs(lots) * mark, accounts)
    wanted = gross / _leverages(rng, data, accounts)
    times, share = WORST_LOSS_MARGIN
    worst_loss = np.bincount(account, lots * (mark - _worst_value(data, asset, side)), accounts)
    needed = worst_loss * times + gross * share
    cash = np.maximum(wanted, needed) - np.bincount(account, profit, accounts)
    cash = np.where(gross > 0, cash, rng.lognormal(3.0, 2.0, accounts))  # balances only: about 20, some large
    return Survivors(np.rint(cash * 10.0**CURRENCY_DECIMALS).astype(np.int64), account, asset, lots, entry)


def _holders(rng: np.random.Generator, data: Oct10, accounts: int, positions: int) -> np.ndarray:
    """The account of each position: as many positions per account as real accounts have, until all are placed."""
    per_real = np.unique(data.position_account, return_counts=True)[1]
    counts = rng.choice(per_real, accounts)
    ends = np.cumsum(counts)
    last = int(np.searchsorted(ends, positions))
    counts[last] -= ends[last] - positions
    counts[last + 1 :] = 0
    # Holders stand anywhere among the names, so that ties by name fall to both kinds.
    counts = counts[rng.permutation(accounts)]
    return np.repeat(np.arange(accounts), counts)


def _assets_and_sides(rng: np.random.Generator, data: Oct10, account: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Asset and side (+1, -1) of each position; no asset twice in an account, none without both sides."""
    count = len(data.symbol)
    share = np.bincount(data.position_asset, minlength=count) + 20.0
    asset = rng.choice(count, len(account), p=share / share.sum())
    side = rng.choice(np.array([1, -1]), len(account))
    # Accounts of one position are free to hold anything: the first of them are dealt round all assets and sides.
    single = np.flatnonzero(np.bincount(account)[account] == 1)[: 2 * count * EACH_SIDE_MIN]
    asset[single] = np.arange(len(single)) // 2 % count
    side[single] = 1 - 2 * (np.arange(len(single)) % 2)
    while True:
        key = account * count + asset
        order = np.argsort(key, kind="stable")
        again = order[1:][key[order[1:]] == key[order[:-1]]]
        if not len(again):
            return asset, side
        asset[again] = rng.integers(0, count, len(again))


def _lots(
    rng: np.random.Generator, data: Oct10, account: np.ndarray, asset: np.ndarray, side: np.ndarray
) -> np.ndarray:
    """Signed lots: totals per asset and side as the file's head says, shares lognormal within them."""
    count = len(data.symbol)
    (long, bankrupt_long), (short, bankrupt_short) = data.side_lots(1), data.side_lots(-1)
    more_longs = short + bankrupt_short - long - bankrupt_long  # survivors' longs less their shorts
    holders = {s: np.bincount(asset[side == s], minlength=count) for s in (1, -1)}
    shorts = np.maximum(bankrupt_long, bankrupt_short)
    shorts = np.maximum(shorts, LOTS_EACH_MIN * holders[-1])
    shorts = np.maximum(shorts, LOTS_EACH_MIN * holders[1] - more_longs)
    totals = {-1: shorts, 1: shorts + more_longs}

    wealth = rng.lognormal(0.0, 1.5, account[-1] + 1)[account] * rng.lognormal(0.0, 1.0, len(account))
    lots = np.zeros(len(account), dtype=np.int64)
    for s in (1, -1):
        for row in range(count):
            mine = np.flatnonzero((asset == row) & (side == s))
            spare = int(totals[s][row]) - len(mine)  # everybody has one lot
            shared = np.floor(wealth[mine] / wealth[mine].sum() * spare).astype(np.int64)
            shared[np.argmax(wealth[mine])] += spare - int(shared.sum())
            lots[mine] = s * (1 + shared)
    return lots


def _leverages(rng: np.random.Generator, data: Oct10, accounts: int) -> np.ndarray:
    """One leverage per account, from the real accounts' at the start."""
    size = int(data.account.max()) + 1
    mark = data.lot_value(data.position_asset)
    profit = data.position_lots * (mark - data.lot_value(data.position_asset, data.position_entry))
    gross = np.bincount(data.position_account, np.abs(data.position_lots) * mark, size)
    equity = np.bincount(data.position_account, profit, size)
    equity[data.account] += data.cash_minor / 10.0**CURRENCY_DECIMALS
    real = gross[(equity > 0) & (gross > 0)] / equity[(equity > 0) & (gross > 0)]
    drawn = 1.0 + rng.choice(real, accounts) * rng.lognormal(0.0, 0.3, accounts)
    return np.where(drawn < LEVERAGE_MAX, drawn, rng.uniform(1.0, LEVERAGE_MAX, accounts))


def _worst_value(data: Oct10, asset: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Value of one lot at the recorded mark that is worst for that side."""
    low, high = data.mark.copy(), data.mark.copy()
    np.minimum.at(low, data.price_asset, data.price)
    np.maximum.at(high, data.price_asset, data.price)
    return data.lot_value(asset, np.where(side > 0, low[asset], high[asset]))


def _five_digits(price: np.ndarray) -> np.ndarray:
    """Scaled prices with at most five digits, as the venue has them; never zero."""
    grain = 10.0 ** np.maximum(0.0, np.ceil(np.log10(price)) - 5)
    return np.maximum(1, (np.rint(price / grain) * grain)).astype(np.int64)
