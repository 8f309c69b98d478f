"""Account updates and marks as text, mostly as exchanges write them, now and then a little wrong in one place.

Rule: all chance comes from the `rng` that is given, so a seed tells everything, and hypothesis can shrink.
"""

GOOD_NUMBERS = ("0", "1", "-1", "12.5", "-0.001", "0.10", "100", "7.000", "-3", "250.25")
ODD_NUMBERS = (
    "-0", "007", "-00.5", "0.0", "1.", ".5", "-", "--1", "+1", "1e3", "1E3", "NaN", "inf", "", " 1", "1 ", "1_0", "0x1",
    "1,5", "1.5.5", "9" * 18, "-" + "9" * 18, "9" * 19, "1" + "0" * 18, "0." + "0" * 17 + "1", "0." + "0" * 18 + "1",
    "1." + "0" * 40, "9" * 48, "9" * 49, "9007199254740992", "-9007199254740993", "4611686018427387904", "٣", "１",
    "123456789.123456789", "1234567890.123456789", "0" * 30, "1\\u0030", "2251799813685248", "1152921504606846976",
)  # fmt: skip
GOOD_INTEGERS = ("0", "1", "2", "7", "41", "1760131000000")
ODD_INTEGERS = (
    "-0", "-1", "01", "00", "1.0", "1e3", "1E0", "0.5", '"1"', "null", "true", "9" * 18, "1" + "0" * 18, "9" * 19,
    "9007199254740992", "9007199254740993", "2305843009213693952", "2305843009213693953", "4611686018427387904",
    "4611686018427387905", "9223372036854775808", "18446744073709551616", "9" * 30, "", " 1", "1 ", "+1", "[]",
)  # fmt: skip
GOOD_NAMES = ("a", "bob", "winner", "rich", "S1", "BTC", "ETH")
ODD_NAMES = (
    "", "x y", "é", "東京", "n" * 64, "n" * 65, "é" * 32, "é" * 33, "a\\\\b", 'q\\"q', "\\u0041", "\\u0000", "\\ud800",
    "\\n", "a\tb", "\x7f", "~", "{", '","x":"', "😀", "\u200b", "\u00ad", "BTC ", "btc", "AccountUpdate",
)  # fmt: skip
GAPS = ("", "", " ", "\n", "\t", "\r\n", "\x00")
BITS = [*b'{}[]",:.-+0123456789 \\aeEntrulsfNETLONGSHORTcrossisolated\x00\x1f\x7f\x80\xc3\xff']


def either(rng, good, odd, share=0.03):
    return rng.choice(odd if rng.random() < share else good)


def number(rng):
    return (
        '"' + either(rng, GOOD_NUMBERS, ODD_NUMBERS) + '"' if rng.random() < 0.99 else rng.choice(("1", "null", "[]"))
    )


def integer(rng):
    return either(rng, GOOD_INTEGERS, ODD_INTEGERS)


def name(rng):
    return '"' + either(rng, GOOD_NAMES, ODD_NAMES) + '"' if rng.random() < 0.995 else rng.choice(("1", "null", "{}"))


def word(rng, *words):
    return either(rng, [f'"{each}"' for each in words], ('"net"', '""', "null", "1", '"NET "', '"N\\u0045T"', "true"))


def written(rng, fields, shuffled=0.3):
    """An object of (name, text) fields: sometimes in another order, one left out, doubled, unknown, or with a space."""
    fields = [field for field in fields if rng.random() > 0.004]
    if rng.random() < shuffled:
        rng.shuffle(fields)
    if fields and rng.random() < 0.01:
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(fields))
    if rng.random() < 0.01:
        fields.insert(
            rng.randrange(len(fields) + 1), rng.choice((("x", "1"), ("adl_seq", "1"), ("type", '"MarkPrice"')))
        )
    comma, colon = (rng.choice(GAPS) if rng.random() < 0.01 else "" for _ in range(2))
    text = f",{comma}".join(f'"{each}":{colon}{value}' for each, value in fields)
    return "{" + text + (rng.choice((",", " ", ",,")) if rng.random() < 0.005 else "") + "}"


def position(rng, symbols):
    fields = [("symbol", name(rng) if rng.random() < 0.1 else f'"{rng.choice(symbols)}"'), ("quantity", number(rng))]
    optional = (
        ("entry_price", 0.8, number), ("entry_value", 0.2, number), ("isolated_margin", 0.2, number),
        ("position_side", 0.3, lambda rng: word(rng, "NET", "LONG", "SHORT")),
        ("margin_mode", 0.2, lambda rng: word(rng, "cross", "isolated")), ("adl_seq", 0.1, integer),
    )  # fmt: skip
    return written(rng, fields + [(field, make(rng)) for field, share, make in optional if rng.random() < share])


