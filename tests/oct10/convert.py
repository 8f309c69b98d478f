"""The October 2025 event as a recording: `python -m tests.oct10.convert OUT.jsonl.gz [--deficit] [--no-survivors]`.

Base: takeovers carry the ADL prices of the data, which equal the marks: nobody pays a haircut.
Deficit variant: takeovers carry `equity` below zero, `insurance` of half of that, and no price: winners pay the rest.
The recording is static: it holds no executions, so lots that were taken stay *held* in the worker to the end and its
effective book is exact without them. `executor.py` closes the loop instead.

| topic (partitions) | what |
|---|---|
| instruments (1) | 162; lot = 10**-size_decimals, scale of prices from the data, margins by default (`data.py`) |
| accounts (1) | the clearing account; everybody else is a normal trader, which needs no record |
| insurance-fund (1) | a balance of zero: what the fund pays stands in the events |
| positions (4, crc32 of the account) | one full update per account, epoch 1, seq 1, all at 21:15:00 |
| mark-prices (2, crc32 of the symbol) | at 21:15:00 the snapshot's, else the first known price; then at each ADL time |
| bankruptcies (1) | one per ADL time and asset; equal log times within a burst, so they are decided together |
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np

from schemas.codec import encode
from schemas.messages import (
    Account,
    AccountUpdate,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Position,
)
from schemas.units import text_of
from tests.oct10 import data as source
from tests.oct10.data import CURRENCY, CURRENCY_DECIMALS, T0_MS, Oct10
from tests.oct10.survivors import SEED, Survivors, survivors
from worker.edge.jsonlines import write_records
from worker.record import Record

Sent = tuple[str, str, int, InputMessage]  # topic, key, log time

PARTITIONS = {"positions": 4, "mark-prices": 2}
CLEARING = "CLEARING"
# Where the data has no gap between mark and ADL price (or says zero), the deficit is drawn from this share of the
# notional taken over; elsewhere it is that gap times the quantity, which the venue did charge to its winners.
DEFICIT_SHARE = (0.005, 0.02)
MINOR_PER_CENT = 10 ** (CURRENCY_DECIMALS - 2)


def account_name(number: int) -> str:
    """A real account's name; 1 is the largest by ADL notional."""
    return f"hl-{number:05d}"


def survivor_name(number: int) -> str:
    """A synthetic account's name."""
    return f"survivor-{number:06d}"


def takeover_id(t_ms: int, symbol: str) -> str:
    """The id of the takeover at that time in that asset; its account is called `bankrupt-` and the same."""
    return f"{t_ms}-{symbol}"


def messages(data: Oct10, synthetic: Survivors | None, deficit: bool, seed: int) -> Iterator[Sent]:
    """Topic, key, log time and message, in an order in which each partition's log times grow."""
    for row, symbol in enumerate(data.symbol):
        yield "instruments", symbol, T0_MS, instrument(data, row)
    yield "accounts", CLEARING, T0_MS, Account(account=CLEARING, role="CLEARING")
    yield "insurance-fund", "default", T0_MS, InsuranceFund(fund_id="default", balance="0")

    of_row = np.searchsorted(data.account, data.position_account)
    names = [account_name(int(number)) for number in data.account]
    yield from _updates(
        data, names, data.cash_minor, of_row, data.position_asset, data.position_lots, data.position_entry
    )
    if synthetic is not None:
        names = [survivor_name(number) for number in range(len(synthetic.cash_minor))]
        yield from _updates(
            data,
            names,
            synthetic.cash_minor,
            synthetic.position_account,
            synthetic.position_asset,
            synthetic.position_lots,
            synthetic.position_entry,
        )
    for row in range(len(data.symbol)):
        yield _mark(data, row, int(data.mark[row]), T0_MS)
    deficits = _deficits_minor(data, seed) if deficit else None
    for t_ms in np.unique(data.takeover_t_ms):
        for row in np.flatnonzero(data.price_t_ms == t_ms):
            yield _mark(data, int(data.price_asset[row]), int(data.price[row]), int(t_ms))
        for row in np.flatnonzero(data.takeover_t_ms == t_ms):
            takeover = bankruptcy(data, int(row), None if deficits is None else int(deficits[row]))
            yield "bankruptcies", takeover.account, int(t_ms), takeover


def instrument(data: Oct10, row: int) -> Instrument:
    """The scales of an asset; its tick is the finest price it shows (the venue's own tick depends on the price)."""
    decimals, symbol = int(data.price_decimals[row]), data.symbol[row]
    return Instrument(
        symbol=symbol,
        tick_size=text_of(1, decimals),
        lot_size=text_of(1, int(data.size_decimals[row])),
        settlement_currency=CURRENCY,
        maintenance_margin_fraction=source.MAINTENANCE_MARGIN.get(symbol, source.MAINTENANCE_MARGIN_DEFAULT),
        price_decimals=decimals,
    )


