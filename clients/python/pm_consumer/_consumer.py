"""Consumer.run: fetches events under a lease, has them handled, and advances."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Callable, Dict, Iterator, List, Literal, Optional, Set, Tuple

import psycopg
from psycopg.pq import TransactionStatus

from . import _operations
from ._context import Context, Event, Operation
from ._protocol import (
    CONFLICTS,
    EPOCH,
    Connection,
    Conninfo,
    Failed,
    Item,
    LeaseLost,
    Row,
    advance,
    connect,
    fail,
    fetch,
    is_fatal,
    logger,
    sqlstate,
    text_of,
)
from ._watcher import Watcher

Handler = Callable[[Event, Context], Any]

MAX_BACKOFF = 10.0
MAX_CONFLICTS = 20


class Consumer:
    """A consumer of a process manager.

    conninfo: a connection string, or a function that returns a new connection.
    name: the process manager.
    consumer: the name of this consumer, which no other process may use; by default it is made up.
    effects: "transaction": the events of a batch are handled in one transaction, ctx.tx, which advances;
        "outside": each is handled outside of any, up to `concurrency` at a time, those of one key one by one.
    batch_size: how many events are fetched at a time, at most.
    handler_timeout: after so many seconds in one call of the handler, the lease is not renewed any more.
    wait: for how many seconds a fetch waits if there is nothing.
    """

    def __init__(
        self,
        conninfo: Conninfo,
        name: str,
        *,
        consumer: Optional[str] = None,
        effects: Literal["transaction", "outside"] = "transaction",
        batch_size: int = 100,
        concurrency: int = 10,
        handler_timeout: float = 60,
        wait: float = 30,
    ) -> None:
        if effects not in ("transaction", "outside"):
            raise ValueError('effects must be "transaction" or "outside"')
        if not 1 <= batch_size <= 10000:
            raise ValueError("batch_size must be from 1 to 10000")
        if not 0 <= wait <= 60:
            raise ValueError("wait must be from 0 to 60 seconds")
        self.name = name
        self.consumer = consumer or f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._conninfo, self._effects, self._concurrency = conninfo, effects, concurrency
        self._batch_size, self._wait, self._handler_timeout = batch_size, wait, handler_timeout
        self._me = (name, self.consumer)
        self._connection: Optional[Connection] = None
        self._new_run()

    def _new_run(self) -> None:
        self._stopping = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._watcher = Watcher(self._conninfo, self._me, self._handler_timeout)

    def run(self, handler: Handler, *, drain: bool = False, signals: bool = True) -> int:
        """Handles events until stop() is called, and returns how many it has handled.

        drain: returns when there is nothing to fetch.
        signals: SIGTERM and SIGINT stop it. A second one ends it at once, with what is in hand rolled back.
        """
        handle = self._handle_outside if self._effects == "outside" else self._handle
        handled, delay = 0, 0.1
        with self._signals(signals):
            self._watcher.start()
            logger.info("%s: consumer %s starts", *self._me)
            try:
                while not self._stopping:
                    try:
                        items = self._fetch(0 if drain else self._wait)
                        delay = 0.1
                        if items and not self._stopping:
                            handled += handle(handler, items)
                        elif drain:
                            break
                    except LeaseLost as e:
                        logger.warning("%s: consumer %s has lost its lease: %s", *self._me, e)
                    except psycopg.Error as e:
                        if self._watcher.fetching and is_fatal(e):
                            raise
                        message = "%s: trying again in %.1f s: %s"
                        logger.warning(message, self.name, delay, text_of(e))
                        self._disconnect()
                        self._sleep(delay * random.uniform(0.5, 1))
                        delay = min(delay * 2, MAX_BACKOFF)
                    finally:
                        self._watcher.fetching = None
                        self._watcher.idle()
            finally:
                self._release()
                self._disconnect()
                self._watcher.end()
                logger.info("%s: consumer %s has ended", *self._me)
                self._new_run()
        return handled

    def stop(self) -> None:
        """Lets run() finish the events in hand, give up the lease, and return. Any thread may call it."""
        self._stopping = True
        self._wake.put(None)
        self._watcher.stop()

    # ---- fetch and release

    def _fetch(self, wait: float) -> List[Item]:
        connection = self._connected()
        self._watcher.fetching = connection
        try:
            items = fetch(connection, self._me, self._batch_size, timedelta(seconds=wait))
        except psycopg.errors.QueryCanceled as e:
            if not self._stopping:
                logger.warning("%s: pm.fetch was cancelled: %s", self.name, text_of(e))
                self._sleep(1)
            return []
        self._watcher.fetching = None
        if items:
            self._watcher.leased(items[0].rows[0].lease)
        return items

    def _release(self) -> None:
        for _ in range(2):  # the connection may be broken, and a late cancellation may hit the first try
            try:
                connection = self._connected()
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    self._watcher.closing(connection)
                    connection.execute("SELECT pm.release(%s, %s)", self._me)
                    return
            except psycopg.Error as e:
                logger.info("%s: the lease is not given up: %s", self.name, text_of(e))
            self._disconnect()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._conninfo, self.name)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_broken(self) -> bool:
        return self._connection is None or self._connection.closed

    def _sleep(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except queue.Empty:
            pass

    # ---- a batch in one transaction

    def _handle(self, handler: Handler, items: List[Item]) -> int:
        """Handles the items in one transaction. After a failure, first what is before it, then the rest."""
        done, end, step, conflicts, failures = 0, len(items), len(items), 0, 0
        failed: Optional[Failed] = None
        instances = Instances()
        while done < len(items) and not (self._stopping and done):
            try:
                count, instances = self._transaction(handler, items[done:end], failed, instances)
            except Failed as f:
                error: BaseException = f.error
                culprit = f
            except psycopg.Error as e:
                # In a statement of this client, or at commit: which event is the reason shows if each is alone.
                if self._is_broken() or end == done or not items[done].rows:
                    raise
                error, culprit, step = e, Failed(0, items[done].rows[0], e), 1
                if end > done + 1:
                    end, failed = done + 1, None
                    continue
            else:
                done += count
                if failed and done == end:
                    # With it, what was fetched after it of its key is parked.
                    items[done:] = [item.without(failed.row.key) for item in items[done:]]
                    failures, failed = failures + 1, None
                end = min(done + step, len(items))
                continue
            if sqlstate(error) in CONFLICTS and conflicts < MAX_CONFLICTS:
                conflicts += 1
                time.sleep(random.uniform(0, 0.01 * conflicts))
            else:
                end, failed = done + culprit.index, culprit
        return done - failures

    def _transaction(
        self, handler: Handler, items: List[Item], failed: Optional[Failed], instances: "Instances"
    ) -> Tuple[int, "Instances"]:
        """Handles items and advances, then parks what has failed after them. Returns how many, and their instances."""
        tx, instances, done = self._connected(), instances.copy(), 0
        operations: List[Operation] = []
        with tx.transaction():
            for index, item in enumerate(items):
                for row in item.rows:
                    operations += self._call(handler, index, row, instances, tx)
                done += 1
                if self._watcher.lost:
                    raise LeaseLost("it has not been renewed")
                if self._stopping:
                    break
            _operations.run(tx, self._me, operations)
            advance(tx, self._me, items[:done])
            if failed and done == len(items):
                fail(tx, self._me, failed)
        return done, instances

    def _call(
        self, handler: Handler, index: int, row: Row, instances: "Instances", tx: Optional[Connection]
    ) -> List[Operation]:
        """Calls the handler, and returns what it has asked for."""
        if instances.is_gone(row):
            return []
        me = threading.get_ident()
        try:
            recorded_at = EPOCH + timedelta(microseconds=row.recorded_at)
            data, metadata = json.loads(row.data or "null"), json.loads(row.metadata or "{}")
            event = Event(*row[:5], data, metadata, recorded_at, row.key, row.attempt)
            state = instances.states.get(row.key, row.state)
            ctx = Context(event, state, tx, lambda: self._watcher.lost)
            self._watcher.running[me] = (time.monotonic(), event)
            handler(event, ctx)
            ctx.check()
        except Exception as e:
            if tx is not None and self._is_broken():
                raise psycopg.OperationalError(text_of(e)) from e
            if sqlstate(e) == "PM002" or self._watcher.lost:
                raise LeaseLost(text_of(e)) from e
            raise Failed(index, row, e) from e
        finally:
            self._watcher.running.pop(me, None)
        instances.note(ctx.operations)
        return ctx.operations

    # ---- a batch outside of any transaction

    def _handle_outside(self, handler: Handler, items: List[Item]) -> int:
        """Handles the items, those of different keys at the same time. Advances up to the first that is not done yet."""
        chains: Dict[str, List[Tuple[int, Row]]] = {}
        for index, item in enumerate(items):
            for row in item.rows:
                chains.setdefault(row.key, []).append((index, row))
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        operations: List[List[Operation]] = [[] for _ in items]
        left = [len(item.rows) for item in items]
        done, busy = 0, len(chains)
        with ThreadPoolExecutor(self._concurrency, "pm_consumer handler") as pool:
            try:
                for chain in chains.values():
                    pool.submit(self._chain, handler, chain, answers)
                while busy:
                    failures: List[Failed] = []
                    batch = [answers.get()]
                    while not answers.empty():
                        batch.append(answers.get())
                    for answer in batch:
                        if answer is None:
                            busy -= 1
                        elif isinstance(answer, Failed):
                            failures.append(answer)
                            for index, _ in chains[answer.row.key]:  # what is behind it is parked with it
                                left[index] -= index >= answer.index
                        elif isinstance(answer, BaseException):
                            raise answer
                        else:
                            left[answer[0]] -= 1
                            operations[answer[0]] += answer[1]
                    end = done
                    while end < len(items) and left[end] == 0:
                        end += 1
                    # With on_failure 'halt', nothing behind a failure can be advanced.
                    first = max(done, min([end, *(f.index for f in failures)]))
                    self._persist(items[done:first], operations[done:first], failures)
                    self._persist(items[first:end], operations[first:end], [])
                    done = end
            except BaseException:
                self._watcher.lost = True  # no event begins any more
                raise
        return done

    def _chain(
        self, handler: Handler, chain: List[Tuple[int, Row]], answers: "queue.SimpleQueue[Any]"
    ) -> None:
        instances = Instances()
        try:
            for index, row in chain:
                if self._stopping or self._watcher.lost:
                    break
                answers.put((index, self._call(handler, index, row, instances, None)))
        except BaseException as e:
            answers.put(e)
        finally:
            answers.put(None)

    def _persist(self, items: List[Item], operations: List[List[Operation]], failures: List[Failed]) -> None:
        """Advances. The work is done, so this survives a server that restarts, as the lease does."""
        again, deadline = False, time.monotonic() + (5 if self._stopping else 30)
        while items or failures:
            try:
                tx = self._connected()
                with tx.transaction():
                    _operations.run(tx, self._me, [op for ops in operations for op in ops])
                    advance(tx, self._me, items)
                    for failed in failures:
                        fail(tx, self._me, failed)
                return
            except psycopg.Error as e:
                if self._is_broken() and time.monotonic() < deadline:
                    again = True
                    self._disconnect()
                    time.sleep(0.2)
                elif self._is_broken() or not items:
                    raise
                elif len(items) > 1:
                    for item, ops in zip(items, operations):
                        self._persist([item], [ops], [])
                    items, operations = [], []
                else:
                    failures = failures + [Failed(0, items[0].rows[0], e)]
                    items, operations = [], []
            except LeaseLost:
                # The first try may have committed before the connection broke: then nothing is left to advance.
                if not again:
                    raise
                return

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        def on_signal(number: int, frame: Any) -> None:
            if self._stopping:
                raise KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
            self.stop()
            logger.info("%s: stopping after %s", self.name, signal.Signals(number).name)

        wanted = wanted and threading.current_thread() is threading.main_thread()
        before = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT) if wanted}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)


class Instances:
    """The instances of a batch as its handlers have changed them so far, and which of its timers are gone."""

    def __init__(self) -> None:
        self.states: Dict[str, Optional[str]] = {}
        self._gone: Set[Tuple[str, Optional[str]]] = set()

    def copy(self) -> "Instances":
        copy = Instances()
        copy.states, copy._gone = self.states.copy(), self._gone.copy()
        return copy

    def note(self, operations: List[Operation]) -> None:
        for op in operations:
            if op[0] == "timer":
                self._gone.add((op[1], op[2]))
            elif op[0] != "reply":
                self.states[op[1]] = op[2] if op[0] == "save" else None
            if op[0] == "finish":
                self._gone.add((op[1], None))

    def is_gone(self, row: Row) -> bool:
        """Is it a timer that was fetched, and that a handler has removed or replaced since?"""
        timer = row.log is None and row.version is None
        return timer and not self._gone.isdisjoint({(row.key, row.type), (row.key, None)})
