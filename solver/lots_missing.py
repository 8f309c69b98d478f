"""The lots that several demands miss after whole parts, given one by one to the largest present marginal.

Most items give one lot and fall below the level, in the order in which they stood. So every part of the accounts has a
*queue*, sorted once, and the heap holds the first of each queue and whoever was moved: it stays small.
Rule: the level of a demand is a hint, a bar below which items are left out; where a demand runs dry, it is lowered.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.heap import enter, leave, sink
from solver.lots_held import marginals
from solver.optimum.threads import bounds


class Queues(NamedTuple):
    """Items by marginal, the largest first, of equal ones the smaller item; part p's are item[next[p]:last[p]]."""

    item: np.ndarray  # int32[I]
    next: np.ndarray  # int64[parts]
    last: np.ndarray  # int64[parts]
    of: np.ndarray  # int8[I], the part in whose queue an item still stands, or -1


@njit(cache=True, nogil=True, error_model="numpy")
def _stand(part, limits, bar, held, missing, x, m, found, of):
    """Fill m and of[i] of a part's items; write to `found` those above the bar that may give; how many."""
    start, _, demand, kept, free, mirror, factor, variance, equity, loading, own, price, haircut, model = held
    total, first = np.empty(loading.shape[1]), start[limits[part]]
    count = first
    for a in range(limits[part], limits[part + 1]):
        marginals(a, start, demand, kept, free, mirror, factor, variance, equity, loading, own, price, haircut, model,
                  x, total, m)  # fmt: skip
        for i in range(start[a], start[a + 1]):
            k = demand[i]
            of[i] = -1
            if missing[k] > 0 and x[i] < free[i] and m[i] > bar[k]:
                found[count] = i
                count += 1
                of[i] = part
    return count - first


def queues(bar, held, missing, x, threads):
    """Return (marginals float[I], Queues): everybody who stands above the bar float[K] of a demand that misses lots."""
    limits, m = bounds(held.start.size - 1), np.empty(x.size)
    item, of = np.empty(x.size, np.int32), np.empty(x.size, np.int8)
    first = held.start[limits[:-1]]

    def queue(part, *arguments):
        count = _stand(part, *arguments)
        mine = item[first[part] : first[part] + count]
        mine[:] = mine[np.argsort(-m[mine], kind="stable")]
        return count

    counts = threads.run(queue, limits.size - 1, limits, bar, held, missing, x, m, item, of)
    return m, Queues(item, first, first + np.array(counts, np.int64), of)


@njit(cache=True, error_model="numpy", inline="always")
def _advance(part, demand, missing, m, item, first, last, of, heap, where, size):
    """Let the next of a part's queue into the heap; its new size."""
    while first[part] < last[part]:
        i = item[first[part]]
        first[part] += 1
        if of[i] >= 0 and missing[demand[i]] > 0:
            size = enter(i, size, heap, where, m)
            break
    return size


@njit(cache=True, error_model="numpy", inline="always")
def _withdraw(i, demand, missing, m, item, first, last, of, heap, where, size):
    """Take an item out of heap and queue; the heap's new size."""
    part = of[i]
    of[i] = -1
    if where[i] >= 0:
        size = leave(i, size, heap, where, m)
        if part >= 0:  # it was the first of its queue
            size = _advance(part, demand, missing, m, item, first, last, of, heap, where, size)
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
    start, holder, demand, kept, free, mirror, factor, variance, equity, loading, own, price, haircut, model = held
    item, first, last, of = queues
    heap, where = np.empty(x.size, np.int64), np.full(x.size, -1, np.int32)
    total = np.empty(loading.shape[1])
    waiting, size, left = np.zeros(missing.size, np.int64), 0, missing.sum()
    for part in range(first.size):
        for place in range(first[part], last[part]):
            waiting[demand[item[place]]] += 1
        size = _advance(part, demand, missing, m, item, first, last, of, heap, where, size)
    while left > 0:
        dry = False
        for k in range(missing.size):
            if missing[k] > 0 and waiting[k] == 0:
                bar[k] = -np.inf
                dry = True
        if dry:
            size = _all_at_once(bar, held, missing, x, m, queues, heap, where, waiting)
        if size == 0:  # nobody has a lot left; the certificate refuses what is missing
            break
        dry = False
        while left > 0 and not dry:
            i = heap[0]
            x[i] += 1
            left -= 1
            missing[demand[i]] -= 1
            a = holder[i]
            # All of the account's marginals change at once: with two keys out of order a heap cannot be mended.
            for j in range(start[a], start[a + 1]):
                if where[j] >= 0 or of[j] >= 0:
                    size = _withdraw(j, demand, missing, m, item, first, last, of, heap, where, size)
                    waiting[demand[j]] -= 1
            marginals(a, start, demand, kept, free, mirror, factor, variance, equity, loading, own, price, haircut,
                      model, x, total, m)  # fmt: skip
            for j in range(start[a], start[a + 1]):
                k = demand[j]
                if missing[k] > 0 and x[j] < free[j] and m[j] > bar[k]:
                    size = enter(j, size, heap, where, m)
                    waiting[k] += 1
                dry = dry or (missing[k] > 0 and waiting[k] == 0)
            while size > 0 and missing[demand[heap[0]]] == 0:
                size = _withdraw(heap[0], demand, missing, m, item, first, last, of, heap, where, size)
