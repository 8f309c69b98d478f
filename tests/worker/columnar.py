"""Updates as a PositionBatch, as an exchange would pack them."""

import numpy as np

from schemas import PositionBatch, scaled
from schemas.messages import Instrument
from schemas.units import Scale

SIDES = {"NET": 0, "LONG": 1, "SHORT": 2}


def position_batch(updates, instruments, decimals=6):
    """The batch that says what these updates say; entries as values, whole lots only."""
    scales = {message.symbol: Scale.of(message, decimals) for message in instruments if isinstance(message, Instrument)}
    accounts = {name: at for at, name in enumerate(dict.fromkeys(update.account for update in updates))}
    symbols = {name: at for at, name in enumerate(dict.fromkeys(p.symbol for u in updates for p in u.positions))}
    rows, positions = [], []
    for update in updates:
        numbers = update.epoch, update.seq
        amount = scaled(update.balances[0].amount, decimals) if update.balances else 0
        said_of = update.adl_seq, update.full, bool(update.balances), amount, len(update.positions)
        rows.append((accounts[update.account], *numbers, *said_of))
        for said in update.positions:
            scale = scales.get(said.symbol)
            lots = scale.lots(said.quantity) if scale else 1
            entry = scaled(said.entry_value or "0", decimals)
            if said.entry_value is None and scale and lots:
                entry = scale.value_minor(lots, scale.price(said.entry_price))
            place = accounts[update.account], symbols[said.symbol], SIDES[said.position_side]
            positions.append((*place, *numbers, said.adl_seq, lots, entry))
    blocks = [np.array(block, "<i8").tobytes() for block in (rows, positions)]
    return PositionBatch(accounts=list(accounts), symbols=list(symbols), updates=blocks[0], positions=blocks[1])
