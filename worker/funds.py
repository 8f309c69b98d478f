"""Insurance funds: the balance the exchange reports, less our draws that it does not yet contain."""

from hashlib import blake2b


class Funds:
    """Balances and open draws in minor units."""

    def __init__(self) -> None:
        self._balance: dict[str, tuple[int, int]] = {}  # fund -> balance, newest decision sequence in it
        self._draws: dict[str, list[tuple[int, int]]] = {}  # fund -> (decision sequence, amount)

    def set(self, fund_id: str, balance_minor: int, decision_sequence: int) -> None:
        """Takes a reported balance; draws that it contains are forgotten.

        A balance that contained a draw contains it for ever, also where a later report names an older decision or none.
        """
        decision_sequence = max(decision_sequence, self._balance.get(fund_id, (0, 0))[1])
        self._balance[fund_id] = (balance_minor, decision_sequence)
        self._draws[fund_id] = [draw for draw in self._draws.get(fund_id, []) if draw[0] > decision_sequence]

    def draw(self, fund_id: str, amount_minor: int, decision_sequence: int) -> None:
        if decision_sequence > self._balance.get(fund_id, (0, 0))[1]:
            self._draws.setdefault(fund_id, []).append((decision_sequence, amount_minor))

    def available(self) -> dict[str, int]:
        """What each fund can still pay; a fund nobody reported pays nothing."""
        return {
            fund: max(0, balance - sum(amount for _, amount in self._draws.get(fund, [])))
            for fund, (balance, _) in self._balance.items()
        }

    def digest(self) -> int:
        """Every balance and open draw, also on a fund that nobody reported yet: its first report may leave it open."""
        total = 0
        for fund in self._balance.keys() | {name for name, draws in self._draws.items() if draws}:
            text = repr((fund, self._balance.get(fund), self._draws.get(fund, []))).encode()
            total += int.from_bytes(blake2b(text, digest_size=16, person=b"fund").digest(), "big")
        return total
