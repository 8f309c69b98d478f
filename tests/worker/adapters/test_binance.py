"""A Binance-style account update and mark price become ours, and a book that runs on them."""

import pytest

from schemas import AccountUpdate, Balance, MarkPrice, Position, Refused
from tests.worker.adapters.payloads import FILL, HEDGE, MARK, MARK_WITHOUT_INDEX, ORDER, bytes_of
from tests.worker.tape import Said, Tape, run_tape, settings_of
from worker.adapters.binance import account_update, mark_price
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.record import Record

FOREIGN = (
    "input.topics.positions=positions,user-data",
    "format.topics.user-data=worker.adapters.binance:account_update",
    "format.topics.mark-prices=worker.adapters.binance:mark_price",
)


def record(event, key=b"dave", offset=41):
    return Record("user-data", 3, offset, 1760130000125, key, event if isinstance(event, bytes) else bytes_of(event))


def test_a_fill_is_one_step_of_the_account_of_the_key():
    """Cross wallet as balance, isolated margin with its position, the offset as seq."""
    assert account_update(record(FILL)) == [
        AccountUpdate(
            account="dave",
            epoch=1,
            seq=42,
            balances=[Balance(currency="USD", amount="1200.5")],
            positions=[
                Position(symbol="BTC", quantity="-10", entry_price="105.25"),
                Position(symbol="ETH", quantity="3", entry_price="40", margin_mode="isolated", isolated_margin="50"),
            ],
        )
    ]


def test_both_legs_of_a_hedge_are_told_apart():
    """BOTH is the net position, which such an account closes."""
    [update] = account_update(record(HEDGE))
    assert [(p.position_side, p.quantity) for p in update.positions] == [("NET", "0"), ("LONG", "20"), ("SHORT", "-10")]
    assert update.balances == []


def test_our_adl_seq_is_read_where_it_was_added():
    """Without it forced legs stay held."""
    event = {**FILL, "a": {**FILL["a"], "adl_seq": 7, "P": [{**FILL["a"]["P"][0], "adl_seq": 6}]}}
    [update] = account_update(record(event))
    assert (update.adl_seq, update.positions[0].adl_seq) == (7, 6)


def test_marks_come_alone_or_as_an_array():
    """A mark's time is the event's; an index price may be missing."""
    mark = MarkPrice(symbol="BTC", mark_price="104.5", event_time_ms=1760130001000, index_price="104.61")
    other = MarkPrice(symbol="ETH", mark_price="41", event_time_ms=1760130001000)
    assert mark_price(record(MARK)) == [mark]
    assert mark_price(record([MARK, MARK_WITHOUT_INDEX])) == [mark, other]


@pytest.mark.parametrize("adapter", [account_update, mark_price])
def test_other_events_say_nothing(adapter):
    """User data streams carry orders too."""
    assert adapter(record(ORDER)) == []


def test_an_account_update_without_a_key_is_refused():
    """Nobody can tell whose it is."""
    with pytest.raises(Refused, match="FIELD: the key must be the account"):
        account_update(record(FILL, key=None))


def tape(foreign: bool) -> Tape:
    """The same market said in the foreign format and in ours; `mine` in both."""
    tape = Tape().instrument().instrument(symbol="ETH")
    topic = "user-data" if foreign else "positions"

    def say(event, key, ours):
        if foreign:
            tape.raw(topic, bytes_of(event), key)
        else:
            tape.say(ours)

    def event(cash, *positions):
        listed = [{"s": s, "pa": q, "ep": e, "mt": "cross", "ps": "BOTH"} for s, q, e in positions]
        return {"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": {"B": [{"a": "USD", "wb": cash, "cw": cash}], "P": listed}}

    def update(account, seq, cash, *positions):
        listed = [Position(symbol=s, quantity=q, entry_price=e) for s, q, e in positions]
        cash = [Balance(currency="USD", amount=cash)]
        return AccountUpdate(account=account, epoch=1, seq=seq, balances=cash, positions=listed)

    for name in ("winner", "loser"):  # the whole book first, in our own format
        tape.say(AccountUpdate(account=name, epoch=1, seq=0, full=True))
    tape.at(1100)
    for seq, (name, cash, *held) in enumerate(
        [("winner", "1050", ("BTC", "-10", "105")), ("loser", "0", ("BTC", "10", "105")), ("winner", "1060")], 1
    ):
        say(event(cash, *held), name.encode(), update(name, seq, cash, *held))
    mark = {"e": "markPriceUpdate", "E": 1100, "s": "BTC", "p": "100"}
    if foreign:
        tape.raw("mark-prices", bytes_of(mark), b"BTC")
    else:
        tape.mark(price="100")
    return tape.at(2000).bankrupt("loser")


def test_a_hedge_is_taken_into_the_book():
    """The event names all three sides, and the empty one stands in nobody's way."""
    tape = Tape().instrument().say(AccountUpdate(account="dave", epoch=1, seq=0, full=True))
    tape.at(1100).raw("user-data", bytes_of(HEDGE), b"dave")
    books = []
    sink = MemorySink()
    run(RecordingSource(tape.records), sink, settings_of(*FOREIGN), on_engine=books.append)
    assert list(sink.outputs("dead-letters")) == []
    assert [(p.side, p.lots) for p in books[0].book.positions("dave")] == [("LONG", 20), ("SHORT", -10)]


def test_the_foreign_stream_gives_the_decisions_of_ours():
    """Same trades; only the places in the logs and the settings are others."""
    ours = tape(foreign=False).run()
    theirs = Said(run_tape(tape(foreign=True).records, settings_of(*FOREIGN)))
    assert theirs.letters == []
    assert theirs.legs() == ours.legs() != []
    assert [d.state_digest for d in theirs.decisions] == [d.state_digest for d in ours.decisions]


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b"{", "DECODE", "worker.adapters.binance:account_update raised DecodeError"),
        (bytes_of({**FILL, "a": {"P": [{"s": "BTC", "pa": -10, "ep": "1"}]}}), "DECODE", "Expected `str`, got `int`"),
        (bytes_of({**FILL, "a": {"P": [{"s": "BTC", "pa": "1", "ep": "1", "ps": "UP"}]}}), "DECODE", "UP"),
        (bytes_of({**FILL, "a": {"P": [{"s": "BTC", "pa": "1.5", "ep": "1"}]}}), "LOT", "whole number of lots"),
        (bytes_of({**FILL, "a": {"adl_seq": -1}}), "RANGE", "adl_seq must be between 0"),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_and_parks_the_account(value, reason, words):
    """With its place, and the loop goes on to the decision; the account of the key is left out of it."""
    tape_ = tape(foreign=True)
    tape_.records.insert(-1, Record("user-data", 0, 3, 1500, b"winner", value))
    said = Said(run_tape(tape_.records, settings_of(*FOREIGN)))
    [letter] = said.letters
    assert (letter.reason, letter.topic, letter.offset, letter.payload) == (reason, "user-data", 3, value)
    assert words in letter.sentence
    assert [d.status for d in said.decisions] == ["RESIDUAL"]
    assert said.legs() == []
