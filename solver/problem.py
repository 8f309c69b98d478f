"""One allocation problem: who holds what, what must be taken. Checked once, at the door; nothing is checked later.

Rules: arrays are kept without a copy where they already have the right type and may be written to, and nobody writes to
them, the caller neither, as long as the problem is in use. What passes has squares and products far from overflow.
"""

import numpy as np
from numba import njit

LOTS_MAX = 2**53  # whole lots stay exact as doubles
SUM_LOTS_MAX = 2**62
NUMBER_MAX = 1e30  # of amounts and prices: the risk of an account goes by squares of lots times price times loading
NUMBER_MIN = 1e-30  # of equities and of the price of a lot, where they are not 0: leverages are finite


@njit("Tuple((i8, i8, f8))(i8[::1], i8[::1], i8[::1], i8, i8)", cache=True)
def check_entries(account, asset, quantity, account_count, asset_count):
    """First fault (code, row) and the total of |quantity|: 1 unsorted, 2 account, 3 asset, 4 lots out of range.

    Code -1: no fault and no account has two entries.
    """
    previous = np.int64(-1)
    total = 0.0
    single = True
    for row in range(account.size):
        a = account[row]
        if a < previous:
            return 1, row, total
        single = single and a != previous
        previous = a
        if a < 0 or a >= account_count:
            return 2, row, total
        if asset[row] < 0 or asset[row] >= asset_count:
            return 3, row, total
        q = quantity[row]
        if q > LOTS_MAX or q < -LOTS_MAX:
            return 4, row, total
        total += abs(q)
    return (-1 if single else 0), -1, total


def plain(name, values, kinds="iuf"):
    """Return `values` as an array of numbers of numpy's `kinds`, or raise ValueError with a sentence."""
    try:
        array = np.asanyarray(values)
    except ValueError:
        raise ValueError(f"{name} must be one plain array, not a nested one") from None
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be a masked array")
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"{name} must be numbers of 64 bits, was of type {array.dtype}")
    return array


def integers(name, values):
    """Return `values` as an int64 array, contiguous and writable, or raise ValueError with a sentence."""
    array = plain(name, values)
    if array.size == 0:
        return np.zeros(array.shape, dtype=np.int64)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.rint(array)).any() or (np.abs(array) > LOTS_MAX).any():
            raise ValueError(f"{name} must be whole numbers, in floats within 2**53")
    elif array.dtype == np.uint64 and (array > np.uint64(2**63 - 1)).any():
        raise ValueError(f"{name} must fit in 64 bits")
    return np.require(array, np.int64, "CWA")  # kernels know no read-only arrays


def numbers(name, values, most=NUMBER_MAX):
    """Return `values` as a float64 array, contiguous and writable, or raise ValueError with a sentence."""
    array = np.require(plain(name, values), np.float64, "CWA")
    # NaN fails this comparison as well.
    if array.size and not (array.max() <= most and array.min() >= -most):
        raise ValueError(f"{name} must be finite numbers within {most:g}")
    return array


def shaped(name, array, shape, what):
    """Return `array` when it has `shape`, else raise ValueError with a sentence."""
    if array.shape != shape:
        raise ValueError(f"{name} must have one value per {what} {shape}, had shape {array.shape}")
    return array


