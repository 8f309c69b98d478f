"""Cascades: bankruptcies are settled, marks move on, and the next ones fall, until the book is flat or nobody is left.

A small exchange in whole minor units executes every trade exactly, but tells late: some accounts and the fund are
published a round after they changed, so decisions rest on held legs and open draws. The auditor looks at every run.
"""

import pytest

from tests.worker.auditor import audit
from tests.worker.cascade import Cascade
from tests.worker.random_tape import random_log, random_settings
from tests.worker.tape import Said, run_tape

CASCADES, BLOCK = 1000, 100


@pytest.mark.parametrize("block", range(CASCADES // BLOCK))
def test_cascades_end_flat_or_with_a_residual_that_nobody_could_take(block):
    """In bounded rounds, every promise of every decision kept; the exchange's books agree to the minor unit."""
    ends = {"flat": 0, "residual": 0}
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        cascade = Cascade(seed)
        end, rounds = cascade.run()
        assert end in ends, f"seed {seed} is {end} after {rounds} rounds"
        host = cascade.host
        assert audit(host.tape.records, host.decisions, host.trades, host.cuts, **cascade.rules) == [], f"seed {seed}"
        assert {decision.status for decision in host.decisions} <= {"DECIDED", "RESIDUAL"}, f"seed {seed}"
        assert all(certificate.ok for decision in host.decisions for certificate in decision.certificates)
        ends[end] += 1
    assert min(ends.values()) > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_log_with_refusals_and_controls_keeps_every_promise(seed):
    """A larger exchange that also refuses, fills in part, prices lines, removes accounts and takes over again."""
    records = random_log(seed, poison=False)
    said = Said(run_tape(records, random_settings()))
    assert audit(records, said.decisions, said.trades) == []
    assert max(decision.attempt for decision in said.decisions) > 1
