"""Every record that the engine writes in its transaction, made in one place from what was decided."""

from collections.abc import Iterable

from schemas import AdlDecision, Cut, DeadLetter, DecidedBankruptcy, MarginReduction, text_of
from worker.claims import Claim
from worker.cut import CutPoint
from worker.decide import Case, Decided
from worker.formats import encodings
from worker.held import Legs
from worker.ids import digest_of, short_hash
from worker.inputs import Inputs
from worker.legs import Orders, accounts_asked, no_orders
from worker.output import CUTS, DEAD_LETTERS, DECISIONS, REDUCTIONS, TRADES, OutputLog
from worker.reductions import Due, rounded_down
from worker.risk import NEEDED_BY
from worker.settings import Settings, settings_digest
from worker.trades import Frame, trades_of_orders


class Writer(Inputs):
    """Turns decisions, refusals and cuts into numbered and chained records."""

    def __init__(self, settings: Settings, code_digest: str) -> None:
        super().__init__(settings)
        self.pool = settings.pool.name
        self.live = settings.worker.mode == "live"
        self.outputs = OutputLog(self.pool, encodings(settings))
        self.cut_number = 0
        self._notes_solvent = settings.decision.settlement == "last_solvent_mark"
        self._solvent_digest = 0  # of the last solvent marks, where the rule has them noted
        self._code_digest = code_digest
        self._settings_digest = settings_digest(settings)

    def digest(self) -> str:
        """The state digest, 32 hex digits."""
        return self._digest(self.policy, self._solvent_digest)

    def kept_digest(self) -> str:
        """The same of what no setting can change: of the policy only what was said, of solvent times nothing."""
        return self._digest(self._policy_said, 0)

    def _digest(self, policy: str | None, more: int) -> str:
        cases = [(case.decision_id, case.attempt, case.released, case.held_reason) for case in self._cases]
        orders = digest_of("orders", self._paused, policy, cases)
        cells = self.book.digest() + self.funds.digest() + self.risk.digest + self.reductions.digest
        return f"{(cells + self._ledger_digest + orders + more) % 2**128:032x}"

    def solvent_digest(self) -> str:
        """Of the last solvent marks; empty where no rule asks for them."""
        return f"{self._solvent_digest % 2**128:032x}" if self._notes_solvent else ""

    def _write_decision(self, case: Case, point: CutPoint, decided: Decided) -> tuple[AdlDecision, Legs]:
        decimals = self.book.currency_decimals
        sequence, chain = self.outputs.next(DECISIONS)
        risk = self.risk if self.policy in NEEDED_BY else None
        decision = AdlDecision(
            pool=self.pool,
            sequence=sequence,
            chain=chain,
            decision_id=case.decision_id,
            attempt=case.attempt,
            status=decided.status,  # type: ignore[arg-type]  # one of the closed list
            mode="live" if self.live else "shadow",
            cut_number=self.cut_number,
            cut_time_ms=point.log_time_ms,
            basis=_basis(point),
            settings_digest=self._settings_digest,
            state_digest=self.digest(),
            code_digest=self._code_digest,
            bankruptcies=decided.bankruptcies or [named(claim) for claim in case.claims],
            reason=decided.reason,
            policy=self.policy,
            settlement=self.settings.decision.settlement,
            risk_model=None if risk is None else risk.name,
            risk_model_digest=None if risk is None else risk.model_digest,
            risk_defaults=risk.unnamed(demand.symbol for demand in decided.demands) if risk else [],
            demands=decided.demands,
            crossings=decided.crossings,
            certificates=decided.certificates,
            trades=len(decided.orders.account),
            accounts=accounts_asked(decided.orders),
            accounts_without_mark=decided.accounts_without_mark,
            accounts_insolvent=decided.accounts_insolvent,
            fund=text_of(decided.fund_minor, decimals),
            fund_draws={fund: text_of(paid, decimals) for fund, paid in decided.fund_draws.items()},
            haircut=text_of(decided.haircut_minor, decimals),
            bad_debt=text_of(decided.bad_debt_minor, decimals),
        )
        self.outputs.put(DECISIONS, self.pool, decision, point.log_time_ms)
        orders = decided.orders if self.live else no_orders()
        return decision, self._write_trades(case, point, orders)

    def _write_trades(self, case: Case, point: CutPoint, orders: Orders) -> Legs:
        settings = self.settings
        frame = Frame(case.decision_id, settings.pool.clearing_account, settings.decision.strict_guard)
        legs, texts = trades_of_orders(self.book, frame, orders, self.held.number(orders.account))
        self.outputs.put_texts(TRADES, "ForcedTrade", texts, point.log_time_ms)
        return legs

    def _write_letters(self, point: CutPoint) -> None:
        before = None
        for event, refused in self._letters:
            record = event.record
            payload = None if record is before else record.value  # once: a batch may be refused row by row
            before = record
            sequence, chain = self.outputs.next(DEAD_LETTERS)
            letter = DeadLetter(
                pool=self.pool, sequence=sequence, chain=chain, reason=refused.reason, sentence=refused.sentence,
                topic=record.topic, partition=record.partition, offset=record.offset,
                key=record.key, payload=payload,
            )  # fmt: skip
            self.counts[refused.reason] = self.counts.get(refused.reason, 0) + 1
            self.outputs.put(DEAD_LETTERS, record.topic, letter, point.log_time_ms)
        self._letters.clear()

    def _write_reductions(self, point: CutPoint, every: Iterable[Due]) -> list[MarginReduction]:
        written = []
        not_before_ms = point.log_time_ms + self.reductions.cool_down_ms
        for due in every:
            account, after = due.name[0], due.plan.after
            for place, (position, lots) in enumerate(due.plan.parts, start=1):
                scale = self.book.scale(position.symbol)
                sequence, chain = self.outputs.next(REDUCTIONS)
                name = short_hash(self.pool, REDUCTIONS, self.cut_number, account, position.symbol, position.side)
                reduction = MarginReduction(
                    pool=self.pool, sequence=sequence, chain=chain, reduction_id=name,
                    cut_number=self.cut_number, cut_time_ms=point.log_time_ms, account=account,
                    symbol=position.symbol, position_side=position.side,
                    margin_mode="isolated" if position.isolated else "cross",
                    side="SELL" if lots * scale.sign > 0 else "BUY",
                    quantity=scale.quantity_text(abs(lots)),
                    place=place, places=len(due.plan.parts), tier=due.tier.text, share=due.tier.share_text,
                    ratio_before=rounded_down(due.plan.before),
                    ratio_after=None if after is None else rounded_down(after),
                    account_seq=self.book.account_seq(account), again_above=due.again_above,
                    not_before_ms=not_before_ms,
                )  # fmt: skip
                self.outputs.put(REDUCTIONS, account, reduction, point.log_time_ms)
                written.append(reduction)
        return written

    def _write_cut(self, point: CutPoint) -> None:
        sequence, chain = self.outputs.next(CUTS)
        cut = Cut(
            pool=self.pool, sequence=sequence, chain=chain, number=self.cut_number,
            log_time_ms=point.log_time_ms, basis=_basis(point),
            after={f"{e.record.topic}:{e.record.partition}": e.record.offset + 1 for e in point.cutting},
        )  # fmt: skip
        self.outputs.put(CUTS, self.pool, cut, point.log_time_ms)


def _basis(point: CutPoint) -> dict[str, int]:
    """Zeros are left out: a partition without a record changes no byte, so a recording need not know of it."""
    return {f"{topic}:{partition}": offset for (topic, partition), offset in point.basis.items() if offset}


def named(claim: Claim) -> DecidedBankruptcy:
    """A bankruptcy for which nothing was computed."""
    return DecidedBankruptcy(
        id=claim.message.id, account=claim.message.account, topic=claim.topic, partition=claim.partition,
        offset=claim.offset, equity="0", deficit="0", fund="0", haircut="0", bad_debt="0",
        fund_id=claim.message.fund_id,
    )  # fmt: skip
