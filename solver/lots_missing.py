"""The lots that several demands miss after whole parts, given one by one to the largest present marginal.

Most items give one lot and fall below the level, in the order in which they stood. So every part of the accounts has a
*queue*, sorted once, and the heap holds the first of each queue and whoever was moved: it stays small.
Rule: the level of a demand is a hint, a bar below which items are left out; where a demand runs dry, it is lowered.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.heap import enter, leave, sink
from solver.lots_held import present
from solver.optimum.threads import bounds


class Queues(NamedTuple):
    """Items by marginal, the largest first, of equal ones the smaller item; part p's are item[next[p]:last[p]]."""

    item: np.ndarray  # int64[I]
    next: np.ndarray  # int64[parts]
    last: np.ndarray  # int64[parts]
    of: np.ndarray  # int64[I], the part in whose queue an item still stands, or -1


@njit(cache=True, nogil=True, error_model="numpy")
def _stand(part, limits, bar, held, missing, x, m, found, of):
    """Fill m and of[i] of a part's items; write to `found` those above the bar that may give; how many."""
    total, first = np.empty(held.loading.shape[1]), held.start[limits[part]]
    count = first
    for a in range(limits[part], limits[part + 1]):
        present(a, held, x, total, m)
        for i in range(held.start[a], held.start[a + 1]):
            k = held.demand[i]
            of[i] = -1
            if missing[k] > 0 and x[i] < held.free[i] and m[i] > bar[k]:
                found[count] = i
                count += 1
                of[i] = part
    return count - first


def queues(bar, held, missing, x, threads):
    """Return (marginals float[I], Queues): everybody who stands above the bar float[K] of a demand that misses lots."""
    limits, m = bounds(held.start.size - 1), np.empty(x.size)
    item, of = np.empty(x.size, np.int64), np.empty(x.size, np.int64)
    first = held.start[limits[:-1]]

    def queue(part, *arguments):
        count = _stand(part, *arguments)
        mine = item[first[part] : first[part] + count]
        mine[:] = mine[np.argsort(-m[mine], kind="stable")]
        return count

    counts = threads.run(queue, limits.size - 1, limits, bar, held, missing, x, m, item, of)
    return m, Queues(item, first, first + np.array(counts, np.int64), of)


@njit(cache=True, error_model="numpy")
def _advance(part, held, missing, m, queues, heap, where, size):
    """Let the next of a part's queue into the heap; its new size."""
    while queues.next[part] < queues.last[part]:
        i = queues.item[queues.next[part]]
        queues.next[part] += 1
        if queues.of[i] >= 0 and missing[held.demand[i]] > 0:
            return enter(i, size, heap, where, m)
    return size


@njit(cache=True, error_model="numpy")
def _withdraw(i, held, missing, m, queues, heap, where, size):
    """Take an item out of heap and queue; the heap's new size."""
    part, queues.of[i] = queues.of[i], -1
    if where[i] >= 0:
        size = leave(i, size, heap, where, m)
        if part >= 0:  # it was the first of its queue
            size = _advance(part, held, missing, m, queues, heap, where, size)
    return size


@njit(cache=True, error_model="numpy")
def _all_at_once(bar, held, missing, x, m, queues, heap, where, waiting):
    """No queues any more: fill the heap with the items above the bar that may give a lot that is missed; its size."""
    waiting[:] = 0
    queues.of[:] = -1
    queues.next[:] = queues.last
    size = 0
    for i in range(x.size):
        k = held.demand[i]
        where[i] = -1
        if missing[k] > 0 and x[i] < held.free[i] and m[i] > bar[k]:
            heap[size] = i
            where[i] = size
            waiting[k] += 1
            size += 1
    for root in range(size // 2 - 1, -1, -1):
        sink(root, size, heap, where, m)
    return size


@njit(cache=True, error_model="numpy")
def one_by_one(bar, held, missing, x, m, queues):
    """Give the missing lots; `missing` counts down, x up. m float[I], queues: as they stand above the bar float[K]."""
    heap, where, total = np.empty(x.size, np.int64), np.full(x.size, -1), np.empty(held.loading.shape[1])
    waiting, size, left = np.zeros(missing.size, np.int64), 0, missing.sum()
    for part in range(queues.next.size):
        for place in range(queues.next[part], queues.last[part]):
            waiting[held.demand[queues.item[place]]] += 1
        size = _advance(part, held, missing, m, queues, heap, where, size)
    while left > 0:
        dry = False
        for k in range(missing.size):
            if missing[k] > 0 and waiting[k] == 0:
                bar[k] = -np.inf
                dry = True
        if dry:
            size = _all_at_once(bar, held, missing, x, m, queues, heap, where, waiting)
        dry = False
        while left > 0 and not dry:
            i = heap[0]
            x[i] += 1
            left -= 1
            missing[held.demand[i]] -= 1
            a = held.holder[i]
            # All of the account's marginals change at once: with two keys out of order a heap cannot be mended.
            for j in range(held.start[a], held.start[a + 1]):
                if where[j] >= 0 or queues.of[j] >= 0:
                    size = _withdraw(j, held, missing, m, queues, heap, where, size)
                    waiting[held.demand[j]] -= 1
            present(a, held, x, total, m)
            for j in range(held.start[a], held.start[a + 1]):
                k = held.demand[j]
                if missing[k] > 0 and x[j] < held.free[j] and m[j] > bar[k]:
                    size = enter(j, size, heap, where, m)
                    waiting[k] += 1
                dry = dry or (missing[k] > 0 and waiting[k] == 0)
            while size > 0 and missing[held.demand[heap[0]]] == 0:
                size = _withdraw(heap[0], held, missing, m, queues, heap, where, size)
