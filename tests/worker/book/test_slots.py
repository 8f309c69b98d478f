"""Slots against dictionaries: who holds what, side by side, and nothing that stays behind when all have gone."""

import random

import pytest

from worker.book.blocks import SLOTS_USED, length_of
from worker.book.holders import ACCOUNT_SHIFT, HOLDER, IS_COLLATERAL, PAGE, ROOM, SEAT_LOTS
from worker.book.slots import Slots
from worker.book.table import (
    ACCOUNT,
    ACCOUNT_FIELDS,
    BUY,
    COUNT,
    FIRST,
    FREE,
    HELD_QUOTE,
    KEY,
    LOTS,
    NOBODY,
    PLACE,
    SELL,
    Table,
)

ACCOUNTS, SYMBOLS = 40, 30


def new_slots():
    accounts = Table(ACCOUNT_FIELDS)
    accounts.cells[FIRST] = -1
    return accounts, Slots(accounts)


def check(accounts, slots, twin):
    """Everything the twin says, and that slots nobody holds are in free blocks, or at the end of their account's."""
    cells = slots.table.cells
    owned = set()
    for account, positions in twin.items():
        own = slots.of(account)
        assert accounts.columns[COUNT][account] == len(own) == len(positions)
        assert {cells[KEY, slot]: cells[LOTS, slot] for slot in own} == positions
        assert sorted(slots.keys(account)) == sorted(positions)
        assert all(cells[ACCOUNT, slot] == account for slot in own)
        assert [slots.find(account, key) for key in cells[KEY, own.start : own.stop].tolist()] == list(own)
        block = range(own.start, own.start + length_of(len(own)))
        assert all(cells[ACCOUNT, slot] == NOBODY for slot in block[len(own) :])
        assert owned.isdisjoint(block)
        owned.update(block)
    for slot in range(slots.used):
        if cells[ACCOUNT, slot] < 0:
            assert not cells[[HELD_QUOTE, SELL, BUY], slot].any()
    slot, free_before = 0, False
    while slot < slots.used:
        free = slot not in owned
        if free:
            length = cells[KEY, slot]
            assert not free_before, "two free blocks side by side"
            assert cells[ACCOUNT, slot] == cells[ACCOUNT, slot + length - 1] == FREE
            assert cells[KEY, slot + length - 1] == length
            assert owned.isdisjoint(range(slot, slot + length))
        slot, free_before = slot + (length if free else 1), free
    assert not free_before, "the last free block is never kept"
    for symbol in range(SYMBOLS):
        seated = slots.holders.of(symbol)
        held = sorted(cells[ACCOUNT, seated].tolist())
        assert held == sorted(who for who, positions in twin.items() for key in positions if key >> 2 == symbol)
        for slot in seated.tolist():
            place = cells[PLACE, slot]
            assert slots.holders.seats[place + HOLDER] & ~IS_COLLATERAL == cells[ACCOUNT, slot] << ACCOUNT_SHIFT | slot
            assert slots.holders.seats[place + SEAT_LOTS] == cells[LOTS, slot]
    assert slots.positions == sum(map(len, twin.values()))


@pytest.mark.parametrize("seed", range(6))
def test_positions_that_come_and_go_are_those_of_a_dictionary(seed):
    """Any order of opening and closing; when all are closed nothing is left, and what they used is used again."""
    rng = random.Random(seed)
    accounts, slots = new_slots()
    slots.holders.table.reserve(SYMBOLS)
    twin = {account: {} for account in range(ACCOUNTS)}
    most = rng.choice((3, 12, 60))
    for step in range(1500):
        account = rng.randrange(ACCOUNTS)
        positions = twin[account]
        if len(positions) < rng.randrange(most + 1):
            key = 4 * rng.randrange(SYMBOLS) + rng.randrange(3)
            if key not in positions:
                positions[key] = rng.randrange(1, 100)
                slot = slots.open(account, key, positions[key], 6, -1, rng.randrange(2))
                slots.table.columns[SELL][slot] = rng.randrange(2)
        elif positions:
            key = rng.choice(list(positions))
            del positions[key]
            slots.close(slots.find(account, key))
        if step % 100 == 0:
            check(accounts, slots, twin)
    check(accounts, slots, twin)
    for account, positions in twin.items():
        for key in list(positions):
            del positions[key]
            slots.close(slots.find(account, key))
    check(accounts, slots, twin)
    assert slots.used == slots.heap[SLOTS_USED] == 0


def test_an_account_that_opens_one_by_one_moves_rarely():
    """Each move copies all its positions, so a thousand openings beside others who do the same make few of them."""
    _, slots = new_slots()
    slots.holders.table.reserve(1000)
    moves, before = 0, -1
    for number in range(1000):
        for account in range(3):
            slots.open(account, 4 * number, 1, 0, -1, 0)
        moves += slots.of(0).start != before
        before = slots.of(0).start
    assert moves < 45
    assert slots.used < 3 * 1000 * 2


def test_pages_of_holders_are_used_again():
    """A symbol whose holders left gives its pages to the next."""
    _, slots = new_slots()
    slots.holders.table.reserve(SYMBOLS)
    for symbol in range(SYMBOLS):
        for account in range(ACCOUNTS):
            for side in range(20):  # no sides, but keys of one symbol
                slots.open(account, 4 * symbol + side % 4, 1 + side, 0, -1, 0)
        assert len(slots.holders.of(symbol)) == 20 * ACCOUNTS > 3 * PAGE
        for account in range(ACCOUNTS):
            for slot in reversed(slots.of(account)):
                slots.close(slot)
    pages = slots.holders.seats[0]
    assert pages == -(-20 * ACCOUNTS // ROOM)
