"""A thread that renews the lease while handlers run, and ends a waiting fetch when the consumer has to stop."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple

import psycopg

from ._context import Event
from ._protocol import Connection, Conninfo, Me, connect, logger, sqlstate, text_of

PATIENCE = 5  # seconds, at the end
HANGS = 60  # seconds beyond handler_timeout, while no handler runs


class Watcher(threading.Thread):
    def __init__(self, conninfo: Conninfo, me: Me, handler_timeout: float) -> None:
        super().__init__(name=f"pm_consumer {me[1]}", daemon=True)
        self.stopping = False
        self.fetching: Optional[Connection] = None
        # By thread: since when it has handled which event, and in which transaction.
        self.running: Dict[int, Tuple[float, Event, Optional[Connection]]] = {}
        self._conninfo, self._me, self._handler_timeout = conninfo, me, handler_timeout
        self._connection: Optional[Connection] = None
        self.progress = 0.0  # when a handler has returned
        self._lost = False
        self._said: Optional[Event] = None
        self._lease = 0.0
        self._leased_at: Optional[float] = None  # None: no batch is being handled
        self._over = False
        self._closing: Optional[Connection] = None
        self._give_up_at = 0.0
        # A SimpleQueue may be put into by a signal handler; an Event may not.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def lost(self) -> bool:
        """May another consumer have the lane?  Also if the lease could not be renewed in time."""
        leased_at = self._leased_at
        return self._lost or (leased_at is not None and time.monotonic() > leased_at + self._lease)

    @lost.setter
    def lost(self, lost: bool) -> None:
        self._lost = lost

    def leased(self, seconds: float) -> None:
        """A batch was fetched, with a lease of that length."""
        shorter = not self._lease or seconds < self._lease * 0.9
        self.lost, self._lease, self._leased_at = False, seconds, time.monotonic()
        self.progress = self._leased_at
        if shorter:
            self._bell.put(None)

    def idle(self) -> None:
        self._leased_at = None

    def stop(self) -> None:
        self.stopping = True
        self._give_up_at = time.monotonic() + PATIENCE
        self._bell.put(None)

    def closing(self, connection: Connection) -> None:
        """The last statement uses this connection."""
        self._closing, self._give_up_at = connection, time.monotonic() + PATIENCE
        self._bell.put(None)

    def end(self) -> None:
        self._over = True
        self._bell.put(None)
        self.join(5)

    def run(self) -> None:
        while not self._over:
            pause = min(self._lease / 6 or 60, self._handler_timeout / 2 + 0.01, 0.1 if self.stopping or self._closing else 60)
            try:
                self._bell.get(timeout=pause)
            except queue.Empty:
                pass
            # Again and again: the statement may not have reached the server when the first request comes.
            fetching = self.fetching if self.stopping else None
            if fetching is not None:
                _quietly(fetching.cancel)
            stuck = fetching or self._closing
            if stuck is not None and time.monotonic() > self._give_up_at:
                _quietly(_shut_down, stuck)
            leased_at = self._leased_at
            if leased_at is not None and not self._cancel_overdue() and not self.lost:
                now = time.monotonic()
                # A program can hang elsewhere, too.
                hangs = not self.running and now > self.progress + self._handler_timeout + HANGS
                if now > leased_at + self._lease / 3 and not hangs:
                    self._extend(leased_at)
        if self._connection is not None:
            _quietly(self._connection.close)

    def _extend(self, leased_at: float) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._conninfo, self._me[0])
            began = time.monotonic()
            self._connection.execute("SELECT pm.extend(%s, %s)", self._me)
            if self._leased_at == leased_at:
                self._leased_at = began
        except psycopg.Error as e:
            if self._leased_at == leased_at:
                logger.warning("%s: the lease is not renewed: %s", self._me[0], text_of(e))
                self.lost = sqlstate(e) == "PM002"
            if self._connection is not None and self._connection.closed:
                self._connection = None

    def is_overdue(self, thread: int) -> bool:
        return time.monotonic() - self.running[thread][0] > self._handler_timeout

    def _cancel_overdue(self) -> bool:
        """Cancels what a handler waits for that is overdue.  Is there one?"""
        overdue = False
        for since, event, tx in list(self.running.values()):
            seconds = time.monotonic() - since
            if seconds > self._handler_timeout:
                overdue = True
                if tx is not None:
                    _quietly(tx.cancel)
                if event is not self._said:
                    self._said = event
                    message = "%s: the handler of %s has been running for %d s; the lease is no longer renewed"
                    logger.error(message, self._me[0], event.id, seconds)
        return overdue


def _shut_down(connection: Connection) -> None:
    """Ends what a thread waits for. A pooler can keep a statement waiting for as long as the server is away."""
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _quietly(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except (psycopg.Error, OSError):
        pass
