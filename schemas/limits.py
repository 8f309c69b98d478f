"""Every limit on a number or a name, and the proof that no int64 overflows.

Numbers are checked where they become integers (`units.py`, `codec.py`) and where they meet (the book); behind that door
kernels add and multiply int64 without looking. What the checks must establish:

1. *Texts.* `scaled()` returns only integers of magnitude below 2**63.
2. *Price x numerator.* `value(q, p) = floor(q * p * num / den)`, `num/den` reduced. A scale is refused unless
   num <= VALUE_NUM_MAX and den <= VALUE_DEN_MAX, and a price unless p <= price_max(num), hence p * num <= 2**63 - 2.
3. *Value.* Write p * num = A * den + B, 0 <= B < den, and q = high * 2**31 + low with 0 <= low < 2**31. Then
   value = q * A + floor(q * B / den), and the second part goes by digits: |high| <= 2**22, so |high * B| < 2**53; its
   remainder r < den < 2**31, so r * 2**31 + low * B <= (2**31 - 2) * (2**31 + 2**31 - 1) < 2**63.
   q * A is formed only after |q| <= POSITION_VALUE_MINOR_MAX // (A + 1), where A + 1 <= p * num + 1 < 2**63; then
   |value| <= |q| * (A + 1) <= POSITION_VALUE_MINOR_MAX. Every value beyond the limit is refused by this; a refused one
   is beyond POSITION_VALUE_MINOR_MAX - |q|, so only lots worth less than a few minor units are refused too early.
   An inverse contract's value per lot is p * num = num', den = RECIPROCAL_DEN < 2**31, made from a price p' by integers
   of Python: num' = N / p' to RECIPROCAL_DECIMALS. Its scale lets pass only prices whose num' is between
   RECIPROCAL_NUM_MIN and 2**63 - 2 (`reciprocal_prices`), so everything above holds of it with num' for p * num.
4. *Equity.* balance + loose + sum over positions of (value - entry value + held quote) has magnitude at most
   BALANCE_MINOR_MAX + LOOSE_QUOTE_MINOR_MAX
   + POSITIONS_PER_ACCOUNT_MAX * (POSITION_VALUE_MINOR_MAX + ENTRY_VALUE_MINOR_MAX + HELD_QUOTE_MINOR_MAX) < 2**63,
   as has every partial sum, in any order. (A change of one value is at most twice the largest: 2**52.)
   The sum of |value| over an account's positions is at most 2**10 * POSITION_VALUE_MINOR_MAX = 2**61.
5. *Lots.* |q| <= QUANTITY_LOTS_MAX = 2**53 is exact as a float, and 2**10 of them add up within int64; totals over a
   whole book (open interest, demands) are Python integers or are bounded by 2**63 / 2**53 = 2**10 entries of that size.
"""

from fractions import Fraction

INT64_MAX = 2**63 - 1

NUMBER_CHARS_MAX = 48  # of a decimal text, sign and point included
DECIMALS_MAX = 24  # of a price scale

QUANTITY_LOTS_MAX = 2**53  # one position
PRICE_SCALED_MAX = 2**62
VALUE_NUM_MAX = 2**31 - 1
VALUE_DEN_MAX = 2**31 - 1
RECIPROCAL_DECIMALS = 9  # of a minor unit, to which the value of a lot of an inverse contract is kept
RECIPROCAL_DEN = 10**RECIPROCAL_DECIMALS  # the largest power of ten below 2**31
RECIPROCAL_NUM_MIN = 10**6  # so a price is at least that exact: 5e-7 of itself

POSITION_VALUE_MINOR_MAX = 2**51  # 2.25e9 of a currency with 6 decimals
ENTRY_VALUE_MINOR_MAX = 2**51
HELD_QUOTE_MINOR_MAX = 2**51  # quote of the forced legs one position still has to show
LOOSE_QUOTE_MINOR_MAX = 2**59  # the same of an account's legs whose position is gone
BALANCE_MINOR_MAX = 2**60  # 1.15e12 of a currency with 6 decimals
ISOLATED_MARGIN_MINOR_MAX = 2**60
POSITIONS_PER_ACCOUNT_MAX = 1024

# Of one pool: a book takes the address space for these once it is no longer small, and the memory only as it fills.
ACCOUNTS_MAX = 2**22
POSITIONS_MAX = 2**24
SYMBOLS_MAX = 2**12

SEQUENCE_MAX = 2**62  # epoch, seq, adl_seq, decision_sequence
ADL_SEQ_UNKNOWN_MAX = 2**61  # reported legs that we did not give: our own numbers follow them, up to SEQUENCE_MAX
TIME_MS_MAX = 2**53  # exact in every JSON reader; the year 287396

NAME_BYTES_MAX = 64  # accounts, symbols, currencies, fund ids; UTF-8, printable
ID_BYTES_MAX = 128  # ids of bankruptcies, trades, decisions, controls
REASON_BYTES_MAX = 1024  # an operator's or an exchange's free text
BANKRUPTCY_LINES_MAX = POSITIONS_PER_ACCOUNT_MAX
DECISION_BYTES_MAX = 512_000  # of a decision's record; brokers refuse 1 MB by default
MESSAGES_PER_RECORD_MAX = 65536
UPDATE_ROW, POSITION_ROW = 8, 8  # numbers in a row of a PositionBatch

MARGIN_TIERS_MAX = 100  # of an instrument

RISK_SYMBOLS_MAX = SYMBOLS_MAX  # of a model; its record must still pass a broker's default of 1 MB
RISK_FACTORS_MAX = 32
RISK_SCALE_MIN = 1e-9  # of a symbol's return over the horizon: less is no risk to speak of, and squares must not vanish
RISK_SCALE_MAX = 100.0  # 10,000 percent
RISK_TAIL_MIN, RISK_TAIL_MAX = 1.5, 1000.0  # degrees of freedom; beyond, say Gaussian
RISK_HORIZON_SECONDS_MAX = 366 * 86_400


def price_max(value_num: int) -> int:
    """The largest scaled price whose product with the value's numerator is at most 2**63 - 2."""
    return min(PRICE_SCALED_MAX, (INT64_MAX - 1) // value_num)


def reciprocal_prices(value: Fraction) -> tuple[int, int]:
    """The least and largest scaled price of an inverse contract; `value`: minor units per lot, times the price.

    In between, value / price to RECIPROCAL_DECIMALS lies between RECIPROCAL_NUM_MIN and 2**63 - 2.
    """
    num = value * RECIPROCAL_DEN
    return max(1, -(-num // (INT64_MAX - 1))), min(PRICE_SCALED_MAX, num // RECIPROCAL_NUM_MIN)
