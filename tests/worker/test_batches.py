"""Plain records as columns leave what they leave one by one: the same outputs, state, counts and dead letters."""

import random
from collections import Counter

import pytest

from schemas import AccountUpdate, Balance, Bankruptcy, Instrument, MarkPrice, Position, encode
from tests.worker.arriving import ArrivingSource
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import settings_of
from worker import merge, reader
from worker.edge.recording import OUTPUTS_FILE, RecordingSink, RecordingSource
from worker.loop import run
from worker.record import Record


@pytest.fixture
def runs_from(monkeypatch):
    """Sets how many records at least are taken together, and how many wait before they leave their fetch."""

    def choose(records, apart_min=merge.APART_MIN):
        monkeypatch.setattr(merge, "RUN_MIN", records)
        monkeypatch.setattr(merge, "APART_MIN", apart_min)
        monkeypatch.setattr(reader, "RUN_MIN", records)

    return choose


def told(folder, source, settings):
    """What a run leaves: its outputs' bytes, state, counts, how many dead letters."""
    with RecordingSink(folder) as sink:
        report = run(source, sink, settings)
    written = (folder / OUTPUTS_FILE).read_bytes()
    return written, report.state_digest, report.counts, report.dead_letters, report.cuts


@pytest.mark.parametrize("seed", range(4))
def test_a_log_read_as_columns_leaves_the_same_bytes(seed, runs_from, tmp_path):
    """Runs of any length, read in any portions, and live; poison between them."""
    records = random_log(seed, accounts=60)
    settings = random_settings(f"cut.joint_window_ms={5 * (seed % 2)}")
    found = []
    for name, least, batch_max in (("singly", 1 << 60, None), ("all", 1, None), ("some", 3, 40)):
        runs_from(least, 0 if name == "some" else 1 << 60)
        source = RecordingSource(records, partitions=PARTITIONS, batch_max=batch_max)
        found.append(told(tmp_path / name, source, settings))
    assert found[1] == found[0]
    assert found[2] == found[0]
    for least in (1 << 60, 1):
        runs_from(least, 0)
        source = ArrivingSource(records, PARTITIONS, seed, beforehand=len(records) // 2, batch_max=200)
        found.append(told(tmp_path / f"live{least}", source, settings))
    assert found[4] == found[3]


SYMBOLS = [f"S{number}" for number in range(4)]
PLACES = {"instruments": 1, "positions": 3, "mark-prices": 2, "bankruptcies": 1}


def market_log(seed, records=3000):
    """A busy log of few symbols: updates good and bad, marks up to the limit of what is held, some bankruptcies."""
    rng = random.Random(seed)
    offsets, ms, log = Counter(), 1000, []

    def say(topic, partition, key, message):
        value = message if message is None or isinstance(message, bytes) else encode(message)
        log.append(Record(topic, partition, offsets[topic, partition], ms, key.encode(), value))
        offsets[topic, partition] += 1

    for symbol in SYMBOLS:
        say("instruments", 0, symbol, Instrument(
            symbol=symbol, tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
            maintenance_margin_fraction="0.01",
            contract_type="inverse" if symbol == SYMBOLS[-1] and seed % 4 == 3 else "linear",
        ))  # fmt: skip
    seqs = Counter()
    for number in range(records):
        ms += rng.choice([0, 0, 0, 1, 1, 7, 90])
        symbol = rng.choice(SYMBOLS)
        if rng.random() < 0.35:
            price = (
                f"{rng.uniform(50, 150):.2f}" if rng.random() < 0.97 else rng.choice(["900000000", "0", "1e3", "1.000"])
            )
            named = symbol if rng.random() < 0.99 else "unknown"
            say("mark-prices", SYMBOLS.index(symbol) % 2, named, MarkPrice(
                symbol=named, mark_price=price, event_time_ms=ms
            ))  # fmt: skip
            continue
        account = f"account-{rng.randrange(60)}"
        if rng.random() < 0.005:
            say("bankruptcies", 0, account, Bankruptcy(id=f"b{number}", account=account, event_time_ms=ms))
            continue
        if rng.random() < 0.01:
            say("positions", int(account[8:]) % 3, account, rng.choice([None, b"{", b'{"type":"AccountUpdate"}']))
            continue
        seqs[account] += rng.choice([1, 1, 1, 1, 0])
        positions = [
            Position(
                symbol=name if rng.random() < 0.99 else "unknown",
                quantity=rng.choice(["0", f"{rng.uniform(-50, 50):.3f}", f"{rng.uniform(-50, 50):.3f}", "1.5000"])
                if rng.random() < 0.98 else rng.choice(["0.0001", "2500000", "99999999999999", "9" * 30]),
                position_side=rng.choice(["NET"] * 30 + ["LONG", "SHORT"]),
                entry_price=f"{rng.uniform(90, 110):.4f}" if rng.random() < 0.98 else None,
                entry_value=f"{rng.uniform(-9, 9):.2f}" if rng.random() < 0.05 else None,
                margin_mode=rng.choice(["cross"] * 9 + ["isolated"]),
                isolated_margin=rng.choice(["5", "5", "5", None, "-1"]),
                adl_seq=rng.choice([0] * 40 + [1, 2]),
            )
            for name in rng.sample(SYMBOLS, rng.choice([0, 1, 1, 2, 4]))
        ]  # fmt: skip
        say("positions", int(account[8:]) % 3, account if rng.random() < 0.98 else "other", AccountUpdate(
            account=account, epoch=1 + number // 1200, seq=seqs[account], full=rng.random() < 0.5,
            adl_seq=rng.choice([0] * 60 + [1]),
            balances=[Balance(currency=rng.choice(["USDT"] * 80 + ["EUR"]), amount=f"{rng.uniform(0, 9000):.2f}")]
            if rng.random() < 0.8 else [],
            maintenance_margin=rng.choice([None, None, "12.5", "-1"]),
        ) if not positions else AccountUpdate(
            account=account, epoch=1 + number // 1200, seq=seqs[account], full=rng.random() < 0.5,
            balances=[Balance(currency="USDT", amount=f"{rng.uniform(0, 9000):.2f}")], positions=positions,
        ))  # fmt: skip
    return log


@pytest.mark.parametrize("seed", range(8))
def test_a_busy_market_read_as_columns_leaves_the_same_state(seed, runs_from, tmp_path):
    """Positions opened, changed and closed, refusals and marks that are refused for what is held, parked accounts."""
    log = market_log(seed)
    mode = "live" if seed % 2 else "shadow"
    settings = settings_of("cut.watch_ms=250", f"worker.mode={mode}", "pool.currency=USDT", "pool.currency_decimals=6")
    partitions = [(topic, number) for topic, count in PLACES.items() for number in range(count)]
    found = []
    for name, least, batch_max in (("singly", 1 << 60, None), ("all", 1, None), ("some", 16, 700)):
        runs_from(least)
        source = RecordingSource(log, partitions=partitions, batch_max=batch_max)
        found.append(told(tmp_path / name, source, settings))
    assert found[0][3] > 10
    assert found[1] == found[0]
    assert found[2] == found[0]
