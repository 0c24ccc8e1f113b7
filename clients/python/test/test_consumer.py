"""What a handler can rely on."""

import logging
import os
import tempfile
import threading
import time
import unittest
from datetime import datetime, timedelta, timezone

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pm_consumer import Consumer, Deferral, PermanentFailure

from support import (
    DSN,
    ConsumerTest,
    Program,
    drained,
    execute,
    start_server,
    stop_server,
    value,
    wait_until,
)

logging.getLogger("pm_consumer").setLevel(logging.CRITICAL)


class Handlers(ConsumerTest):
    number = 0

    def setUp(self):
        Handlers.number += 1
        self.log, self.pm = f"log{self.number}", f"pm{self.number}"
        execute(
            f"SELECT pm.create_log('{self.log}'); CREATE TABLE IF NOT EXISTS effect (n serial, pos bigint, key text, attempt int); TRUNCATE effect"
        )

    def register(self, **options):
        options.setdefault("backoff", "10 ms")
        names = ", ".join(f"{name} => %s" for name in options)
        execute(f"SELECT pm.register(%s, NULL, %s, {names})", self.pm, [self.log], *options.values())

    def append(self, *events):
        """(stream, type, data)"""
        with psycopg.connect(DSN) as connection:
            for stream, type, data in events:
                connection.execute("SELECT pm.append(%s, %s, %s, %s)", (self.log, stream, type, Jsonb(data)))

    def consumer(self, **options):
        return Consumer(DSN, self.pm, **options)

    def drain(self, handler, until=None, **options):
        """Runs a consumer until everything is handled, or the condition holds."""
        until = until or (lambda: drained(self.pm))
        consumer = self.consumer(**options)
        wait_until(lambda: consumer.run(handler, drain=True) >= 0 and until())

    def effects(self, columns="key, pos"):
        return execute(f"SELECT {columns} FROM effect ORDER BY n")

    @staticmethod
    def effect(event, ctx):
        ctx.tx.execute(
            "INSERT INTO effect (pos, key, attempt) VALUES (%s, %s, %s)",
            (event.position, event.key, event.attempt),
        )

    def parked(self):
        return execute(
            "SELECT log, position, key, state, message, attempts FROM pm.parked WHERE process_manager = %s ORDER BY position",
            self.pm,
        )

    def directory(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return directory.name

    # ---- an event

    def test_event(self):
        self.register()
        self.append(("s", "T", {"a": [1, "ä"]}))
        seen = []
        self.drain(lambda event, ctx: seen.append((event, ctx.state)))
        [(event, state)] = seen
        self.assertEqual((event.log, event.position, event.stream, event.version), (self.log, 1, "s", 1))
        self.assertEqual((event.type, event.data, event.key, event.attempt), ("T", {"a": [1, "ä"]}, "s", 1))
        self.assertEqual((event.id, event.kind, state), (f"{self.log}/1", "event", None))
        self.assertLess(abs(datetime.now(timezone.utc) - event.recorded_at), timedelta(seconds=60))

    def test_timeline(self):
        self.register()
        seen = []
        for timeline in (True, False):
            self.append(("s", "T", {}))
            self.drain(lambda event, ctx: seen.append(event.timeline), timeline=timeline)
        self.assertEqual(seen, [1, None])

    def test_state_timers_and_order(self):
        self.register(lanes=2, keep_ended="1 day")
        self.append(*[(f"s{i % 5}", "T", {"i": i}) for i in range(50)])

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.kind == "timer":
                self.assertEqual((event.type, event.data), ("end", {"from": event.key}))
                return ctx.finish({"count": ctx.state["n"]})
            ctx.save({"n": (ctx.state or {"n": 0})["n"] + 1})
            if ctx.state["n"] == 10:
                ctx.set_timer("end", 0.05, {"from": event.key})
                ctx.set_timer("never", timedelta(days=1))
                ctx.set_timer("neither", datetime.now(timezone.utc) + timedelta(days=1))
                ctx.cancel_timer("neither")

        def ended():
            return value("SELECT count(*) FROM pm.ended WHERE process_manager = %s", self.pm) == 5

        self.drain(handle, ended, batch_size=7)
        self.assertEqual(
            execute("SELECT DISTINCT result FROM pm.ended WHERE process_manager = %s", self.pm),
            [({"count": 10},)],
        )
        self.assertEqual(value("SELECT count(*) FROM pm.timer WHERE process_manager = %s", self.pm), 0)
        by_key = {}
        for key, pos in self.effects():
            by_key.setdefault(key, []).append(pos)
        self.assertEqual(
            {key: p[:-1] for key, p in by_key.items()},
            {f"s{i}": [i + 1 + 5 * j for j in range(10)] for i in range(5)},
        )

    def test_timers_of_the_same_batch(self):
        """A timer that was fetched does not come if a handler before it in the batch has removed or replaced it."""
        self.register()
        self.append(("s", "begin", {}), ("r", "begin", {}), ("e", "begin", {}))
        seen = []

        def handle(event, ctx):
            if event.type == "begin":
                ctx.save({})
                for name in ("a", "b", "c"):
                    ctx.set_timer(name, datetime(2020, 1, 1 + "abc".index(name), tzinfo=timezone.utc))
            elif event.kind == "timer":
                seen.append((event.key, event.type, event.data))
                if event.type == "a" and event.key == "s":
                    ctx.cancel_timer("b")
                if event.type == "a" and event.key == "r":
                    ctx.set_timer("b", 0, {"second": True})
                if event.type == "a" and event.key == "e":
                    ctx.finish()

        self.drain(
            handle,
            batch_size=3,
            until=lambda: value("SELECT count(*) FROM pm.timer WHERE process_manager = %s", self.pm) == 0,
        )
        self.assertEqual([s for s in seen if s[0] == "s"], [("s", "a", {}), ("s", "c", {})])
        self.assertEqual(
            [s for s in seen if s[0] == "r"], [("r", "a", {}), ("r", "c", {}), ("r", "b", {"second": True})]
        )
        self.assertEqual([s for s in seen if s[0] == "e"], [("e", "a", {})])

    def test_several_lives_in_one_batch(self):
        self.register(keep_ended="1 day")
        self.append(*[("s", "T", {"i": i}) for i in range(6)])

        def handle(event, ctx):
            if event.data["i"] % 3 == 0:
                self.assertIsNone(ctx.state)
            ctx.save((ctx.state or []) + [event.data["i"]])
            if event.data["i"] % 3 == 2:
                ctx.finish(ctx.state)

        self.drain(handle)
        self.assertEqual(
            execute("SELECT result FROM pm.ended WHERE process_manager = %s ORDER BY result", self.pm),
            [([0, 1, 2],), ([3, 4, 5],)],
        )

    def test_finish_without_state(self):
        self.register(keep_ended="1 day")
        self.append(("s", "T", {}))
        self.drain(lambda event, ctx: ctx.finish({"done": True}))
        self.assertEqual(
            value("SELECT result FROM pm.ended WHERE process_manager = %s", self.pm), {"done": True}
        )

    def test_several_keys(self):
        execute(
            "CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$SELECT ARRAY(SELECT jsonb_array_elements_text(e.data -> 'keys'))$$"
        )
        self.register(correlate="keys")
        self.append(*[("s", "T", {"keys": ["a", "b", "c"]}) for _ in range(3)])
        failures = []

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.key == "b" and event.position == 2 and event.attempt < 3:
                failures.append(event.attempt)
                raise ValueError("not yet")

        self.drain(handle)
        self.assertEqual(sorted(self.effects()), [(k, p) for k in "abc" for p in (1, 2, 3)])
        self.assertEqual([p for k, p in self.effects() if k == "b"], [1, 2, 3])
        self.assertEqual(failures[-1], 2)

    def test_sent(self):
        self.register()
        execute("SELECT pm.send(%s, 'k', 'hello', '{\"a\": 1}')", self.pm)
        seen = []
        self.drain(
            lambda event, ctx: seen.append((event.type, event.log, event.kind, event.data)),
            until=lambda: seen,
        )
        self.assertEqual(seen, [("hello", None, "sent", {"a": 1})])

    def test_reply(self):
        execute(
            f"""CREATE FUNCTION ask_{self.pm}(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
            BEGIN
                IF e.type = 'begin' THEN PERFORM pm.append('{self.log}', 'q-' || e.stream, 'question', '{{"n": 20}}'); END IF;
                RETURN coalesce(s, '{{}}') || jsonb_build_object(e.type, e.data);
            END $$;
            SELECT pm.create_log('asks_{self.log}');
            SELECT pm.register('asker_{self.pm}', 'ask_{self.pm}', '{{asks_{self.log}}}')"""
        )
        self.register()
        execute("SELECT pm.append(%s, 'k', 'begin')", f"asks_{self.log}")

        def answered():
            state = execute("SELECT state FROM pm.instance WHERE process_manager = %s", f"asker_{self.pm}")
            return state and "answer" in state[0][0]

        self.drain(lambda event, ctx: ctx.reply("answer", {"n": event.data["n"] + 1}), until=answered)
        state = value("SELECT state FROM pm.instance WHERE process_manager = %s", f"asker_{self.pm}")
        self.assertEqual(state, {"begin": {}, "answer": {"n": 21}})

    # ---- failures

    def test_failure(self):
        self.register(max_attempts=3)
        self.append(*[(f"s{i % 3}", "T", {"i": i}) for i in range(30)])

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.data["i"] == 7:
                raise KeyError("poison\0\ud800")

        self.drain(handle, until=lambda: [p[3] for p in self.parked()].count("dead") == 1)
        self.assertEqual(execute("SELECT count(*), count(DISTINCT pos) FROM effect"), [(22, 22)])
        (first, *rest) = self.parked()
        self.assertEqual(first[1:4] + (first[5],), (8, "s1", "dead", 3))
        self.assertTrue(first[4].startswith("KeyError: "), first[4])
        self.assertEqual({p[2] for p in rest}, {"s1"})

    def test_failure_of_a_timer(self):
        self.register(max_attempts=3, backoff="1 h")
        self.append(("s", "T", {}))
        attempts = []

        def handle(event, ctx):
            if event.kind == "event":
                ctx.save({})
                ctx.set_timer("t", 0)
            else:
                attempts.append(event.attempt)
                self.effect(event, ctx)
                if event.attempt < 3:
                    error = ValueError("not yet")
                    error.retry_in = 0.01
                    raise error

        self.drain(handle, until=lambda: drained(self.pm) and self.effects())
        self.assertEqual((sorted(set(attempts)), self.effects("attempt")), ([1, 2, 3], [(3,)]))

    def test_timers_behind_a_failure(self):
        """What is parked with a failed timer is passed by; the rest of the batch continues."""
        self.register()
        self.append(("r", "begin", {}), ("s", "begin", {}))
        seen = []

        def handle(event, ctx):
            if event.type == "begin":
                ctx.save({})
                for day, name in enumerate("abc", 1):
                    ctx.set_timer(name, datetime(2020, 1, day, tzinfo=timezone.utc))
            else:
                seen.append(event.key + event.type)
                self.effect(event, ctx)
                if event.key == "s" and event.type == "b" and event.attempt == 1:
                    raise ValueError("not yet")

        no_timer = "SELECT count(*) = 0 FROM pm.timer WHERE process_manager = %s"
        with self.assertLogs("pm_consumer", logging.WARNING) as logs:
            self.drain(handle, batch_size=8, until=lambda: drained(self.pm) and value(no_timer, self.pm))
        self.assertEqual([line for line in logs.output if "has failed, attempt 1" not in line], [])
        self.assertEqual(sorted(self.effects("key, attempt")), [("r", 1)] * 3 + [("s", 1)] * 2 + [("s", 2)])
        self.assertEqual([x for x in seen if x[0] == "s"][-2:], ["sb", "sc"])

    def test_failure_of_a_long_key(self):
        """A key that is too long is replaced by its hash."""
        self.register(max_attempts=2)
        key = "ä" * 3000
        self.append((key, "T", {}), ("s", "T", {}))

        def handle(event, ctx):
            ctx.save({})
            if event.stream == key and event.attempt == 1:
                raise ValueError("not yet")
            self.effect(event, ctx)

        self.drain(handle)
        self.assertEqual(self.effects("attempt"), [(1,), (2,)])

    def test_time_that_is_none(self):
        """A retry_in that is not a time must not keep a failure from being counted."""
        times = ["soon", -5, float("nan"), 1e300, timedelta(days=999999999), {}, "\0\ud800"]
        self.register(max_attempts=1)
        for effects in ("transaction", "outside"):
            with self.subTest(effects=effects):
                self.append(*[(f"s{i}", "T", {"i": i}) for i in range(len(times))])

                def handle(event, ctx):
                    error = ValueError("no")
                    error.retry_in = times[event.data["i"]]
                    raise error

                self.drain(handle, until=lambda: len(self.parked()) == len(times), effects=effects)
                for parked in self.parked():
                    self.assertEqual((parked[3], parked[5]), ("dead", 1))
                    self.assertIn("ValueError: no; retry_in is ", parked[4])
                execute("SELECT pm.discard(%s)", self.pm)

    def test_a_connection_with_rows_of_its_own(self):
        self.register()
        self.append(("s", "T", {}))

        def connection():
            return psycopg.connect(DSN, row_factory=dict_row)

        def handle(event, ctx):
            self.effect(event, ctx)
            self.assertEqual(ctx.tx.execute("SELECT 1 AS one").fetchone(), {"one": 1})

        Consumer(connection, self.pm).run(handle, drain=True)
        self.assertEqual(self.effects(), [("s", 1)])

    def test_odd_data(self):
        """Keys, positions, numbers and texts are what they are in the database."""
        self.register()
        execute(f"ALTER TABLE {self.log} ALTER position RESTART 9007199254740993")
        execute("SELECT pm.create_log(%s)", self.log)
        keys = ["__proto__", "1", "01", " ", "ä", "\U0001f600", '"', "'", "\\", "\n", "%s", "{}", "null"]
        data = {"__class__": 1, "n": 12345678901234567890, "t": "\U0001f600 \\u0000 \n"}
        self.append(*[(key, "T", data) for key in keys])

        def handle(event, ctx):
            self.effect(event, ctx)
            ctx.save(event.data)
            ctx.set_timer(event.key, 3600, event.data)

        self.drain(handle)
        first = 9007199254740993
        self.assertEqual(sorted(self.effects()), sorted(zip(keys, range(first, first + len(keys)))))
        same = "SELECT count(*) FROM pm.instance i JOIN {0} e ON e.stream = i.key AND e.data = i.state JOIN pm.timer t ON t.key = i.key AND t.process_manager = i.process_manager AND t.data = e.data WHERE i.process_manager = %s"
        self.assertEqual(value(same.format(self.log), self.pm), len(keys))

    def test_permanent_failure_and_deferral(self):
        self.register()
        self.append(("a", "T", {}), ("b", "T", {}), ("c", "T", {}), ("d", "T", {}))
        calls = []

        def handle(event, ctx):
            self.effect(event, ctx)
            calls.append(event.key)
            if event.key == "a":
                ctx.fail_permanently("no such address")
            if event.key == "b" and calls.count("b") < 5:
                ctx.defer(timedelta(milliseconds=20))
            if event.key == "c" and calls.count("c") < 5:
                try:
                    ctx.defer(0.02, "busy")
                except Exception:
                    pass
            if event.key == "d":
                raise PermanentFailure("nor this one")

        self.drain(handle, until=lambda: [p[2:4] for p in self.parked()] == [("a", "dead"), ("d", "dead")])
        self.assertEqual([p[4] for p in self.parked()], ["no such address", "nor this one"])
        self.assertEqual(sorted(self.effects("key, attempt")), [("b", 1), ("c", 1)])
        self.assertIsInstance(Deferral(1), Exception)

    def test_halt(self):
        self.register(on_failure="halt", max_attempts=3)
        self.append(*[(f"s{i % 3}", "T", {"i": i}) for i in range(10)])

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.data["i"] == 4:
                raise ValueError("stop")

        def halted():
            return value("SELECT state FROM pm.status WHERE process_manager = %s", self.pm) == "halted"

        self.drain(handle, until=halted)
        self.assertEqual([p for _, p in self.effects()], [1, 2, 3, 4])

    def test_caught_error(self):
        """An error that the handler catches has aborted the transaction: that is a failure of this event, not of the next."""
        self.register(max_attempts=1)
        self.append(("a", "T", {}), ("b", "T", {}), ("c", "T", {}))

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.key == "b":
                try:
                    ctx.tx.execute("SELECT 1 / 0")
                except psycopg.Error:
                    pass
            if event.key == "c":
                try:
                    with ctx.tx.transaction():
                        ctx.tx.execute("SELECT 1 / 0")
                except psycopg.Error:
                    pass

        self.drain(handle, until=lambda: self.parked())
        self.assertEqual([p[2] for p in self.parked()], ["b"])
        self.assertEqual([k for k, _ in self.effects()], ["a", "c"])

    def test_failure_at_commit(self):
        """Which event is the cause is found by handling each alone."""
        execute(
            f"CREATE TABLE of_{self.pm} (i int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO of_{self.pm} VALUES (5)"
        )
        self.register(max_attempts=1)
        self.append(*[(f"s{i % 10}", "T", {"i": i}) for i in range(20)])

        def handle(event, ctx):
            self.effect(event, ctx)
            ctx.tx.execute(f"INSERT INTO of_{self.pm} VALUES (%s)", (event.data["i"],))
            ctx.save((ctx.state or []) + [event.data["i"]])

        self.drain(handle, until=lambda: self.parked() and len(self.effects()) == 18)
        state = value("SELECT state FROM pm.instance WHERE process_manager = %s AND key = 's0'", self.pm)
        self.assertEqual(state, [0, 10], "the state that an event alone has left")
        self.assertEqual([p[2] for p in self.parked()], ["s5", "s5"])
        self.assertIn("duplicate key", self.parked()[0][4])

    def test_what_the_server_refuses(self):
        """A state that a jsonb cannot hold, and a timer at a time that no server takes, are failures of their events."""
        self.register(max_attempts=1)
        self.append(*[(k, "T", {}) for k in "abcdef"])

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.key == "a":
                ctx.save({"n": "\0"})
            if event.key == "b":
                ctx.set_timer("x", 1)
            if event.key == "c":
                ctx.save(float("nan"))
            if event.key == "d":
                ctx.save({})
                ctx.set_timer("", 1)

        for effects in ("transaction", "outside"):
            with self.subTest(effects=effects):
                body = (
                    handle
                    if effects == "transaction"
                    else lambda event, ctx: handle_outside(handle, event, ctx)
                )
                self.drain(body, until=lambda: len(self.parked()) == 4, effects=effects)
                self.assertEqual([p[2:4] for p in self.parked()], [(k, "dead") for k in "abcd"])
                execute(
                    "SELECT pm.discard(process_manager, log, position) FROM pm.parked WHERE process_manager = %s",
                    self.pm,
                )
                self.assertEqual(drained(self.pm), True)
                self.append(*[(k, "T", {}) for k in "abcdef"])

    def test_what_python_cannot_read(self):
        """A number with too many digits is a failure of its event; times out of range are cut."""
        self.register(max_attempts=1)
        execute(
            f"INSERT INTO {self.log} (stream, type, data, recorded_at) VALUES ('a', 'T', '1', 'infinity'), ('b', 'T', repeat('9', 10000)::jsonb, '-infinity'), ('c', 'T', 'null', '4000-01-01 BC')"
        )
        seen = []
        self.drain(
            lambda event, ctx: seen.append((event.key, event.recorded_at.year)), until=lambda: self.parked()
        )
        self.assertEqual([p[2] for p in self.parked()], ["b"])
        self.assertEqual(sorted(set(seen)), [("a", 9999), ("c", 1)])

    def test_conflict(self):
        """A lost race is not a failure: the handler is called again."""
        self.register(max_attempts=1)
        self.append(("s", "T", {}))
        calls = []

        def handle(event, ctx):
            calls.append(event.attempt)
            if len(calls) < 5:
                raise self.conflict(ctx)
            self.effect(event, ctx)

        self.drain(handle)
        self.assertEqual((calls, self.effects("attempt")), ([1] * 5, [(1,)]))

    @staticmethod
    def conflict(ctx):
        try:
            ctx.tx.execute("DO $$BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END$$")
        except psycopg.Error as e:
            return e

    # ---- outside of a transaction

    def test_outside(self):
        self.register(keep_ended="1 day", lanes=2)
        self.append(*[(f"s{i % 10}", "T", {"i": i}) for i in range(60)])
        lock, now, most, seen = threading.Lock(), set(), [], {}

        def handle(event, ctx):
            with self.assertRaises(RuntimeError):
                ctx.tx
            with lock:
                self.assertNotIn(event.key, now)
                now.add(event.key)
                most.append(len(now))
            time.sleep(0.005)
            with lock:
                now.remove(event.key)
            if event.data["i"] == 33 and event.attempt < 3:
                raise ValueError("poison")
            seen.setdefault(event.key, []).append(event.data["i"])
            ctx.save((ctx.state or []) + [event.data["i"]])
            if len(ctx.state) == 6:
                ctx.finish(ctx.state)

        self.drain(handle, effects="outside", concurrency=4)
        self.assertEqual(max(most), 4)
        expected = {f"s{k}": [k + 10 * j for j in range(6)] for k in range(10)}
        self.assertEqual(
            dict(execute("SELECT key, result FROM pm.ended WHERE process_manager = %s", self.pm)), expected
        )
        self.assertEqual(seen, expected)

    def test_outside_halt(self):
        self.register(on_failure="halt", max_attempts=2)
        self.append(*[(f"s{i % 3}", "T", {"i": i}) for i in range(12)])
        seen = []

        def handle(event, ctx):
            if event.data["i"] == 4:
                raise ValueError("stop")
            seen.append(event.data["i"])

        def halted():
            return value("SELECT state FROM pm.status WHERE process_manager = %s", self.pm) == "halted"

        self.drain(handle, until=halted, effects="outside")
        self.assertEqual(value("SELECT position FROM pm.status WHERE process_manager = %s", self.pm), 4)
        self.assertEqual([i for i in seen if i % 3 == 1][:1], [1])

    # ---- leases

    def test_lease_is_renewed(self):
        self.register(lease="400 ms")
        for effects in ("transaction", "outside"):
            attempts = []

            def handle(event, ctx):
                attempts.append(event.attempt)
                time.sleep(1)

            self.append(("s", "T", {}))
            self.drain(handle, effects=effects)
            self.assertEqual(set(attempts), {1})

    def test_hanging_handler_loses_its_lease(self):
        self.register(lease="500 ms")
        self.append(("s", "T", {}))
        hung, go, lost = threading.Event(), threading.Event(), []

        def hang(event, ctx):
            self.effect(event, ctx)
            if event.attempt == 1:
                hung.set()
                go.wait(60)
                lost.append(ctx.lease_lost)

        first = self.consumer(handler_timeout=0.1, wait=0)
        thread = threading.Thread(target=lambda: first.run(hang))
        thread.start()
        self.assertTrue(hung.wait(60))
        second, seen = self.consumer(), []

        def take(event, ctx):
            self.effect(event, ctx)
            seen.append(event.attempt)

        wait_until(lambda: second.run(take, drain=True) >= 0 and seen)
        go.set()
        first.stop()
        thread.join(60)
        self.assertFalse(thread.is_alive())
        self.assertEqual((seen, lost, self.effects("attempt")), ([2], [True], [(2,)]))

    def test_query_that_hangs(self):
        """It is canceled when the time of its handler is over, which is a failure of the event."""
        self.register(max_attempts=2)
        self.append(("a", "T", {}), ("b", "T", {}), ("c", "T", {}))

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.key == "b":
                ctx.tx.execute("SELECT pg_sleep(600)")

        def dead():
            return [p[3] for p in self.parked()] == ["dead"]

        self.drain(handle, until=dead, handler_timeout=0.5)
        self.assertEqual(self.effects("key"), [("a",), ("c",)])
        self.assertEqual(self.parked()[0][4:], ("TimeoutError: the handler has not returned within 0.5 s", 2))

    def test_event_that_loses_the_connection(self):
        """It has failed, and others are not held up."""
        self.register(lease="1 h", backoff="1 h")
        self.append(*[(key, "T", {}) for key in "abcb"])
        calls = []

        def handle(event, ctx):
            self.effect(event, ctx)
            if event.key == "b":
                calls.append(event.attempt)
                ctx.tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        self.drain(handle, until=lambda: len(self.parked()) == 2)
        self.assertEqual(self.effects("key"), [("a",), ("c",)])
        self.assertEqual(
            [p[2:] for p in self.parked()],
            [("b", "failing", "ConnectionError: the connection to the database was lost while it was handled", 1), ("b", "behind", None, 0)],
        )
        self.assertLess(len(calls), 6)

    def test_server_is_away(self):
        """If the lease cannot be renewed in time, nothing more is begun."""
        self.register(lease="1 s", max_attempts=100)
        self.append(*[("s", "T", {}) for _ in range(5)])
        calls = []

        def handle(event, ctx):
            calls.append((event.position, event.attempt))
            if len(calls) == 1:
                stop_server("immediate")
                try:
                    wait_until(lambda: ctx.lease_lost)
                finally:
                    start_server()

        self.drain(handle, effects="outside", batch_size=10)
        self.assertEqual(calls, [(1, 1), *[(i, 2) for i in range(1, 6)]])

    def test_late_transaction_is_refused(self):
        """The lease runs out without the client's notice, because its clock stands still: the server refuses."""
        self.register(lease="300 ms")
        self.append(("s", "T", {}))
        consumer, calls = self.consumer(), []
        consumer._watcher.run = lambda: None  # nothing renews it

        def handle(event, ctx):
            calls.append(event.attempt)
            self.effect(event, ctx)
            if event.attempt == 1:
                wait_until(
                    lambda: value(
                        "SELECT bool_and(lease_until < clock_timestamp()) FROM pm.consumer WHERE process_manager = %s",
                        self.pm,
                    )
                )

        consumer.run(handle, drain=True)
        wait_until(lambda: self.drain(handle) or drained(self.pm))
        self.assertEqual((calls, self.effects("attempt")), ([1, 2], [(2,)]))

    def test_two_consumers_several_lanes(self):
        self.register(lanes=8)
        self.append(*[(f"s{i % 40}", "T", {"i": i}) for i in range(200)])
        consumers = [self.consumer(batch_size=5, wait=1) for _ in range(2)]
        handled = [0, 0]

        def work(i):
            def handle(event, ctx):
                self.effect(event, ctx)
                time.sleep(0.002)

            handled[i] = consumers[i].run(handle)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: drained(self.pm))
        for consumer in consumers:
            consumer.stop()
        for thread in threads:
            thread.join(60)
        self.assertEqual(sum(handled), 200)
        self.assertTrue(all(handled), handled)
        self.assertEqual(execute("SELECT count(*), count(DISTINCT pos) FROM effect"), [(200, 200)])
        bad = "SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM effect) x WHERE bad"
        self.assertEqual(value(bad), 0)
        self.assertEqual(
            value(
                "SELECT count(*) FROM pm.consumer WHERE process_manager = %s AND consumer IS NOT NULL",
                self.pm,
            ),
            0,
        )

    # ---- the end

    def test_stop_while_waiting(self):
        self.register()
        consumer = self.consumer(wait=60)
        thread = threading.Thread(target=lambda: consumer.run(self.effect))
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pm.fetch%%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()"
        wait_until(lambda: value(waits) == 1)
        began = time.monotonic()
        consumer.stop()
        thread.join(60)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(value(waits), 0)

    def test_sigterm(self):
        """The current event is finished, what was handled commits, and the lease is given up."""
        file = os.path.join(self.directory(), "effects")
        for outside in ([], [f"--outside={file}"]):
            with self.subTest(outside=outside):
                self.setUp()
                self.register(lease="1 h")
                self.append(*[("s", "T", {"i": i}) for i in range(20)])
                program = Program(DSN, self.pm, "--say", "--sleep=0.1", *outside)
                program.read_until(lambda line: f"{self.log}/3," in line)
                program.terminate()
                code, output = program.wait()
                self.assertEqual(code, 0, output)
                count = len(self.effects())
                if outside:
                    with open(file) as f:
                        count = len(f.readlines())
                self.assertTrue(3 <= count < 20, output)
                self.assertEqual(
                    value("SELECT position FROM pm.status WHERE process_manager = %s", self.pm), count
                )
                self.assertEqual(
                    value(
                        "SELECT count(*) FROM pm.consumer WHERE process_manager = %s AND consumer IS NOT NULL",
                        self.pm,
                    ),
                    0,
                )
                with psycopg.connect(DSN) as connection:
                    row = connection.execute(
                        'SELECT "position", attempt FROM pm.fetch(%s, %s)', (self.pm, "next")
                    ).fetchone()
                    self.assertEqual(row, (count + 1, 1))
                    connection.rollback()

    def test_sigterm_twice(self):
        self.register(lease="1 h")
        self.append(("s", "T", {}))
        program = Program(DSN, self.pm, "--say", "--sleep=600")
        program.read_until(lambda line: line.startswith("handling"))
        program.terminate()
        program.read_until(lambda line: "stopping after SIGTERM" in line)
        program.terminate()
        code, output = program.wait()
        self.assertEqual(code, 128 + 15, output)
        self.assertEqual(self.effects(), [])
        self.assertEqual(
            value(
                "SELECT count(*) FROM pm.consumer WHERE process_manager = %s AND consumer IS NOT NULL",
                self.pm,
            ),
            0,
        )

    def test_sigterm_twice_outside(self):
        """Also while a handler hangs in a thread."""
        self.register(lease="1 h")
        self.append(("s", "T", {}))
        file = os.path.join(self.directory(), "effects")
        program = Program(DSN, self.pm, "--say", "--sleep=600", f"--outside={file}")
        program.read_until(lambda line: line.startswith("handling"))
        program.terminate()
        program.read_until(lambda line: "stopping after SIGTERM" in line)
        program.terminate()
        code, output = program.wait()
        self.assertEqual(code, 128 + 15, output)
        row = execute('SELECT "position", attempt FROM pm.fetch(%s, %s)', self.pm, "next")
        self.assertEqual(row, [(1, 1)], "the lease is given up")

    def test_refused(self):
        """An error that does not go away by itself ends the program."""
        with self.assertRaises(psycopg.errors.UndefinedObject):
            self.consumer().run(self.effect, drain=True)
        with self.assertRaises(ValueError):
            self.consumer(batch_size=0)
        with self.assertRaises(ValueError):
            self.consumer(concurrency=0)

    def test_statement_timeout(self):
        """A fetch that waits may be canceled: it begins again."""
        self.register()
        consumer = Consumer(DSN + " options='-c statement_timeout=200ms'", self.pm, wait=60)
        thread = threading.Thread(target=lambda: consumer.run(self.effect))
        thread.start()
        time.sleep(0.5)
        self.append(("s", "T", {}))
        wait_until(lambda: self.effects())
        consumer.stop()
        thread.join(60)
        self.assertFalse(thread.is_alive())


def handle_outside(handle, event, ctx):
    class Proxy:
        def __init__(self):
            self.tx = self

        def execute(self, *_):
            return None

        def __getattr__(self, name):
            return getattr(ctx, name)

    handle(event, Proxy())


if __name__ == "__main__":
    unittest.main()
