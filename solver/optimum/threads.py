"""Work on fixed parts of an array, by as many threads as numba is told to use (NUMBA_NUM_THREADS).

Rule 1: what a part computes depends on the part alone, and parts are added up in their order: the number of threads
changes no bit.
Rule 2: plain threads over kernels that let go of the interpreter: numba's own thread pools either must not be entered
by two Python threads at once (workqueue) or need a library that small images lack (omp, tbb).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import config

PARTS = 16  # fixed: sums are made per part
SMALL = 4_000  # items below which handing over costs more than the work


def bounds(size):
    """Where the parts of `size` rows begin and end, int64[PARTS + 1], or one part where there is little to do."""
    parts = PARTS if size > SMALL else 1
    return np.arange(parts + 1) * size // parts


class Threads:
    """Threads of one solve; `with Threads() as threads`."""

    def __init__(self, size):
        """No thread is started for few items."""
        count = config.NUMBA_NUM_THREADS
        self.pool = ThreadPoolExecutor(count) if size > SMALL and count > 1 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pool is not None:
            self.pool.shutdown()

    def run(self, kernel, parts, *arguments):
        """Call kernel(part, *arguments) for every part; the results in the order of the parts."""
        if self.pool is None or parts == 1:
            return [kernel(part, *arguments) for part in range(parts)]
        return list(self.pool.map(lambda part: kernel(part, *arguments), range(parts)))
