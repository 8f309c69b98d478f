"""The settings, section by section: what each is, what too small costs, what too large costs.

Rule 1: every field has a type that says what is allowed, and a comment for whom it hurts when it is wrong.
Rule 2: what can change an output is in the settings digest; what cannot stands in NEVER_IN_AN_OUTPUT.
"""

from decimal import Decimal
from typing import Annotated, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

Kind = Literal[
    "instruments",
    "risk-model",
    "accounts",
    "controls",
    "insurance-fund",
    "mark-prices",
    "positions",
    "forced-trade-results",
    "bankruptcies",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)  # in the order in which inputs of equal log time are taken

Policy = Literal[
    "risk",
    "factor",
    "waterfill",
    "queue:pnl_leverage",
    "queue:effective_leverage",
    "queue:binance",
    "queue:okx",
    "queue:hyperliquid",
    "pro_rata:contracts",
    "pro_rata:profit",
    "min_max_haircut",
]
Settlement = Literal["bankruptcy", "last_solvent_mark", "mark"]

Name = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="1 to 64 letters, digits, dots, dashes or underscores")
]
Account = Annotated[str, Meta(min_length=1, max_length=64, description="an account name of 1 to 64 characters")]
Symbol = Annotated[str, Meta(min_length=1, max_length=64, description="a symbol of 1 to 64 characters")]
Topic = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="a topic name: letters, digits, dots, dashes, underscores"),
]
Format = Annotated[str, Meta(pattern=r"^(json|msgpack|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)$")]
# Exact: TOML numbers are read as decimals, never as floats, because these bound money.
Fraction = Annotated[Decimal, Meta(description="a decimal above 0 and at most 1, or null")]
Multiple = Annotated[Decimal, Meta(description="a decimal above 0, or null")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the sections."""


class PoolSettings(Section, frozen=True, kw_only=True):
    """Which margin domain this process serves."""

    # Names the pool in every output and in its ids. Changing it makes all ids new.
    name: Name = "main"
    # Keeps the same pool of another environment apart (transactional id).
    environment: Name = "local"
    # The one currency that marks and trades are in, and every instrument is settled in.
    currency: Name = "USDT"
    # Other currencies that balances may be in -> the symbol whose mark converts one unit of them; none: they are
    # refused. Such a balance counts by its weight, rounded down to a lot of the symbol: too coarse a lot loses some.
    collateral: Annotated[
        dict[Name, Symbol],
        Meta(description="a table of currencies, each with the symbol that converts it"),
    ] = msgspec.field(default_factory=dict)
    # Decimals of the smallest amount booked. Too small: amounts with more decimals are refused.
    # Too large: the largest position value that fits shrinks tenfold for each (2**51 smallest amounts).
    currency_decimals: Annotated[int, Meta(ge=0, le=9, description="a whole number from 0 to 9")] = 6
    # The account every forced trade faces.
    clearing_account: Account = "CLEARING"


class WorkerSettings(Section, frozen=True, kw_only=True):
    """What the process is allowed to do."""

    # shadow: decisions are written, trades are not. live: both.
    mode: Literal["shadow", "live"] = "shadow"
    # Bankruptcies before it are answered BEFORE_START. null: the end of a live topic, the beginning of a recording.
    # Too early: bankruptcies that another engine has dealt with are decided again. Too late: one is left undecided.
    start_at: (
        Annotated[
            Literal["end", "beginning"] | Annotated[int, Meta(ge=0)],
            Meta(description='"end", "beginning", a log time in milliseconds, or null'),
        ]
        | None
    ) = None


class InputSettings(Section, frozen=True, kw_only=True):
    """Where each kind of message is read; any topic may carry any input message."""

    # Kind -> topics. The kind decides the order among records of equal log time.
    # One topic named for every kind gives the exchange's own total order.
    topics: dict[Kind, list[Topic]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        given = dict(self.topics)
        self.topics.clear()
        self.topics.update({kind: given.get(kind, [kind]) for kind in KINDS})


class OutputSettings(Section, frozen=True, kw_only=True):
    """Where each kind of answer is written."""

    forced_trades: Topic = "forced-trades"
    adl_decisions: Topic = "adl-decisions"
    adl_cuts: Topic = "adl-cuts"
    adl_state: Topic = "adl-state"
    adl_ranks: Topic = "adl-ranks"
    margin_reductions: Topic = "margin-reductions"
    dead_letters: Topic = "dead-letters"


class FormatSettings(Section, frozen=True, kw_only=True):
    """How the records of each topic are written."""

    # Topic -> json (where nothing is said), msgpack, or for an input `module:function`, an adapter (worker/adapters/).
    # The wrong one makes every record of its topic a dead letter.
    topics: Annotated[
        dict[Topic, Format],
        Meta(
            description='a table of topics, each "json", "msgpack", or for an input the "module:function" of an adapter'
        ),
    ] = msgspec.field(default_factory=dict)


class CutSettings(Section, frozen=True, kw_only=True):
    """When the state is looked at."""

    # Milliseconds of log time between two looks without a bankruptcy. Too small: more `adl-cuts` records, lower
    # throughput. Too large: refusals and held decisions are noticed later.
    watch_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="milliseconds from 1 to 3,600,000")] = 1000
    # Bankruptcies this close in log time are decided together. Too small: a burst is decided one by one, and early
    # ones take the best counterparties' capacity. Too large: the first waits for the last.
    joint_window_ms: Annotated[int, Meta(ge=0, le=60_000, description="milliseconds from 0 to 60,000")] = 0


class DecisionSettings(Section, frozen=True, kw_only=True):
    """Who is reduced, at which price, and what a person must look at first."""

    # Who is reduced. risk: whose loss beyond their equity the reduction makes least likely, by the pool's risk model;
    # factor: the same of the common move of all symbols alone; waterfill: the largest leverage, of each symbol's
    # notional alike; the queues: whole positions in an exchange's rank order; pro_rata: everybody by contracts or by
    # profit; min_max_haircut: so that the largest share of profit given up is smallest. Whatever is neither risk nor
    # factor asks hedged accounts as if they were not.
    policy: Policy = "risk"
    # The forced trades' price. bankruptcy: winners carry the deficit in every position taken over; last_solvent_mark:
    # in those alone that lost since the account was last solvent at a watch cut, and never beyond that mark; a pass
    # over all accounts at each watch cut. mark: no winner pays, and the deficit stays as bad debt.
    settlement: Settlement = "bankruptcy"
    # What counterparties cannot pay for: taken at the mark with the rest as bad debt, or left open.
    residual: Literal["mark", "none"] = "mark"
    # True: nobody pays more than the profit of the position that is taken. Costs: larger residuals and bad debt.
    protect_principal: bool = False
    # Largest distance of a bankruptcy price from the mark, as a fraction of the mark; null: no collar.
    # Too small: deficits stay as bad debt. Too large: single winners pay prices far from the market.
    collar: Fraction | None = None
    # Times a refused quantity is decided again. Too small: residuals that others would have taken.
    # Too large: a market that refuses everything is asked again and again.
    attempts_max: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 3
    # Milliseconds a mark may be older than the bankruptcy. Too small: decisions are held in quiet markets.
    # Too large: decisions at prices that are no longer true.
    mark_age_ms_max: Annotated[int, Meta(ge=1, le=86_400_000, description="milliseconds from 1 to 86,400,000")] = 60_000
    # Decisions above this amount of quote currency wait for a RELEASE; null: none does.
    # Too small: operators release routine decisions. Too large: a wrong feed acts unseen.
    notional_max: Multiple | None = None
    # Decisions that touch more accounts than this wait for a RELEASE; null: none does. Costs as above.
    accounts_max: Annotated[int, Meta(ge=1, description="a whole number from 1, or null")] | None = None
    # Decisions whose mark moved by more than this fraction since the last cut wait for a RELEASE; null: none does.
    # Too small: every crash waits for a person. Too large: a broken mark is acted upon.
    mark_jump_max: Multiple | None = None
    # True: a trade may be filled only while its account is at the `seq` it was decided on. Costs: more refusals.
    strict_guard: bool = False


class StateSettings(Section, frozen=True, kw_only=True):
    """When the pool is warned, in `adl-state`; never changes a decision."""

    # Milliseconds of log time between two forecasts, made at watch cuts; null: none is made. Too small: the worker does
    # little else (0.4 us an account each time, also while it catches up). Too large: warnings come late.
    forecast_ms: (
        Annotated[int, Meta(ge=1, le=86_400_000, description="milliseconds from 1 to 86,400,000, or null")] | None
    ) = 60_000
    # Moves of prices that a forecast tries, up and down, as fractions. Too few: distances are coarse. Too many: each
    # forecast takes longer, in proportion.
    shocks: Annotated[
        str,
        Meta(
            pattern=r"^0\.(?=[0-9]*[1-9])[0-9]{1,6}(,0\.(?=[0-9]*[1-9])[0-9]{1,6}){0,15}$",
            description="1 to 16 decimals above 0 and below 1 with commas, of at most 6 decimals",
        ),
    ] = "0.01,0.02,0.05,0.1,0.2,0.3,0.4,0.5"
    # WARNING where the funds would not cover a shock of this size or less; null: forecasts never warn.
    # Too small: warned when it is too late. Too large: always warned.
    warning_shock: Fraction | None = Decimal("0.1")
    # WARNING where a fund has fallen by this fraction of the most it had within 8 hours; null: none for that.
    # Too small: every draw warns. Too large: the fund is empty first.
    warning_fall: Fraction | None = Decimal("0.3")
    # Milliseconds of log time without decisions and without cause until a state ends: ACTIVE, then ENDED, WARNING.
    # Too small: states flicker. Too large: they outlast what they say.
    quiet_ms: Annotated[int, Meta(ge=0, le=86_400_000, description="milliseconds from 0 to 86,400,000")] = 600_000


class RankSettings(Section, frozen=True, kw_only=True):
    """Where every position stands in its line, told to whoever shows it to traders; advisory."""

    # Most records of `adl-ranks` in a second of log time, what is most urgent first; 0: no ranking at all, and what is
    # kept of an earlier time is removed.
    # Too small: places that changed are told late. Too large: each takes 3 us of the loop, and room in the producer.
    records_per_second: Annotated[int, Meta(ge=0, le=100_000, description="a whole number from 0 to 100,000")] = 0
    # Milliseconds of log time between two rankings, at least. Too small: each takes 0.7 us of the loop a position.
    # Too large: places are of the past.
    interval_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="milliseconds from 1 to 3,600,000")] = 10_000
    # Part of itself by which a score must have moved to be told anew while its fifth is the same; null: never is.
    # Too small: every mark says everything anew. Too large: scores that are shown are of the past.
    score_change: Fraction | None = Decimal("0.1")


class ReductionSettings(Section, frozen=True, kw_only=True):
    """Staged reductions: what accounts are told to close while their margin still suffices; nothing by default."""

    # Margin ratio (equity over maintenance requirement) -> share of the requirement that is removed at or below it,
    # largest ratio first; null: nothing is asked of anybody. Ratios at or below 1 are liquidations and not ours.
    # Too high: healthy accounts are made to trade. Too low: what is left of the margin is gone before it is filled.
    tiers: (
        Annotated[
            str,
            Meta(
                pattern=r"^\s*[0-9.]{1,12}\s*:\s*[0-9.]{1,12}\s*(,\s*[0-9.]{1,12}\s*:\s*[0-9.]{1,12}\s*)*$",
                description='ratio:share with commas between, such as "1.5:0.25, 1.25:0.5, 1.1:1", or null',
            ),
        ]
        | None
    ) = None
    # By how much the ratio must rise above a tier before the tier counts again. Too small: an account at the edge of a
    # tier is reduced again and again. Too large: one that recovered and falls again is left to the next tier.
    hysteresis: Annotated[Decimal, Meta(description="a decimal above 0")] = Decimal("0.05")
    # Milliseconds of log time in which nothing more is asked of the same margin. Too small: it is asked for again
    # before the first fill is reported. Too large: one that falls on is left alone.
    cool_down_ms: Annotated[int, Meta(ge=0, le=86_400_000, description="milliseconds from 0 to 86,400,000")] = 10_000


class KafkaSettings(Section, frozen=True, kw_only=True):
    """How the brokers are reached; never changes an output."""

    # The brokers to ask first, host:port, several with commas.
    bootstrap: Annotated[
        str,
        Meta(pattern=r"^[^\s,:@/]+:[0-9]{1,5}(,[^\s,:@/]+:[0-9]{1,5})*$", description="host:port, several with commas"),
    ] = "localhost:9092"
    # Settings of librdkafka, passed through: TLS, SASL, limits. What exactly-once rests on is refused, and a secret is
    # named by where it is (NAME_file or NAME_env), never written here; see worker/client_settings.py.
    client: Annotated[
        dict[str, str | int | bool],
        Meta(description="a table of client settings, each a text, a whole number, true or false"),
    ] = msgspec.field(default_factory=dict)


class HealthSettings(Section, frozen=True, kw_only=True):
    """What probes are told over HTTP, and when the worker gives up; never changes what an output says."""

    # Where /healthz/live, /healthz/ready, /version and /metrics are answered; null: nowhere.
    port: Annotated[int, Meta(ge=1, le=65_535, description="a port from 1 to 65,535, or null")] | None = None
    # The address listened on. 127.0.0.1: this machine only. 0.0.0.0: everybody who can reach it, as a cluster's probes.
    address: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.:-]{1,253}$", description="an address or a host's name")] = (
        "127.0.0.1"
    )
    # Milliseconds of log time that may be left to read, and of silence of the loop, while ready. Too small: a burst
    # takes the worker out of service. Too large: it counts as ready while it decides about the past.
    lag_ms_max: Annotated[int, Meta(ge=0, le=86_400_000, description="milliseconds from 0 to 86,400,000")] = 10_000
    # Milliseconds without a sign of life until it is not live; waiting for Kafka, in calls of at most 5 s, is one. Too
    # small: a large decision, or compiling at the start, gets the process killed. Too large: a hang is noticed late.
    stall_ms_max: Annotated[int, Meta(ge=1, le=86_400_000, description="milliseconds from 1 to 86,400,000")] = 60_000
    # Records refused in a minute of log time above which the worker ends and stays ended until a person raises this;
    # null: it never does. Too small: one careless producer stops everybody's deleveraging. Too large: a broken feed
    # parks every account before anybody looks.
    refused_per_minute_max: Annotated[int, Meta(ge=0, description="a whole number from 0, or null")] | None = 10_000


class SnapshotSettings(Section, frozen=True, kw_only=True):
    """The state kept beside the log, so that a restart need not read all of it; never changes an output."""

    # A folder of this pool alone, on a disk that outlives the process; null: none is taken, and a restart reads the
    # whole log. A snapshot has about 200 bytes a position; `keep` of them, and one that is being written, must fit.
    folder: Annotated[str, Meta(min_length=1, max_length=4096, description="the path of a folder, or null")] | None = (
        None
    )
    # Milliseconds between two, at least. Too small: disk, and memory that is copied while one is written. Too large: a
    # restart has more to read behind the newest.
    interval_ms: Annotated[int, Meta(ge=100, le=86_400_000, description="milliseconds from 100 to 86,400,000")] = 10_000
    # How many are kept. Fewer than three: one bad disk block, and the whole log is read. Too many: disk.
    keep: Annotated[int, Meta(ge=3, le=1000, description="a whole number from 3 to 1,000")] = 3


class LogSettings(Section, frozen=True, kw_only=True):
    """What is told to the operator; never changes an output."""

    # auto: readable at a terminal, JSON lines elsewhere.
    format: Literal["auto", "json", "console"] = "auto"
    # Too quiet: a held decision goes unseen. Too talkative: disk.
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section, frozen=True, kw_only=True):
    """Everything that can be set."""

    pool: PoolSettings = msgspec.field(default_factory=PoolSettings)
    worker: WorkerSettings = WorkerSettings()
    input: InputSettings = msgspec.field(default_factory=InputSettings)
    output: OutputSettings = OutputSettings()
    format: FormatSettings = msgspec.field(default_factory=FormatSettings)
    cut: CutSettings = CutSettings()
    decision: DecisionSettings = DecisionSettings()
    state: StateSettings = StateSettings()
    ranks: RankSettings = RankSettings()
    reductions: ReductionSettings = ReductionSettings()
    kafka: KafkaSettings = msgspec.field(default_factory=KafkaSettings)
    health: HealthSettings = HealthSettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    log: LogSettings = LogSettings()


SECTIONS: Final[dict[str, type[Section]]] = get_type_hints(Settings)
NEVER_IN_AN_OUTPUT: Final = ("kafka", "health", "snapshot", "log")
