"""Slots in blocks: runs side by side, taken and given back in O(1), neighbours that are free joined at once.

Rule: a free block says so in its first and last slot (FREE in ACCOUNT, its length in KEY), so whoever gives a block
back sees whether those beside it are free; the last free block is given back to the slots that were never taken.
The lists of free blocks, one per length, hold block + 1; the next is in LOTS, the previous in ENTRY, of a first slot.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.table import ACCOUNT, ENTRY, FREE, KEY, LOTS, NOBODY

Cells = NDArray[np.int64]

LENGTH_MAX = 2 * limits.POSITIONS_PER_ACCOUNT_MAX  # of a block that is asked for, while an update replaces all

# --- the heap: what is taken and what is free -------------------------------------------------------------------------
SLOTS_USED = 0  # slots below are in blocks, taken or free
POSITIONS = 1  # slots that hold one
_BLOCKS = 2  # free ones
_BITS = 3  # 32 in each word: the lengths of which there are free blocks
_WORDS = LENGTH_MAX // 32 + 1
_LISTS = _BITS + _WORDS  # by length; longer blocks are in the last
HEAP_FIELDS = _LISTS + LENGTH_MAX + 2

_CELLS = "int64[:, ::1]"


@kernel("int64(int64)")
def length_of(count: int) -> int:
    """The length of the block of so many positions: at most a quarter more, so that opening them one by one is O(1)."""
    step = 1
    while 8 * step < count:
        step *= 2
    return (count + step - 1) // step * step


@kernel(f"void({_CELLS}, int64[::1], int64, int64)")
def _enlist(slots: Cells, heap: Cells, block: int, length: int) -> None:
    """Makes [block, block + length) a free block."""
    last = block + length - 1
    slots[ACCOUNT, block] = slots[ACCOUNT, last] = FREE
    slots[KEY, block] = slots[KEY, last] = length
    number = min(length, LENGTH_MAX + 1)
    following = heap[_LISTS + number] - 1
    slots[LOTS, block] = following
    slots[ENTRY, block] = -1
    if following >= 0:
        slots[ENTRY, following] = block
    heap[_LISTS + number] = block + 1
    heap[_BITS + (number >> 5)] |= 1 << (number & 31)
    heap[_BLOCKS] += 1


@kernel(f"int64({_CELLS}, int64[::1], int64)")
def _delist(slots: Cells, heap: Cells, block: int) -> int:
    """Takes a free block out of its list; returns its length."""
    length: int = slots[KEY, block]
    number = min(length, LENGTH_MAX + 1)
    following, previous = slots[LOTS, block], slots[ENTRY, block]
    if previous >= 0:
        slots[LOTS, previous] = following
    else:
        heap[_LISTS + number] = following + 1
        if following < 0:
            heap[_BITS + (number >> 5)] &= ~(1 << (number & 31))
    if following >= 0:
        slots[ENTRY, following] = previous
    slots[ACCOUNT, block] = slots[ACCOUNT, block + length - 1] = NOBODY
    heap[_BLOCKS] -= 1
    return length


@kernel("int64(int64[::1], int64)")
def _shortest(heap: Cells, length: int) -> int:
    """The shortest free block of at least so many slots, or -1."""
    if heap[_BLOCKS] == 0:
        return -1
    word = length >> 5
    bits = heap[_BITS + word] >> (length & 31) << (length & 31)
    while bits == 0:
        word += 1
        if word == _WORDS:
            return -1
        bits = heap[_BITS + word]
    number = 32 * word
    while bits & 1 == 0:
        bits >>= 1
        number += 1
    block: int = heap[_LISTS + number] - 1
    return block


@kernel(f"int64({_CELLS}, int64[::1], int64)")
def take(slots: Cells, heap: Cells, length: int) -> int:
    """The first slot of a block of 1 to LENGTH_MAX slots that hold nothing; the caller has made room."""
    block = _shortest(heap, length)
    if block < 0:
        block = int(heap[SLOTS_USED])
        heap[SLOTS_USED] += length
    else:
        spare = _delist(slots, heap, block) - length
        if spare > 0:
            _enlist(slots, heap, block + length, spare)
    for slot in range(block, block + length):
        slots[ACCOUNT, slot] = NOBODY
    return block


@kernel(f"void({_CELLS}, int64[::1], int64, int64)")
def give_back(slots: Cells, heap: Cells, block: int, length: int) -> None:
    """Makes the slots [block, block + length), which hold nothing, free."""
    end = block + length
    if end < heap[SLOTS_USED] and slots[ACCOUNT, end] == FREE:
        end += _delist(slots, heap, end)
    if block > 0 and slots[ACCOUNT, block - 1] == FREE:
        block -= slots[KEY, block - 1]
        _delist(slots, heap, block)
    if end == heap[SLOTS_USED]:
        heap[SLOTS_USED] = block
    else:
        _enlist(slots, heap, block, end - block)


@kernel(f"boolean({_CELLS}, int64[::1], int64, int64)")
def lengthen(slots: Cells, heap: Cells, end: int, more: int) -> bool:
    """Takes the slots [end, end + more) behind a block, where they are free."""
    if end == heap[SLOTS_USED]:
        heap[SLOTS_USED] = end + more
    elif slots[ACCOUNT, end] == FREE and slots[KEY, end] >= more:
        spare = _delist(slots, heap, end) - more
        if spare > 0:
            _enlist(slots, heap, end + more, spare)
    else:
        return False
    for slot in range(end, end + more):
        slots[ACCOUNT, slot] = NOBODY
    return True
