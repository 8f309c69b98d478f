"""Records as a Binance-style exchange would write them: made up, in the format its public pages describe."""

import json

FILL = {
    "e": "ACCOUNT_UPDATE",
    "E": 1760130000123,
    "T": 1760130000120,
    "a": {
        "m": "ORDER",
        "B": [{"a": "USD", "wb": "1250.5", "cw": "1200.5", "bc": "0"}],
        "P": [
            {"s": "BTC", "pa": "-10", "ep": "105.25", "bep": "105.3", "cr": "12", "up": "-1.5", "mt": "cross",
             "iw": "0", "ps": "BOTH", "ma": "USD"},
            {"s": "ETH", "pa": "3", "ep": "40", "cr": "0", "up": "0", "mt": "isolated", "iw": "50", "ps": "BOTH"},
        ],
    },
}  # fmt: skip
FUNDING = {"e": "ACCOUNT_UPDATE", "E": 2, "T": 2, "a": {"m": "FUNDING_FEE", "B": [{"a": "USD", "wb": "9", "cw": "9"}]}}
HEDGE = {
    "e": "ACCOUNT_UPDATE", "E": 3, "T": 3,
    "a": {
        "m": "ORDER",
        "P": [
            {"s": "BTC", "pa": "0", "ep": "0.00000", "mt": "cross", "iw": "0", "ps": "BOTH"},
            {"s": "BTC", "pa": "20", "ep": "101", "mt": "cross", "iw": "0", "ps": "LONG"},
            {"s": "BTC", "pa": "-10", "ep": "102", "mt": "cross", "iw": "0", "ps": "SHORT"},
        ],
    },
}  # fmt: skip
ORDER = {"e": "ORDER_TRADE_UPDATE", "E": 4, "T": 4, "o": {"s": "BTC", "a": "1", "X": "FILLED"}}
MARK = {
    "e": "markPriceUpdate", "E": 1760130001000, "s": "BTC", "p": "104.5", "ap": "104.4", "i": "104.61", "P": "104",
    "r": "0.0001", "T": 1760140800000,
}  # fmt: skip
MARK_WITHOUT_INDEX = {"e": "markPriceUpdate", "E": 1760130001000, "s": "ETH", "p": "41"}


def bytes_of(event) -> bytes:
    return json.dumps(event).encode()
