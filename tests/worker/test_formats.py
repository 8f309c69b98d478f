"""A topic's format changes its bytes and nothing that is decided; an adapter can harm nothing but its own record."""

import msgspec
import pytest

from schemas import AccountUpdate, InsuranceFund, MarkPrice, Refused, decode, encode, fields_of, link
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import Said, Tape, run_tape, settings_of
from worker.edge.recording import COMMITS_FILE, OUTPUTS_FILE, RecordingSink, RecordingSource, committed_outputs
from worker.formats import adapted, adapter_of, decoders
from worker.loop import run
from worker.memory import MemorySink
from worker.output import ADVISORY, CHAINED
from worker.record import Record
from worker.settings import KINDS, SettingError, load
from worker.summary import summarise
from worker.verify import verify_replay

IN = ("positions", "mark-prices", "bankruptcies", "forced-trade-results")
PACKED_IN = tuple(f"format.topics.{topic}=msgpack" for topic in IN)
PACKED_OUT = tuple(f"format.topics.{topic}=msgpack" for topic in (*CHAINED, *ADVISORY))
# Of the bytes, or of the settings, of which the format is one.
ABOUT_BYTES = ("chain", "settings_digest", "payload")


def packed(record):
    """The record in MessagePack; what is no message of ours stays as it is."""
    if record.topic not in IN or record.value is None:
        return record
    try:
        messages = decode(record.value)
    except Refused:
        return record
    value = msgspec.msgpack.encode(messages if record.value[:1] == b"[" else messages[0], order="deterministic")
    return msgspec.structs.replace(record, value=value)


@pytest.fixture(scope="module")
def records():
    return random_log(1, accounts=80, end_ms=12_000, poison=False)


def outputs_of(records, *flags):
    sink = MemorySink()
    run(RecordingSource(records, partitions=PARTITIONS), sink, random_settings(*flags))
    return sink


def meaning(sink):
    """(topic, time, fields) of every output and piece of advice, without what is about bytes."""
    said = [(r.topic, r.log_time_ms, r.value) for r in sink.records] + [(o.topic, 0, o.value) for o in sink.advice]
    return [
        (topic, ms, {name: item for name, item in fields_of(value).items() if name not in ABOUT_BYTES})
        for topic, ms, value in said
    ]


def test_packed_topics_give_the_same_decisions(records):
    """Inputs in MessagePack: every output is the same, but for the digest of the settings and what it moves."""
    plain, read = outputs_of(records), outputs_of([packed(record) for record in records], *PACKED_IN)
    assert sum(packed(record) != record for record in records) > 500
    assert len(list(read.outputs("adl-decisions"))) > 10
    assert meaning(read) == meaning(plain)


def test_packed_outputs_say_the_same(records):
    """Outputs in MessagePack: every field the same."""
    assert meaning(outputs_of(records, *PACKED_OUT)) == meaning(outputs_of(records))