def bankruptcy(data: Oct10, row: int, deficit_minor: int | None) -> Bankruptcy:
    """One takeover; with a deficit it carries equity and insurance, without one the price of the data."""
    asset, t_ms = int(data.takeover_asset[row]), int(data.takeover_t_ms[row])
    symbol = data.symbol[asset]
    price = text_of(int(data.takeover_price[row]), int(data.price_decimals[asset]))
    line = BankruptcyLine(
        symbol=symbol,
        quantity=text_of(int(data.takeover_lots[row]), int(data.size_decimals[asset])),
        price=price if deficit_minor is None else None,
    )
    name = takeover_id(t_ms, symbol)
    return Bankruptcy(
        id=name,
        account=f"bankrupt-{name}",
        event_time_ms=t_ms,
        equity=None if deficit_minor is None else text_of(-deficit_minor, CURRENCY_DECIMALS),
        insurance=None if deficit_minor is None else text_of(deficit_minor // 2, CURRENCY_DECIMALS),
        lines=[line],
    )


def records(data: Oct10, synthetic: Survivors | None, deficit: bool = False, seed: int = SEED) -> Iterator[Record]:
    """The recording's records; offsets count per partition."""
    offsets: dict[tuple[str, int], int] = {}
    for topic, key, log_time_ms, message in messages(data, synthetic, deficit, seed):
        name = key.encode()
        partition = crc32(name) % PARTITIONS.get(topic, 1)
        offset = offsets.get((topic, partition), 0)
        offsets[topic, partition] = offset + 1
        yield Record(topic, partition, offset, log_time_ms, name, encode(message))


def convert(
    out: Path, deficit: bool = False, with_survivors: bool = True, folder: Path | None = None, seed: int = SEED
) -> int:
    """Writes the recording, returns its number of records; the same data and seed give the same bytes."""
    data = source.load(folder)
    return write_records(out, records(data, survivors(data, seed) if with_survivors else None, deficit, seed))


def _updates(
    data: Oct10,
    names: list[str],
    cash_minor: np.ndarray,
    of_row: np.ndarray,
    asset: np.ndarray,
    lots: np.ndarray,
    entry: np.ndarray,
) -> Iterator[Sent]:
    """One full update per account; `of_row` says which account a position belongs to."""
    positions: list[list[Position]] = [[] for _ in names]
    size_decimals, price_decimals = data.size_decimals.tolist(), data.price_decimals.tolist()
    for row, a, q, p in zip(of_row.tolist(), asset.tolist(), lots.tolist(), entry.tolist(), strict=True):
        quantity, price = text_of(q, size_decimals[a]), text_of(p, price_decimals[a])
        positions[row].append(Position(symbol=data.symbol[a], quantity=quantity, entry_price=price))
    for name, cash, held in zip(names, cash_minor.tolist(), positions, strict=True):
        balances = [Balance(currency=CURRENCY, amount=text_of(cash, CURRENCY_DECIMALS))]
        update = AccountUpdate(account=name, epoch=1, seq=1, full=True, balances=balances, positions=held)
        yield "positions", name, T0_MS, update


def _mark(data: Oct10, asset: int, price: int, t_ms: int) -> Sent:
    symbol = data.symbol[asset]
    text = text_of(price, int(data.price_decimals[asset]))
    return "mark-prices", symbol, t_ms, MarkPrice(symbol=symbol, mark_price=text, event_time_ms=t_ms)


def _deficits_minor(data: Oct10, seed: int) -> np.ndarray:
    """A positive deficit per takeover, in whole cents."""
    rng = np.random.default_rng([seed, 1])
    drawn = rng.uniform(*DEFICIT_SHARE, len(data.takeover_lots))
    notional = np.abs(data.takeover_lots) * data.lot_value(data.takeover_asset, data.takeover_price)
    contracts = np.abs(data.takeover_lots) / 10.0 ** data.size_decimals[data.takeover_asset]
    published = np.nan_to_num(data.takeover_gap) * contracts
    deficit = np.where(published > 0, published, drawn * notional)
    return np.maximum(2, np.rint(deficit * 100)).astype(np.int64) * MINOR_PER_CENT


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.oct10.convert", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="recording to write; compressed by its ending (.gz, .zst)")
    parser.add_argument("--deficit", action="store_true", help="takeovers carry a deficit and no price")
    parser.add_argument("--no-survivors", action="store_true", help="only the accounts of the data")
    parser.add_argument("--data", type=Path, default=None, help="folder of the parquet files")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(arguments)
    folder = given.data or source.data_dir()
    if not (folder / "positions.parquet").exists():
        print(f"{folder} must hold the parquet files of the event (or set ADL_OCT10_DIR)", file=sys.stderr)
        return 2
    began = time.perf_counter()
    count = convert(given.out, given.deficit, not given.no_survivors, folder, given.seed)
    print(f"{given.out}: {count:,} records in {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
