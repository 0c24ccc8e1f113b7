"""A process manager in Python, and the same in PL/pgSQL, over events of an order management system in three logs (with
PM_SOAK all 22,367, otherwise the first 5,000): an instance for each order, with state and timers. One event in a hundred
fails twice, and one in a thousand is dead until something is corrected. One of the two programs is killed in the middle.
Both must end with the same states.
"""

import gzip
import os
import sys
import threading
import time
import unittest
from collections import Counter

import psycopg
from orders import is_complete, is_delivered

from support import DSN, HERE, POOLED, SOAK, ConsumerTest, Program, execute, figure, value, wait_until

FILE = os.path.join(os.environ.get("PM_TEST_DATA", ""), "order-management.csv.gz")
if not os.path.exists(FILE):
    print("skipped: it needs an event log that is not part of pm; doc/testing.md says which")
    sys.stdout.flush()
    os._exit(77)

COUNT = 22367 if SOAK else 5000
FEEDERS = 2
# What the programs' states must say: orders placed, confirmed, paid, fully delivered, paid and delivered; reminders. Of all
# events also: orders by their number of packages, orders paid before they are delivered, items picked before their order is
# confirmed, items that were out of stock, reordered, and then picked.
FACTS = [494, 482, 385, 370, 338]
ALL_FACTS = [
    2000,
    2000,
    2000,
    2000,
    2000,
    514,
    {1: 471, 2: 869, 3: 482, 4: 150, 5: 27, 6: 1},
    1291,
    2176,
    1664,
]


class Orders(ConsumerTest):
    def test_orders(self):
        self.load()
        programs = [
            Program(DSN, "python", program="orders.py"),
            Program(POOLED, "python", program="orders.py"),
        ]
        began = time.monotonic()
        feeders = [threading.Thread(target=self.feed, args=(k,)) for k in range(FEEDERS)]
        for feeder in feeders:
            feeder.start()
        try:
            handled = "SELECT sum(handled) FROM pm.status WHERE process_manager = 'python'"
            wait_until(lambda: value(handled) > COUNT / 3)
            programs[0].kill()
            programs[0] = Program(DSN, "python", program="orders.py")
            for feeder in feeders:
                feeder.join()
            self.handled(and_waits="state = 'failing' OR state = 'deferred'")
            dead = "SELECT count(*) FROM pm.parked WHERE process_manager = 'python' AND state = 'dead'"
            self.assertGreaterEqual(value(dead), 5)
            execute("INSERT INTO corrected VALUES (true)")
            self.handled(and_waits="true", retry=True)
            seconds = time.monotonic() - began
        finally:
            for program in programs:
                program.terminate()
        self.assertEqual([program.wait()[0] for program in programs], [0, 0])
        self.check()
        figure(
            f"{COUNT} events, {COUNT // 100} of them poisoned: written and handled by both in {seconds:.1f} s"
        )

    def handled(self, and_waits, retry=False):
        """Waits until all is handled, and none of these is parked. Of one key there can be several dead, one after the other."""
        idle = f"""SELECT (SELECT sum(lag) = 0 FROM pm.status) AND NOT EXISTS (SELECT FROM pm.parked WHERE {and_waits})
            AND NOT EXISTS (SELECT FROM pm.timer WHERE due < now() + interval '1 day' AND key NOT IN (SELECT key FROM pm.parked))"""

        def is_idle():
            if retry:
                execute(
                    "SELECT pm.retry(process_manager, log, position, key) FROM pm.parked WHERE state = 'dead'"
                )
            return value(idle)

        wait_until(is_idle, every=0.1)

    def load(self):
        execute(
            "CREATE TABLE source (n bigserial PRIMARY KEY, log text, stream text, type text, occurred_at timestamptz, data jsonb)"
        )
        with psycopg.connect(DSN) as connection, gzip.open(FILE) as file:
            copy = "COPY source (log, stream, type, occurred_at, data) FROM STDIN (FORMAT csv, HEADER)"
            with connection.cursor() as cursor, cursor.copy(copy) as out:
                while block := file.read(1 << 16):
                    out.write(block)
        self.assertEqual(value("SELECT count(*) FROM source"), 22367)
        with open(os.path.join(HERE, "orders.sql")) as file:
            execute(file.read())

    def feed(self, k):
        """The events of some streams, in the order of the source."""
        insert = "INSERT INTO {0} (stream, type, data) SELECT stream, type, data FROM s WHERE log = '{0}' ORDER BY n"
        sql = f"""WITH s AS (SELECT * FROM source WHERE n > %s AND n <= %s AND abs(hashtext(log || stream)) %% {FEEDERS} = {k}),
            o AS ({insert.format('orders')}), i AS ({insert.format('items')}) {insert.format('packages')}"""
        with psycopg.connect(DSN) as connection:
            for n in range(0, COUNT, 200):
                connection.execute(sql, (n, min(n + 200, COUNT)))
                time.sleep(0.01)
                connection.commit()

    def check(self):
        states, other = (
            dict(
                execute(
                    "SELECT key, state FROM pm.instance WHERE process_manager = %s UNION ALL SELECT key, result FROM pm.ended WHERE process_manager = %s",
                    name,
                    name,
                )
            )
            for name in ("python", "plpgsql")
        )
        self.assertEqual(states.keys(), other.keys())
        self.assertEqual([key for key in states if states[key] != other[key]], [], "the same states")
        # What is known of the source.
        placed = {key: s for key, s in states.items() if "placed" in s}
        delivered = {key: s for key, s in placed.items() if is_delivered(s)}
        facts = [sum(what in s for s in states.values()) for what in ("placed", "confirmed", "paid")]
        facts += [len(delivered), sum("paid" in s for s in delivered.values())]
        if COUNT == 22367:
            facts.append(sum(s["reminders"] for s in states.values()))
            facts.append(dict(Counter(len(s["packages"]) for s in states.values())))
            last = {
                key: max(p["package delivered"] for p in s["packages"].values())
                for key, s in delivered.items()
            }
            facts.append(sum(s["paid"] < last[key] for key, s in delivered.items()))
            items = [(item, s["confirmed"]) for s in states.values() for item in s["items"].values()]
            facts.append(sum(item["pick item"] < confirmed for item, confirmed in items))
            stock = [item for item, _ in items if "item out of stock" in item]
            facts.append(sum(i["item out of stock"] < i["reorder item"] < i["pick item"] for i in stock))
        self.assertEqual(facts, ALL_FACTS if COUNT == 22367 else FACTS)
        self.assertTrue(all(s["audited"] for s in placed.values()))
        self.assertEqual(
            sum(is_complete(s) for s in placed.values()), value("SELECT count(*) FROM pm.ended") // 2
        )
        # Each event reached each of its orders once, in the order of its log.
        for log in ("orders", "items", "packages"):
            wanted = {}
            for eid, keys in execute(
                f"SELECT (data ->> 'eid')::int, orders FROM {log} l JOIN belongs b USING (stream) WHERE b.log = '{log}' ORDER BY \"position\""
            ):
                for key in keys:
                    wanted.setdefault(key, []).append(eid)
            self.assertEqual({key: s["events"][log] for key, s in states.items() if s["events"][log]}, wanted)


if __name__ == "__main__":
    unittest.main()