def test_the_chain_is_over_the_bytes_as_written(records, tmp_path):
    """A reader of packed topics proves by the same rule that nothing is missing; restart and --verify read them too."""
    settings = random_settings(*PACKED_OUT)
    with RecordingSink(tmp_path) as sink:
        run(RecordingSource(records, partitions=PARTITIONS, batch_max=50), sink, settings)
    whole = (tmp_path / OUTPUTS_FILE).read_bytes()
    commits = (tmp_path / COMMITS_FILE).read_bytes().splitlines(keepends=True)
    assert len(commits) > 4
    (tmp_path / COMMITS_FILE).write_bytes(b"".join(commits[: len(commits) // 2]))
    with RecordingSink(tmp_path) as sink:  # as after a crash: what is committed is replayed
        run(RecordingSource(records, partitions=PARTITIONS), sink, settings)
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == whole
    outputs = list(committed_outputs(tmp_path))
    for topic in CHAINED:
        head = link(f"main/{topic}".encode())
        for record in (record for record in outputs if record.topic == topic):
            assert record.value[:1] != b"{"
            assert fields_of(record.value)["chain"] == head
            head = link(record.value)
    assert all(check.ok for check in summarise(outputs).checks[:1])
    published = MemorySink()
    published.records = outputs
    report = verify_replay(RecordingSource(records, partitions=PARTITIONS), published, settings)
    assert (report.ok, report.differences) == (True, [])
    assert report.compared == len(outputs) > 50


@pytest.mark.parametrize("flags", [(), ("format.topics.positions=msgpack", "format.topics.mark-prices=msgpack")])
def test_a_null_value_is_answered_alike_in_both_encodings(flags):
    """It removes an account, and means nothing on a topic of marks."""
    update = encode(AccountUpdate(account="a", epoch=1, seq=1, full=True), "msgpack" if flags else "json")
    tape = Tape().raw("positions", update, b"a").raw("mark-prices", None, b"BTC").raw("positions", None, b"a")
    tape.at(2000).bankrupt("a")
    said = Said(run_tape(tape.records, settings_of(*flags)))
    assert [(m.reason, m.topic, m.offset, m.payload) for m in said.letters] == [("DECODE", "mark-prices", 0, None)]
    assert [d.status for d in said.decisions] == ["UNKNOWN_ACCOUNT"]


# --- adapters ---------------------------------------------------------------------------------------------------------


def fund(record: Record):
    """`name=amount;...` as insurance funds: a format of this test."""
    parts = record.value.decode().split(";")
    return (InsuranceFund(fund_id=name, balance=amount) for name, amount in (part.split("=") for part in parts))


def raises(record: Record):
    raise RuntimeError(f"at {object()!r} of {record.key!r}")


def returns_floats(_: Record):
    return [MarkPrice(symbol="BTC", mark_price=100.0, event_time_ms=1)]


def returns_nothing_iterable(_: Record):
    return None


def returns_foreign_things(_: Record):
    return [{"symbol": "BTC"}]


def returns_outputs(_: Record):
    return [object()]


def goes_deep(record: Record):
    return goes_deep(record)


def refuses(_: Record):
    raise Refused("UNSUPPORTED", "not this one")


def breaks_a_limit(_: Record):
    return [AccountUpdate(account="a" * 99, epoch=1, seq=1)]


NOT_A_FUNCTION = 3
RAISED = "a record must be what its adapter understands; n raised "
NOT_OURS = "a record must be one of our input messages: "
HERE = __name__


def record_of(value, topic="insurance-fund"):
    return Record(topic, 0, 0, 1000, b"k", value)


def test_an_adapter_gives_the_messages_of_a_record():
    """Any iterable of our messages, in order; an empty one is a record that says nothing."""
    decode_fund = decoders(load(flags=[f"format.topics.insurance-fund={HERE}:fund"]))["insurance-fund"]
    assert [(m.fund_id, m.balance) for m in decode_fund(record_of(b"a=1;b=2"))] == [("a", "1"), ("b", "2")]
    assert adapted("x", lambda _: [], record_of(b"")) == []


@pytest.mark.parametrize(
    ("adapter", "reason", "sentence"),
    [
        (raises, "DECODE", RAISED + "RuntimeError: at <object object at 0x...> of b'k'"),
        (fund, "DECODE", RAISED + "ValueError: not enough values to unpack (expected 2, got 1)"),
        (returns_floats, "DECODE", NOT_OURS + "Expected `str`, got `float` - at `$[0].mark_price`"),
        (returns_nothing_iterable, "DECODE", RAISED + "TypeError: 'NoneType' object is not iterable"),
        (returns_foreign_things, "DECODE", NOT_OURS + "Object missing required field `type` - at `$[0]`"),
        (returns_outputs, "DECODE", RAISED + "TypeError: Encoding objects of type object is unsupported"),
        (refuses, "UNSUPPORTED", "not this one"),
        (breaks_a_limit, "FIELD", f"account must be 1 to 64 bytes of printable characters, was '{'a' * 60}...'"),
    ],
)  # fmt: skip
def test_whatever_an_adapter_does_is_a_refusal_with_a_sentence(adapter, reason, sentence):
    """The same in every process: no address of an object is in it."""
    with pytest.raises(Refused) as caught:
        adapted("n", adapter, record_of(b"a"))
    assert (caught.value.reason, caught.value.sentence) == (reason, sentence)


def test_an_adapter_that_never_ends_calling_itself_is_a_refusal():
    """A deep stack is the adapter's, not ours."""
    with pytest.raises(Refused, match="raised RecursionError"):
        adapted("n", goes_deep, record_of(b"a"))


def test_a_record_its_adapter_fails_on_is_a_dead_letter_and_the_loop_goes_on():
    """With reason, sentence, place and the bytes as they came; a null value never reaches the adapter."""
    tape = Tape().instrument().mark()
    tape.raw("insurance-fund", b"a=1;b", b"k").raw("insurance-fund", None, b"k").raw("insurance-fund", b"a=5", b"k")
    said = Said(run_tape(tape.records, settings_of(f"format.topics.insurance-fund={HERE}:fund")))
    assert [(m.reason, m.topic, m.offset, m.key, m.payload) for m in said.letters] == [
        ("DECODE", "insurance-fund", 0, b"k", b"a=1;b"),
        ("DECODE", "insurance-fund", 1, b"k", None),
    ]
    assert f"{HERE}:fund raised ValueError" in said.letters[0].sentence
    assert said.report.records == len(tape.records)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no.such.module:f", "the module of no.such.module:f must be importable: No module named 'no'"),
        (f"{HERE}:nothing", f"{HERE} must have the function nothing of {HERE}:nothing"),
        (f"{HERE}:NOT_A_FUNCTION", f"{HERE}:NOT_A_FUNCTION must be a function"),
    ],
)
def test_a_name_that_is_no_adapter_is_a_wrong_setting(name, sentence):
    """Found when the loop is built, before a record is read."""
    with pytest.raises(SettingError) as error:
        adapter_of(name)
    assert str(error.value) == f"format.topics: {sentence}"


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("format.topics.positons=msgpack", "format.topics.positons is not a topic; did you mean positions?"),
        ("format.topics.forced-trades=a:b", 'must be "json" or "msgpack", for it is an output, was \'a:b\''),
        ("format.topics.positions=msgpak", 'each "json", "msgpack"'),
    ],
)
def test_a_wrong_format_is_refused(flag, sentence):
    """A misspelt topic would otherwise be read as JSON."""
    with pytest.raises(SettingError, match=r"^format") as error:
        load(flags=[flag])
    assert sentence in str(error.value)


def test_topics_of_any_name_have_a_format():
    """Configured names count; the environment spells dashes as underscores."""
    settings = load('input.topics.positions = ["A.b_c"]\nformat.topics."A.b_c" = "msgpack"')
    assert (
        settings.format.topics
        == load(flags=["input.topics.positions=A.b_c", "format.topics.A.b_c=msgpack"]).format.topics
    )
    assert load(environ={"ADL_FORMAT__TOPICS__MARK_PRICES": "msgpack"}).format.topics == {"mark-prices": "msgpack"}
    assert set(decoders(load())) == set(KINDS)
    assert encode(InsuranceFund(fund_id="f", balance="1"), "msgpack")[:1] != b"{"
