"""The October 2025 reconstruction as plain arrays, and every default that stands in for what it lacks.

Read the data's own README first. Lots are integers (`10**-size_decimals` contracts), prices are scaled integers made
here once: `price_decimals` of an asset is the fewest decimals that hold every price and entry of it exactly.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

T0_MS = 1760130900000  # 21:15:00, the state and the marks of the start
CURRENCY = "USDC"
CURRENCY_DECIMALS = 6
ENTRY_DIGITS = 9  # imputed entries carry float dust in their last digits (120877.99999999997)

# The data has no maintenance margins. The venue's rule is half of the initial margin at the asset's largest leverage
# (40x, 25x, 20x, 20x here); the other assets get that of 10x. Takeovers name one line each, so the margin cancels out
# of their settlement price: no result below depends on these numbers.
MAINTENANCE_MARGIN = {"BTC": "0.0125", "ETH": "0.02", "SOL": "0.025", "XRP": "0.025"}
MAINTENANCE_MARGIN_DEFAULT = "0.05"


def data_dir() -> Path:
    """Where the data lies: `ADL_OCT10_DIR`, else `../shared/data/oct10` beside the repository."""
    return Path(os.environ.get("ADL_OCT10_DIR") or Path(__file__).resolve().parents[2].parent / "shared/data/oct10")


def decimals_of(prices: np.ndarray) -> int:
    """The fewest decimals that hold all these prices to `ENTRY_DIGITS` decimals."""
    scaled = np.unique(np.rint(prices * 10.0**ENTRY_DIGITS).astype(np.int64))
    dropped = 0
    while dropped < ENTRY_DIGITS and not (scaled % 10 ** (dropped + 1)).any():
        dropped += 1
    return ENTRY_DIGITS - dropped


@dataclass(frozen=True)
class Oct10:
    """Columns of the event; `mark` [M] and `price` [K] are scaled by 10**price_decimals of their asset."""

    symbol: list[str]
    size_decimals: np.ndarray  # [M]
    price_decimals: np.ndarray  # [M]
    mark: np.ndarray  # [M] at the start
    account: np.ndarray  # [N] numbers of the accounts that were deleveraged
    cash_minor: np.ndarray  # [N]
    position_account: np.ndarray  # [P]
    position_asset: np.ndarray
    position_lots: np.ndarray  # signed
    position_entry: np.ndarray  # scaled
    price_t_ms: np.ndarray  # [K] marks at the ADL times
    price_asset: np.ndarray
    price: np.ndarray
    takeover_t_ms: np.ndarray  # [B]
    takeover_asset: np.ndarray
    takeover_lots: np.ndarray  # signed as the bankrupt account held them
    takeover_price: np.ndarray  # scaled
    takeover_gap: np.ndarray  # float, quote per contract between mark and ADL price, nan where not published

    def lot_value(self, asset: np.ndarray, price: np.ndarray | None = None) -> np.ndarray:
        """Quote value of one lot of each of these assets, at the marks of the start or at these scaled prices."""
        scaled = self.mark[asset] if price is None else price
        return scaled / 10.0 ** (self.size_decimals[asset] + self.price_decimals[asset])

    def side_lots(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Lots per asset that the known accounts and the bankrupt accounts hold on this side."""
        known, bankrupt = np.zeros((2, len(self.symbol)), dtype=np.int64)
        mine = np.sign(self.position_lots) == side
        np.add.at(known, self.position_asset[mine], np.abs(self.position_lots[mine]))
        taken = np.sign(self.takeover_lots) == side
        np.add.at(bankrupt, self.takeover_asset[taken], np.abs(self.takeover_lots[taken]))
        return known, bankrupt


def table(folder: Path, name: str) -> dict[str, np.ndarray]:
    """One parquet file as columns."""
    import pyarrow.parquet as parquet  # an extra of the tests, asked for only where the data is

    read = parquet.read_table(folder / f"{name}.parquet")
    return {column: read.column(column).to_numpy() for column in read.column_names}


def load(folder: Path | None = None) -> Oct10:
    """Read the data; marks of assets without a snapshot mark are their first known price (57 of 162)."""
    folder = folder or data_dir()
    assets, accounts, positions = table(folder, "assets"), table(folder, "accounts"), table(folder, "positions")
    prices, takeovers = table(folder, "prices"), table(folder, "bankruptcies")
    count = len(assets["asset"])
    if not np.array_equal(assets["asset"], np.arange(count)):
        raise ValueError("assets must be numbered 0, 1, 2, ... in file order")

    everything = [(prices["asset"], prices["price"]), (takeovers["asset"], takeovers["price"])]
    everything.append((positions["asset"], positions["entry_px"]))
    of_asset, of_price = (np.concatenate(parts) for parts in zip(*everything, strict=True))
    price_decimals = np.array([decimals_of(of_price[of_asset == row]) for row in range(count)])

    def scaled(price: np.ndarray, asset: np.ndarray) -> np.ndarray:
        return np.rint(price * 10.0 ** price_decimals[asset]).astype(np.int64)

    order = np.argsort(prices["t_ms"], kind="stable")
    first = np.full(count, np.nan)
    for row in order[::-1]:
        first[prices["asset"][row]] = prices["price"][row]
    mark = np.where(np.isnan(assets["mark_snapshot"]), first, assets["mark_snapshot"])
    in_event = order[np.isin(prices["kind"][order], (1, 2))]  # prices of ADLs, not of the snapshot or the end
    price_asset = prices["asset"][in_event].astype(np.int64)
    lots = takeovers["bankrupt_side"].astype(np.int64) * takeovers["qty_lots"]
    takeover_asset = takeovers["asset"].astype(np.int64)
    position_asset = positions["asset"].astype(np.int64)
    return Oct10(
        symbol=[str(name) for name in assets["symbol"]],
        size_decimals=assets["size_decimals"].astype(np.int64),
        price_decimals=price_decimals,
        mark=scaled(mark, np.arange(count)),
        account=accounts["account"].astype(np.int64),
        cash_minor=np.rint(accounts["cash_pre_usd"] * 10.0**CURRENCY_DECIMALS).astype(np.int64),
        position_account=positions["account"].astype(np.int64),
        position_asset=position_asset,
        position_lots=positions["size_lots"].astype(np.int64),
        position_entry=scaled(positions["entry_px"], position_asset),
        price_t_ms=prices["t_ms"][in_event],
        price_asset=price_asset,
        price=scaled(prices["price"][in_event], price_asset),
        takeover_t_ms=takeovers["t_ms"],
        takeover_asset=takeover_asset,
        takeover_lots=lots,
        takeover_price=scaled(takeovers["price"], takeover_asset),
        takeover_gap=takeovers["mark_exec_gap"],
    )