class Problem:
    """A valid problem; any fault in the input raises ValueError with a sentence saying what must be.

    Shapes: P entries sorted by account, N accounts, M assets, K demands (docs of the fields: design, section 10).
    """

    def __init__(
        self, account, asset, quantity_lots, equity, mark_price, lot_size=1.0, *,
        demand_asset, demand_side, demand_lots, demand_price=None,
        available_lots=None, eligible=None, entry_price=None, balance=None, maintenance_margin=None, tie_rank=None,
        collateral=None,
    ):  # fmt: skip
        self.account = integers("account", account)
        entries = (self.account.size,)
        shaped("account", self.account, entries, "entry")
        self.asset = shaped("asset", integers("asset", asset), entries, "entry")
        self.quantity_lots = shaped("quantity_lots", integers("quantity_lots", quantity_lots), entries, "entry")
        self.equity = numbers("equity", equity)
        accounts = (self.equity.size,)
        shaped("equity", self.equity, accounts, "account")
        small = np.flatnonzero(np.abs(self.equity) < NUMBER_MIN)
        if self.equity[small].any():
            account = small[self.equity[small] != 0][0]
            raise ValueError(f"equity must be 0 or at least 1e-30, was {self.equity[account]} of account {account}")
        self.mark_price = numbers("mark_price", mark_price)
        assets = (self.mark_price.size,)
        shaped("mark_price", self.mark_price, assets, "asset")
        self.lot_size = self._lot_size(lot_size, assets)
        if (self.mark_price < 0).any():
            raise ValueError("mark_price must not be negative")
        self.lot_price = self.mark_price * self.lot_size
        wrong = (self.mark_price > 0) & ~((self.lot_price >= NUMBER_MIN) & (self.lot_price <= NUMBER_MAX))
        if wrong.any():
            raise ValueError(
                f"mark_price times lot_size must be 0 or within 1e-30..1e30, was not of asset {wrong.argmax()}"
            )
        self._check_entries()
        self._demands(demand_asset, demand_side, demand_lots, demand_price)
        self._optional(entries, accounts, available_lots, eligible, entry_price, balance, maintenance_margin, tie_rank)
        self.collateral = self._flags("collateral", collateral, entries)

    @staticmethod
    def _lot_size(lot_size, assets):
        size = numbers("lot_size", lot_size)
        if size.ndim == 0 or size.shape == (1,):
            size = np.full(assets, float(size.reshape(())))
        shaped("lot_size", size, assets, "asset")
        if (size <= 0).any():
            raise ValueError("lot_size must be above 0")
        return size

    def _check_entries(self):
        code, row, total = check_entries(
            self.account, self.asset, self.quantity_lots, self.equity.size, self.mark_price.size
        )
        if code == 1:
            raise ValueError(f"account must not decrease, did at entry {row}")
        if code == 2:
            raise ValueError(f"account must be in 0..{self.equity.size - 1}, was {self.account[row]} at entry {row}")
        if code == 3:
            raise ValueError(f"asset must be in 0..{self.mark_price.size - 1}, was {self.asset[row]} at entry {row}")
        if code == 4:
            raise ValueError(f"quantity_lots must be within 2**53, was {self.quantity_lots[row]} at entry {row}")
        if total >= SUM_LOTS_MAX:
            raise ValueError("quantity_lots must sum below 2**62")
        self.one_entry_each = code == -1  # no account has two entries

    def _demands(self, demand_asset, demand_side, demand_lots, demand_price):
        self.demand_asset = integers("demand_asset", demand_asset)
        demands = (self.demand_asset.size,)
        shaped("demand_asset", self.demand_asset, demands, "demand")
        self.demand_side = shaped("demand_side", integers("demand_side", demand_side), demands, "demand")
        self.demand_lots = shaped("demand_lots", integers("demand_lots", demand_lots), demands, "demand")
        if ((self.demand_asset < 0) | (self.demand_asset >= self.mark_price.size)).any():
            raise ValueError(f"demand_asset must be in 0..{self.mark_price.size - 1}")
        if (np.abs(self.demand_side) != 1).any():
            raise ValueError("demand_side must be +1 (longs are reduced) or -1 (shorts are reduced)")
        if (self.demand_lots < 0).any() or (self.demand_lots >= SUM_LOTS_MAX).any():
            raise ValueError("demand_lots must not be negative and must be below 2**62")
        key = 2 * self.demand_asset + (self.demand_side < 0)
        if np.unique(key).size != key.size:
            raise ValueError("a pair (demand_asset, demand_side) must not occur twice")
        if (self.lot_price[self.demand_asset] <= 0).any():
            raise ValueError("mark_price of a demanded asset must be above 0")
        self.demand_of = np.full(2 * self.mark_price.size, -1, dtype=np.int64)
        self.demand_of[key] = np.arange(key.size)
        if demand_price is None:
            self.demand_price = None
            self.haircut = np.zeros(demands)
            return
        self.demand_price = shaped("demand_price", numbers("demand_price", demand_price), demands, "demand")
        mark, size = self.mark_price[self.demand_asset], self.lot_size[self.demand_asset]
        self.haircut = self.demand_side * (mark - self.demand_price) * size  # per lot, quote currency

    def _optional(self, entries, accounts, available, eligible, entry_price, balance, maintenance, tie_rank):
        self.available_lots = self.eligible = self.entry_price = None
        self.balance = self.maintenance_margin = self.tie_rank = None
        if available is not None:
            self.available_lots = shaped("available_lots", integers("available_lots", available), entries, "entry")
            wrong = (self.available_lots < 0) | (self.available_lots > np.abs(self.quantity_lots))
            if wrong.any():
                raise ValueError(f"available_lots must be in 0..|quantity_lots|, was not at entry {wrong.argmax()}")
        if eligible is not None:
            self.eligible = self._flags("eligible", eligible, entries)
        if entry_price is not None:
            self.entry_price = shaped("entry_price", numbers("entry_price", entry_price), entries, "entry")
        if balance is not None:
            self.balance = shaped("balance", numbers("balance", balance), accounts, "account")
        if maintenance is not None:
            margin = numbers("maintenance_margin", maintenance)
            self.maintenance_margin = shaped("maintenance_margin", margin, accounts, "account")
        if tie_rank is not None:
            self.tie_rank = shaped("tie_rank", integers("tie_rank", tie_rank), accounts, "account")

    @staticmethod
    def _flags(name, values, entries):
        if values is None:
            return None
        flags = plain(name, values, "biuf")
        if flags.dtype != np.bool_ and not np.isin(flags, (0, 1)).all():
            raise ValueError(f"{name} must be true or false")
        return shaped(name, np.require(flags, np.bool_, "CWA"), entries, "entry")

    def held_lots(self):
        """Lots of each entry that count as a position: those of collateral carry risk, and no leverage."""
        if self.collateral is None or not self.collateral.any():
            return self.quantity_lots
        return np.where(self.collateral, 0, self.quantity_lots)

    def rank(self):
        """Tie rank per account, smaller is taken first; the account's number where none was given."""
        return np.arange(self.equity.size) if self.tie_rank is None else self.tie_rank
