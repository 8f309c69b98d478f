"""What the words of a decision mean, one sentence each: policies, prices, statuses, reasons."""

from typing import Final

WHO: Final = {
    "risk": "Taken from are those whose risk of losing more than their equity falls most per unit that they give up.",
    "waterfill": "The most levered accounts are lowered first, to one level; who is below the level is not touched.",
    "queue:pnl_leverage": "Positions are taken whole, by profit x leverage, until the quantity is reached.",
    "queue:effective_leverage": "Positions are taken whole, by effective leverage, until the quantity is reached.",
    "queue:binance": "Positions are taken whole, by profit over wallet x margin ratio, until the quantity is reached.",
    "queue:okx": "Positions are taken whole, by profit ratio x effective leverage, until the quantity is reached.",
    "queue:hyperliquid": "Positions are taken whole, by price gain x leverage, until the quantity is reached.",
    "pro_rata:contracts": "Everybody on the other side gives the same share of what may be taken of the position.",
    "pro_rata:profit": "Everybody in profit on the other side gives in proportion to the position's profit.",
    "min_max_haircut": "Amounts are such that the largest share of profit that anybody gives up is as small as can be.",
    "factor": "The accounts with the largest common-factor exposure to equity are lowered first, to one level.",
}
PRICE: Final = {
    "bankruptcy": "The price is the bankruptcy price: winners carry what the fund did not pay of a deficit.",
    "last_solvent_mark": "A position that lost since its account was last solvent trades between the mark and that of "
    "then, so far from the mark as the deficit needs that the fund did not pay; any other trades at the mark.",
    "mark": "The price is the mark: no winner pays; what the fund did not pay of a deficit stays as bad debt.",
}
PRICE_OTHER: Final = "At no watch cut before was it seen solvent, so another rule holds for it."
PRICE_AGAIN: Final = "The price is what those who refused would have paid, or the mark where nobody can pay it."
STATUS: Final = {
    "DECIDED": "Everything that had to be taken over was taken over.",
    "RESIDUAL": "Not everything could be taken over.",
    "HELD": "The decision waits.",
    "UNKNOWN_ACCOUNT": "Nothing was done: the event asks for the whole book of an account that we do not hold.",
    "ALREADY_DECIDED": "Nothing was done: this bankruptcy had been decided before.",
    "BEFORE_START": "Nothing was done: the bankruptcy is older than the point at which this worker began.",
    "NOTHING_TO_TAKE": "Nothing was done: the account holds no position that could be taken over.",
    "REFUSED": "Nothing was done: the solution must not be published.",
}
REASON: Final = {
    "NO_COUNTERPARTIES": "nobody eligible holds the other side any more",
    "COUNTERPARTIES_CANNOT_PAY": "those who hold the other side could not pay the price",
    "ATTEMPTS_EXHAUSTED": "counterparties refused as often as new ones may be looked for",
    "REFUSED_LEGS": "counterparties of an earlier attempt refused a part; new ones are asked for what was given of it",
    "LIQUIDATED_LEG_REFUSED": "the bankrupt account's own trade was refused, so there is nothing to take over any more",
    "CERTIFICATE": "the solution did not pass its own check",
    "QUOTE_RANGE": "a trade would be worth more than 2**51 minor units, the most that can be booked",
    "PAUSED": "an operator paused the pool",
}