def balance(rng, currency):
    fields = [
        ("currency", either(rng, [f'"{currency}"'], ('"EUR"', f'"{currency}X"', '""', "null"))),
        ("amount", number(rng)),
    ]
    if rng.random() < 0.1:
        fields.append(("collateral_weight", either(rng, ['"1"'], ('"1.0"', '"0.5"', "1", '"01"'), 0.3)))
    return written(rng, fields)


def listed(rng, items):
    text = ",".join(items)
    return "[" + text + (rng.choice((",", " ", "]", "[")) if rng.random() < 0.003 else "") + "]"


def update(rng, accounts=GOOD_NAMES, symbols=GOOD_NAMES, currency="USDT"):
    """The text of an account update."""
    account = name(rng) if rng.random() < 0.3 else f'"{rng.choice(accounts)}"'
    fields = [("account", account), ("epoch", integer(rng)), ("seq", integer(rng))]
    count, owned = rng.choice((0, 1, 1, 1, 2, 3)), rng.choice((0, 1, 1, 1, 1, 2))
    optional = (
        ("adl_seq", 0.1, integer),
        ("full", 0.8, lambda rng: either(rng, ("true", "false"), ("null", "1", '"true"', "True", "tru", "truefalse"))),
        ("balances", 0.8, lambda rng: listed(rng, [balance(rng, currency) for _ in range(owned)])),
        ("positions", 0.8, lambda rng: listed(rng, [position(rng, symbols) for _ in range(count)])),
        ("maintenance_margin", 0.2, number),
    )  # fmt: skip
    fields += [(field, make(rng)) for field, share, make in optional if rng.random() < share]
    return typed(rng, "AccountUpdate", fields)


def mark(rng, symbols=GOOD_NAMES):
    """The text of a mark."""
    fields = [("symbol", name(rng) if rng.random() < 0.3 else f'"{rng.choice(symbols)}"'), ("mark_price", number(rng))]
    fields.append(("event_time_ms", integer(rng)))
    if rng.random() < 0.3:
        fields.append(("index_price", either(rng, (number(rng),), ('"any"', '"é"', '""', "null"), 0.2)))
    return typed(rng, "MarkPrice", fields)


def typed(rng, kind, fields):
    """The object with its type first, as we write it; sometimes elsewhere."""
    if rng.random() < 0.01:
        return written(rng, [("type", f'"{kind}"'), *fields], shuffled=1.0)
    head = f'{{"type":"{either(rng, (kind,), ("Mark", "Account", "accountupdate", "Instrument"), 0.005)}"'
    body = written(rng, fields)[1:]
    return head + ("," if body != "}" or rng.random() < 0.1 else "") + body


def spoilt(rng, value):
    """Bytes of a record changed in a few places: flipped, cut, put in, moved, repeated."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, to = (rng.randrange(len(value) + 1) for _ in range(2))
        low, high = min(at, to), max(at, to)
        how = rng.randrange(8)
        if how == 0:
            value = value[:at] + value[at + 1 :]
        elif how == 1:
            value = value[:at] + bytes([rng.choice(BITS)]) + value[at:]
        elif how in (2, 3):
            value = value[:at] + bytes([rng.choice(BITS)]) + value[at + 1 :]
        elif how == 4 and at < len(value):
            value = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
        elif how == 5:
            value = value[:low] + value[high:] if rng.random() < 0.5 else value[:at]
        elif how == 6:
            value = value[:at] + value[low : min(high, low + 40)] + value[at:]
        else:
            value = value + rng.choice((b" ", b"\n", b"}", b"x", b"\0", b"{}", value))
    return value


def key(rng):
    return either(
        rng, (b"a", b"bob", b"winner", b"BTC", None), (b"", b"\xff", b"\0", b"n" * 65, b"\xc3\xa9", b"a\n"), 0.1
    )


def record(rng, **names):
    """(key, value) of a record: a mark or an update, in one of three spoilt; the key its name, another, or none."""
    text = update(rng, **names) if rng.random() < 0.7 else mark(rng, names.get("symbols", GOOD_NAMES))
    value = text.encode()
    if rng.random() < 0.3:
        value = spoilt(rng, value)
    return key(rng), (None if rng.random() < 0.005 else value)
