"""The words on the wire: one struct per message, tagged with `type`.

Prices, quantities and amounts are decimal text; scaled integers are made of them in `units.py`, never floats.
Quantities are signed, long > 0. Fields are only ever added, with a default.
"""

from typing import Literal

import msgspec

PositionSide = Literal["NET", "LONG", "SHORT"]
MarginMode = Literal["cross", "isolated"]
AccountRole = Literal["TRADER", "LIQUIDATION", "INSURANCE", "CLEARING"]
AdlClass = Literal["NORMAL", "LAST", "EXEMPT"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of everything on the wire."""


# --- in ---------------------------------------------------------------------------------------------------------------


class MarginTier(Message, frozen=True):
    notional_max: str  # of a position's value at the mark, in settlement currency
    maintenance_margin_fraction: str


class Instrument(Message, frozen=True, tag_field="type", tag=True):
    symbol: str
    tick_size: str
    lot_size: str  # contracts in one lot
    settlement_currency: str
    maintenance_margin_fraction: str
    multiplier: str = "1"  # underlying units per contract; of an inverse one units of the currency prices are in
    price_decimals: int | None = None  # scale of marks and entry prices; default: decimals of the tick + 6
    contract_type: Literal["linear", "inverse"] = "linear"
    margin_tiers: list[MarginTier] | None = None  # each part of a value by its own tier, the last one without end
    fund_id: str = "default"
    status: Literal["TRADING", "HALTED", "DELISTED"] = "TRADING"  # only carried: deciding follows marks alone


class RiskSymbol(Message, frozen=True):
    """How a symbol's return over the horizon is made of common factors and of its own: the scale of each, no money."""

    symbol: str
    loadings: list[float]  # return per unit of each factor; as many for every symbol of a model
    idiosyncratic: float  # variance, of the scale matrix


class RiskModel(Message, frozen=True, tag_field="type", tag=True):
    """Returns of all symbols over the horizon: Student t, scale matrix loadings loadings' + diag(idiosyncratic).

    Their covariance is tail / (tail - 2) times that. One record is the whole model.
    """

    id: str
    horizon_seconds: int
    tail: float | None  # degrees of freedom; null: Gaussian
    symbols: list[RiskSymbol]


class Account(Message, frozen=True, tag_field="type", tag=True):
    account: str
    role: AccountRole = "TRADER"
    adl: AdlClass = "NORMAL"
    beneficial_owner: str | None = None


class Balance(Message, frozen=True):
    currency: str
    amount: str
    collateral_weight: str = "1"  # 0 to 1; what is owed, an amount below 0, counts in full


class Position(Message, frozen=True):
    symbol: str
    quantity: str  # contracts, signed
    position_side: PositionSide = "NET"
    entry_price: str | None = None
    entry_value: str | None = None  # signed quote amount paid for the whole position; wins over entry_price
    margin_mode: MarginMode = "cross"
    isolated_margin: str | None = None
    adl_seq: int = 0  # newest forced leg of the account contained in this position


class AccountUpdate(Message, frozen=True, tag_field="type", tag=True):
    account: str
    epoch: int
    seq: int
    adl_seq: int = 0  # newest forced leg of the account contained in the balances
    full: bool = False
    balances: list[Balance] = []
    positions: list[Position] = []
    maintenance_margin: str | None = None


class PositionBatch(Message, frozen=True, tag_field="type", tag=True):
    """Updates of many accounts as columns, for volume: names, and two blocks of little-endian int64, row by row.

    Each update is one atomic step of its account, as an AccountUpdate with cross positions and no stated margin is; its
    positions follow in the order of the updates. Made for MessagePack; JSON has the blocks in base64. Amounts and entry
    values are in minor units of the pool's currency.
    """

    accounts: list[str]
    symbols: list[str]
    updates: bytes  # account index, epoch, seq, adl_seq, full 0 or 1, amount stated or 0, amount, number of positions
    positions: bytes  # account index, symbol index, side 0 NET 1 LONG 2 SHORT, epoch, seq, adl_seq, lots, entry value


class MarkPrice(Message, frozen=True, tag_field="type", tag=True):
    symbol: str
    mark_price: str
    event_time_ms: int
    index_price: str | None = None


class BankruptcyLine(Message, frozen=True):
    symbol: str
    quantity: str  # contracts, signed as the bankrupt account holds them
    position_side: PositionSide = "NET"
    price: str | None = None


class Bankruptcy(Message, frozen=True, tag_field="type", tag=True):
    id: str
    account: str
    event_time_ms: int
    fund_id: str | None = None
    insurance: str | None = None  # what the fund will pay; wins over the insurance-fund topic
    equity: str | None = None  # at the marks; used where we do not hold the book
    lines: list[BankruptcyLine] = []


class InsuranceFund(Message, frozen=True, tag_field="type", tag=True):
    fund_id: str
    balance: str
    decision_sequence: int = 0  # `sequence` of the newest decision whose draw the balance contains


class ForcedTradeResult(Message, frozen=True, tag_field="type", tag=True):
    trade_id: str
    account: str
    filled_quantity: str  # contracts, unsigned
    reason: str | None = None  # why the rest was refused
    seq: int | None = None  # of the AccountUpdate that shows the fill


class Control(Message, frozen=True, tag_field="type", tag=True):
    id: str
    action: Literal["PAUSE", "RESUME", "POLICY", "RELEASE", "TRIGGER"]
    operator: str
    reason: str
    decision_id: str | None = None  # RELEASE
    policy: str | None = None  # POLICY
    bankruptcy: Bankruptcy | None = None  # TRIGGER


# --- out --------------------------------------------------------------------------------------------------------------


class ForcedTrade(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    sequence: int
    chain: str
    trade_id: str
    decision_id: str
    adl_seq: int
    role: Literal["LIQUIDATED", "COUNTERPARTY"]
    account: str
    symbol: str
    position_side: PositionSide
    side: Literal["BUY", "SELL"]
    quantity: str  # contracts, unsigned
    quote_amount: str  # cash the account receives (+) or pays (-); authoritative
    price: str  # |quote_amount| per contract and multiplier, rounded to the scale of marks
    clearing_account: str
    round: int
    haircut: str = "0"  # what the account gives up against the mark; below zero a bonus
    cancel_orders: bool = True
    reason: Literal["ADL"] = "ADL"
    leverage: float | None = None  # at the decision
    score: float | None = None  # queues: what the order goes by; `risk`: risk removed per unit of notional, at first
    score_after: float | None = None  # `risk`: the same after the decision
    score_alone: float | None = None  # `risk`: the same as `score`, did the account hold nothing else
    account_seq: int | None = None  # strict guard: fill only while the account is at this seq


class SolventMark(Message, frozen=True):
    """A mark at which a liquidated account was last solvent, and towards which the price of its position was moved."""

    symbol: str
    position_side: PositionSide
    mark_price: str
    loss_share: float  # part of the loss since then that the price undoes, 0 to 1


class DecidedBankruptcy(Message, frozen=True):
    """One bankruptcy's waterfall: bad debt is what fund and haircuts leave of the deficit."""

    id: str
    account: str
    topic: str
    partition: int
    offset: int
    equity: str  # at the marks of the cut
    deficit: str
    fund: str
    haircut: str
    bad_debt: str
    fund_id: str | None = None
    disagreements: list[str] = []  # where the event differs from our book; the event wins
    settlement: str | None = None  # rule of its prices, where it is not the decision's
    solvent_marks: list[SolventMark] = []  # settlement `last_solvent_mark`


class DecidedDemand(Message, frozen=True):
    """What was taken in one symbol from one side."""

    symbol: str
    side: Literal["LONG", "SHORT"]  # the side that is reduced
    quantity: str
    taken: str
    price: str  # volume weighted price of the forced trades
    mark_price: str
    round: int
    accounts: int
    leverage_before_max: float | None = None
    leverage_after_max: float | None = None
    level: float | None = None
    shadow_price: float | None = None
    residual: str = "0"
    residual_reason: str | None = None


class Crossing(Message, frozen=True):
    """Lots of two liquidated sides that met each other at the mark."""

    symbol: str
    quantity: str
    mark_price: str


class Certificate(Message, frozen=True):
    """What `solver.verify` found of one round."""

    round: int
    status: str
    ok: bool
    clearing_residual_lots: int
    kkt_residual: float | None = None
    objective_before: float | None = None  # expected loss of the accounts asked, in quote currency; policy `risk`
    objective_after: float | None = None
    failures: list[str] = []


class AdlDecision(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    sequence: int
    chain: str
    decision_id: str
    attempt: int
    status: Literal[
        "DECIDED",
        "RESIDUAL",
        "HELD",
        "UNKNOWN_ACCOUNT",
        "ALREADY_DECIDED",
        "BEFORE_START",
        "NOTHING_TO_TAKE",
        "REFUSED",
    ]
    mode: Literal["shadow", "live"]
    cut_number: int
    cut_time_ms: int
    basis: dict[str, int]
    settings_digest: str
    state_digest: str
    code_digest: str
    bankruptcies: list[DecidedBankruptcy]
    reason: str | None = None
    policy: str | None = None
    settlement: str | None = None
    risk_model: str | None = None  # id of the model that the policy asked for, "default" where there was none
    risk_model_digest: str | None = None
    risk_defaults: list[str] = []  # demanded symbols that the model does not name, with the default scale therefore
    demands: list[DecidedDemand] = []
    crossings: list[Crossing] = []
    certificates: list[Certificate] = []
    trades: int = 0
    accounts: int = 0
    accounts_without_mark: int = 0
    accounts_insolvent: int = 0
    fund: str = "0"
    fund_draws: dict[str, str] = {}
    haircut: str = "0"
    bad_debt: str = "0"


class Cut(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    sequence: int
    chain: str
    number: int
    log_time_ms: int
    basis: dict[str, int]  # "topic:partition" -> next offset
    after: dict[str, int] = {}  # the same behind the records that stand at the cut, where it differs from the basis


class Shock(Message, frozen=True):
    """What a move of prices would do to those it touches; an isolated position counts as an account of its own."""

    shock: str  # as a fraction: -0.1 is a fall by a tenth
    accounts: int  # at or below zero equity then
    deficit: str
    shortfall: str  # of it, what the funds would not cover
    volume: str  # that counterparties would be asked for, in the symbol or of a factor's shock in all, at prices then
    volume_elsewhere: str = "0"  # what the same accounts hold of other symbols


class FundState(Message, frozen=True):
    """What a fund can still pay, and the most that it could within 8 hours."""

    fund_id: str
    available: str
    highest: str


class InsolventAccount(Message, frozen=True):
    account: str
    deficit: str


class AdlState(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    symbol: str
    state: Literal["NORMAL", "WARNING", "ACTIVE", "ENDED", "BLOCKED"]
    cut_time_ms: int
    trigger: str | None = None
    fund: str | None = None  # what the symbol's fund can still pay
    distance: str | None = None  # the smallest of the shocks of the symbol alone that the funds would not cover
    forecast_time_ms: int | None = None  # of the cut at which these were computed
    shocks: list[Shock] = []  # of the symbol alone, those that would bankrupt anybody
    factor_volumes: dict[str, str] = {}  # volume in the symbol, by shock of the factor


class AdlPoolState(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    state: Literal["NORMAL", "WARNING"]
    cut_time_ms: int
    trigger: str | None = None
    funds: list[FundState] = []
    distance: str | None = None  # the smallest shock of the factor that the funds would not cover
    forecast_time_ms: int | None = None
    shocks: list[Shock] = []  # of the risk model's first factor; without a model of all symbols together
    insolvent: int = 0  # accounts with positions at or below zero equity that no bankruptcy has named since
    insolvent_deficit: str = "0"
    insolvent_accounts: list[InsolventAccount] = []  # the largest deficits of them
    left_out: dict[str, int] = {}  # margin units that no forecast counts, by reason


class AdlRank(Message, frozen=True, tag_field="type", tag=True):
    """Where a position stands among those that would be reduced; the newest record of a key holds, null: nowhere.

    The key is account, symbol and position side with a tab between, which no name can hold.
    """

    pool: str
    account: str
    symbol: str
    position_side: PositionSide
    side: Literal["LONG", "SHORT"]  # whose line it stands in
    score: float | None  # the policy's own, the larger is first; null: no number, without equity or entry price
    rank: int  # 1: first to be deleveraged
    population: int  # how many stand in the line
    percentile: float  # part of the line that stands here or behind, above 0; 1: first
    quantile: int  # 0 to 4, the fifth of the line; 4: first
    formula: str  # the policy and the version of its score
    cut_time_ms: int


class MarginReduction(Message, frozen=True, tag_field="type", tag=True):
    """What an account should close of one position, at the market, before its margin is used up."""

    pool: str
    sequence: int
    chain: str
    reduction_id: str
    cut_number: int
    cut_time_ms: int
    account: str
    symbol: str
    position_side: PositionSide
    margin_mode: MarginMode  # isolated: the position's own margin is short, and nothing else of the account is meant
    side: Literal["BUY", "SELL"]
    quantity: str  # contracts, unsigned
    place: int  # 1: to be closed first, of what is asked for together
    places: int
    tier: str  # margin ratio (equity over maintenance requirement) at or below which this is asked for
    share: str  # of the maintenance requirement that the tier removes at least
    ratio_before: str  # at the marks of the cut; ratios are rounded down
    account_seq: int  # the account's seq that this rests on
    again_above: dict[str, str]  # tiers that are used up -> the margin ratio above which each counts again
    not_before_ms: int  # nothing more is asked for of this margin before this log time
    ratio_after: str | None = None  # once everything asked for together is filled at the mark; null: nothing is left


class DeadLetter(Message, frozen=True, tag_field="type", tag=True):
    pool: str
    sequence: int
    chain: str
    reason: str
    sentence: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    payload: bytes | None = None


InputMessage = (
    Instrument
    | RiskModel
    | Account
    | AccountUpdate
    | PositionBatch
    | MarkPrice
    | Bankruptcy
    | InsuranceFund
    | ForcedTradeResult
    | Control
)
OutputMessage = ForcedTrade | AdlDecision | Cut | AdlState | AdlPoolState | AdlRank | MarginReduction | DeadLetter
