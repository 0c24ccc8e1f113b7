"""What a handler gets: an event, and the context in which it handles it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple, Union

import psycopg
from psycopg.pq import TransactionStatus

# An operation that belongs to the transaction that advances: what, the key or log, and what it needs.
Operation = Tuple[Any, ...]


class Deferral(Exception):
    """Raised by a handler to handle the event later, after retry_in. It is not a failure, and no attempt is counted."""

    def __init__(self, retry_in: Union[timedelta, float], reason: Optional[str] = None) -> None:
        super().__init__(reason or f"again in {retry_in}")
        self.retry_in = retry_in if isinstance(retry_in, timedelta) else timedelta(seconds=retry_in)


class PermanentFailure(Exception):
    """Raised by a handler: no retry can help. The event is dead at once."""


@dataclass(frozen=True)
class Event:
    """An event of a log, a timer, or a sent event; the latter two have no log."""

    log: Optional[str]
    position: int
    stream: Optional[str]
    version: Optional[int]
    type: str
    data: Any
    metadata: Dict[str, Any]
    recorded_at: datetime
    key: str
    attempt: int
    timeline: Optional[int] = None  # of the server that has given it, if the consumer asks for it

    @property
    def kind(self) -> str:
        """'event', 'timer', or 'sent' (by pm.send or pm.reply)."""
        if self.log is not None:
            return "event"
        return "timer" if self.version is None else "sent"

    @property
    def id(self) -> str:
        """Stays the same when the event comes again: for an Idempotency-Key."""
        if self.log is None:
            due = self.recorded_at.astimezone(timezone.utc).isoformat()
            return f"{self.key}/{self.type}/{due}"
        return f"{self.log}/{self.position}"


class Context:
    """The instance to which the event belongs, and the transaction in which it is handled."""

    def __init__(
        self,
        event: Event,
        state: Optional[str],
        tx: Optional[psycopg.Connection[Any]] = None,
        is_lost: Callable[[], bool] = bool,
    ) -> None:
        self.event = event
        self._is_lost = is_lost
        self.state: Any = None if state is None else json.loads(state)
        self.result: Optional[Exception] = None
        self.operations: List[Operation] = []
        self._tx = tx
        self._exists = state is not None

    @property
    def tx(self) -> psycopg.Connection[Any]:
        """The connection whose transaction has the effects, and advances. It commits when the batch has been handled."""
        if self._tx is None:
            raise RuntimeError('there is no transaction: this consumer has effects="outside"')
        return self._tx

    @property
    def lease_lost(self) -> bool:
        """Whether another consumer may have the event. Then a long operation can end early, with any exception."""
        return self._is_lost()

    def save(self, state: Any) -> None:
        """Stores the state of the instance, anything that json.dumps accepts; begins the instance if there is none."""
        if state is None:
            raise ValueError("a state cannot be None; finish() ends the instance")
        self.operations.append(("save", self.event.key, dump(state)))
        self.state, self._exists = state, True

    def finish(self, result: Any = None) -> None:
        """Ends the instance, and removes its state and timers."""
        if not self._exists:
            if result is None:
                return
            self.save({})
        self.operations.append(("finish", self.event.key, None if result is None else dump(result)))
        self.state, self._exists = None, False

    def set_timer(self, type: str, due: Union[datetime, timedelta, float], data: Any = None) -> None:
        """Sets the timer of this type, which comes as an event when it is due: at a time, or after a time."""
        if isinstance(due, datetime) and due.tzinfo is None:
            raise ValueError("due has no time zone")
        if isinstance(due, (int, float)):
            due = timedelta(seconds=due)
        self.operations.append(("timer", self.event.key, type, due, dump({} if data is None else data)))

    def cancel_timer(self, type: str) -> None:
        self.operations.append(("timer", self.event.key, type, None, None))

    def reply(self, type: str, data: Any = None) -> None:
        """Answers the instance whose handler has appended the event (pm.reply)."""
        self.operations.append(
            ("reply", self.event.log, self.event.position, type, dump({} if data is None else data))
        )

    def defer(self, retry_in: Union[timedelta, float], reason: Optional[str] = None) -> NoReturn:
        # Remembered, in case the handler catches all exceptions.
        self.result = Deferral(retry_in, reason)
        raise self.result

    def fail_permanently(self, reason: str) -> NoReturn:
        self.result = PermanentFailure(reason)
        raise self.result

    def check(self) -> None:
        """After the handler has returned."""
        if self.result is not None:
            raise self.result
        if not self._exists and any(op[0] == "timer" and op[3] for op in self.operations):
            if not any(op[0] == "finish" for op in self.operations):
                raise RuntimeError("a timer was set, but there is no instance: save a state")
        if self._tx is not None and self._tx.info.transaction_status == TransactionStatus.INERROR:
            raise RuntimeError(
                "the handler continued after an error of the database, which has aborted its transaction; "
                "what may fail belongs in a block of its own: with ctx.tx.transaction()"
            )


def dump(value: Any) -> str:
    """JSON for a jsonb."""
    text = json.dumps(value, allow_nan=False)
    if re.search(r"(?<!\\)(\\\\)*\\u0000", text):
        raise ValueError("a jsonb cannot contain the character U+0000")
    return text
