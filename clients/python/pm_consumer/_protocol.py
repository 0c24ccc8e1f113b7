"""The statements that a consumer sends, and how it reads the answers. Nothing is kept in a session."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from ._context import Deferral, PermanentFailure

logger = logging.getLogger("pm_consumer")

Connection = psycopg.Connection[Any]
Conninfo = Union[str, Callable[[], Connection]]
Me = Tuple[str, str]  # process manager and consumer

# A row is one JSON text, which is read many times faster than its columns. What Python cannot read, such as the time infinity
# or a number of 5,000 digits, must not make a fetch fail: jsonb stays text until its event is handled, and times are cut.
FETCH = """SELECT json_build_array(log, "position", stream, version, type, data::text, metadata::text,
 (extract(epoch FROM least(greatest(recorded_at, '0001-01-02 00:00+00'), '9999-12-30 00:00+00'))
  * 1000000)::bigint, key, attempt, state::text, lane,
 extract(epoch FROM lease_until - clock_timestamp())::float8{})::text
 FROM pm.fetch(%s, %s, %s, %s)"""
FETCH_TIMELINE = FETCH.format(", pm.timeline()")  # of the server that returns the events
FETCH = FETCH.format("")
ADVANCE = """SELECT pm.advance(%s, %s, %s, l, p)
 FROM unnest(%s::text[], %s::bigint[]) AS x(l, p)"""
FAIL = "SELECT pm.fail(%s, %s, %s, %s, %s, %s, %s, %s)"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# If the server disappears without closing the connection, that is noticed within a minute.
DEFAULTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60000,
}
CENTURY = timedelta(days=36525)
# A lost race is not a failure: serialization failure, deadlock, lock timeout, version conflict of pm.append.
CONFLICTS = {"40001", "40P01", "55P03", "PM001"}
# Errors that do not go away by themselves: no right, no such process manager, one with a handler, a bad name, no extension.
FATAL = re.compile("42|28|3D|3F|22|0A|PM9")


class Row(NamedTuple):
    log: Optional[str]
    position: int
    stream: Optional[str]
    version: Optional[int]
    type: str
    data: Optional[str]
    metadata: Optional[str]
    recorded_at: int  # microseconds
    key: str
    attempt: int
    state: Optional[str]
    lane: int
    lease: float  # how long it holds, in seconds
    timeline: Optional[int] = None

    def __str__(self) -> str:
        return f"{self.log}/{self.position}" if self.log else f"{self.type} of {self.key}"


class Item(NamedTuple):
    """An event, with as many rows as it has keys. They are advanced together."""

    log: Optional[str]
    position: int
    lane: int
    rows: List[Row]

    def without(self, key: str) -> "Item":
        return self._replace(rows=[row for row in self.rows if row.key != key])


class LeaseLost(Exception):
    """Roll back, and fetch again."""


class Failed(Exception):
    """The handling of a row of the item with this index has failed."""

    def __init__(self, index: int, row: Row, error: BaseException) -> None:
        super().__init__(index, row, error)
        self.index, self.row, self.error = index, row, error


def sqlstate(error: BaseException) -> Optional[str]:
    return error.diag.sqlstate if isinstance(error, psycopg.Error) else None


def is_fatal(error: psycopg.Error) -> bool:
    state = error.diag.sqlstate or ""
    return bool(FATAL.match(state)) or (state == "55000" and "copy" in str(error))


def text_of(error: BaseException) -> str:
    """The error, as a text that a database accepts."""
    text = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or str(error)
    if not isinstance(error, (psycopg.Error, PermanentFailure)):
        text = f"{type(error).__name__}: {text}"
    return clean(text)


def clean(text: str) -> str:
    return text[:10000].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def connect(conninfo: Conninfo, name: str) -> Connection:
    if callable(conninfo):
        connection = conninfo()
    else:
        settings: Dict[str, Any] = {**DEFAULTS, "application_name": name}
        settings.update(conninfo_to_dict(conninfo), client_encoding="UTF8")
        connection = psycopg.connect(**settings)
    connection.autocommit = True
    connection.prepare_threshold = None  # with a pooler, the next statement may be in another session
    return connection


def fetch(connection: Connection, me: Me, batch_size: int, wait: timedelta, timeline: bool) -> List[Item]:
    items: List[Item] = []
    # Whatever kind of rows the program wants from its connection.
    cursor = connection.cursor(row_factory=tuple_row)
    for (text,) in cursor.execute(FETCH_TIMELINE if timeline else FETCH, (*me, batch_size, wait)):
        row = Row(*json.loads(text))
        if items and items[-1][:2] == row[:2]:
            items[-1].rows.append(row)
        else:
            items.append(Item(row.log, row.position, row.lane, [row]))
    return items


def advance(tx: Connection, me: Me, items: List[Item]) -> None:
    # A timer that is parked, because it is behind a failure, no longer counts as fetched.
    up_to = {item.log: item.position for item in items if item.log or item.rows}
    if up_to:
        _execute(tx, ADVANCE, (*me, items[0].lane, list(up_to), list(up_to.values())))


def fail(tx: Connection, me: Me, failed: Failed) -> None:
    row, error = failed.row, failed.error
    deferral = error if isinstance(error, Deferral) else None
    if deferral:
        logger.info("%s: %s is deferred: %s", me[0], row, error)
    else:
        logger.warning("%s: %s has failed, attempt %d", me[0], row, row.attempt, exc_info=error)
    permanent = isinstance(error, PermanentFailure)
    text = None if deferral else text_of(error)
    retry_in = None if permanent else getattr(error, "retry_in", None)
    try:
        if retry_in is not None and not isinstance(retry_in, timedelta):
            retry_in = timedelta(seconds=retry_in)
        if retry_in is not None and not timedelta(0) <= retry_in < CENTURY:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        # An ordinary failure, so that it is counted.
        text, retry_in = clean(f"{text_of(error)}; retry_in is {retry_in!r}"), None
    _execute(tx, FAIL, (*me, row.log, row.position, text, retry_in, permanent, row.key))


def _execute(tx: Connection, statement: str, values: Tuple[Any, ...]) -> None:
    try:
        tx.execute(statement, values)
    except psycopg.errors.NumericValueOutOfRange as e:
        # It no longer counts as fetched: it was advanced or parked meanwhile, or given back because the
        # lane waits.
        raise LeaseLost(text_of(e)) from e
    except psycopg.Error as e:
        if sqlstate(e) == "PM002":
            raise LeaseLost(text_of(e)) from e
        raise
