"""Logs on standard error: JSON lines for machines, readable at a terminal; one line per decision, none per message."""

import logging
import sys
from typing import Any, Literal

import structlog

from schemas import AdlDecision
from worker.edge.secrets import masked


def start_logging(form: Literal["auto", "json", "console"], level: str) -> None:
    """Sets the process's logs up; `auto` is readable where standard error is a terminal."""
    readable = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def log_decision(decision: AdlDecision) -> None:
    """One line: what was decided, for whom, who paid."""
    log = structlog.get_logger()
    write = log.info if decision.status in ("DECIDED", "ALREADY_DECIDED", "NOTHING_TO_TAKE") else log.warning
    write(
        "adl." + decision.status.lower(),
        decision=decision.decision_id,
        cut=decision.cut_number,
        cut_time_ms=decision.cut_time_ms,
        bankruptcies=len(decision.bankruptcies),
        trades=decision.trades,
        accounts=decision.accounts,
        fund=decision.fund,
        haircut=decision.haircut,
        bad_debt=decision.bad_debt,
        **({"reason": decision.reason} if decision.reason else {}),
    )


def _without_secrets(_logger: Any, _method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Clients and libraries quote what they were given; a secret is taken out of every fact."""
    return {name: _shown(value) for name, value in facts.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return masked(value if isinstance(value, str) else repr(value))
