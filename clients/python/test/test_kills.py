"""Programs kill themselves with SIGKILL, between fetch and effect and between effect and advance, while the server crashes
and restarts, and pgbouncer too.

In the transaction, each effect is there once, in the order of its key. Outside nothing is lost, and what was delivered again
has its attempt counted. With PM_SOAK there are 50 kills of each kind.
"""

import os
import tempfile
import threading
import unittest

from support import (
    DSN,
    POOLED,
    SOAK,
    ConsumerTest,
    Program,
    drained,
    execute,
    figure,
    restart_pooler,
    start_server,
    stop_server,
    value,
    wait_until,
)

EACH = 50 if SOAK else 3


class Kills(ConsumerTest):
    def setUp(self):
        execute("DROP TABLE IF EXISTS effect")
        execute("CREATE TABLE effect (n serial, pos bigint, key text, attempt int)")

    def test_attempts(self):
        """Killed three times, with no other event fetched: the attempts are 1, 2, 3 and 4."""
        execute("SELECT pm.create_log('single')")
        execute("SELECT pm.register('single', NULL, '{single}', lease => '300 ms', max_attempts => 9)")
        execute("SELECT pm.append('single', 's', 'T')")
        said = []
        for dies in ("before", "after", "before"):
            program = Program(DSN, "single", "--say", f"--dies={dies}", "--odds=1")
            said += [line for line in program.wait()[1].splitlines() if line.startswith("handling")]
        program = Program(DSN, "single", "--say")
        wait_until(lambda: drained("single"))
        program.terminate()
        code, output = program.wait()
        self.assertEqual(code, 0, output)
        said += [line for line in output.splitlines() if line.startswith("handling")]
        self.assertEqual(said, [f"handling single/1, attempt {n}" for n in (1, 2, 3, 4)])
        self.assertEqual(execute("SELECT attempt FROM effect"), [(4,)])

    def test_server_down_at_start(self):
        """It tries until the server is there; also if it is told to stop meanwhile."""
        execute("SELECT pm.create_log('early')")
        execute("SELECT pm.register('early', NULL, '{early}')")
        execute("SELECT pm.append('early', 's', 'T')")
        stop_server()
        program, other = Program(DSN, "early"), Program(POOLED, "early")
        try:
            other.read_until(lambda line: "starts" in line)
            program.read_until(lambda line: "trying again in" in line)
            other.terminate()
            code, output = other.wait()
            self.assertEqual(code, 0, output)
            self.assertIn("0 handled", output)
        finally:
            start_server()
        wait_until(lambda: execute("SELECT attempt FROM effect") == [(1,)])
        program.terminate()
        code, output = program.wait()
        self.assertEqual(code, 0, output)
        self.assertIn("1 handled", output)

    def test_kills(self):
        execute("SELECT pm.create_log('events')")
        for name in ("inside", "beside"):
            execute(
                "SELECT pm.register(%s, NULL, '{events}', lease => '600 ms', lanes => 2, max_attempts => 10000)",
                name,
            )
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.file = os.path.join(self.directory.name, "effects")
        self.kills = {(name, dies): 0 for name in ("inside", "beside") for dies in ("before", "after")}
        self.over, self.wrong = threading.Event(), []

        keepers = [
            threading.Thread(target=self.keep, args=(name, i))
            for name in ("inside", "beside")
            for i in range(2)
        ]
        for keeper in keepers:
            keeper.start()
        try:
            # What happens when a number of programs have been killed: the number, and then what.
            plan = {
                EACH: lambda: (stop_server("immediate"), start_server()),
                2 * EACH: restart_pooler,
                3 * EACH: lambda: (stop_server("fast"), start_server()),
            }
            while min(self.kills.values()) < EACH and not self.wrong:
                for count in [c for c in plan if c <= sum(self.kills.values())]:
                    plan.pop(count)()
                wait_until(self.write)
            self.assertEqual(plan, {})
            wait_until(lambda: drained("inside") and drained("beside"))
        finally:
            self.over.set()
            for keeper in keepers:
                keeper.join(120)
        self.assertEqual(self.wrong, [])
        self.check()

    def keep(self, name, index):
        """Keeps a program running. How it is to die changes each time, until it has died in each way often enough."""
        number = index
        while not self.over.is_set():
            left = [dies for dies in ("before", "after") if self.kills[name, dies] < EACH]
            options = [f"--dies={left[number % len(left)]}", "--odds=0.05"] if left else []
            options += [f"--outside={self.file}"] if name == "beside" else []
            program = Program(POOLED if number % 2 else DSN, name, *options)
            ended = threading.Event()
            stopper = threading.Thread(target=lambda: self.stop_at_end(program, ended))
            stopper.start()
            output = program.wait(None)[1]
            ended.set()
            stopper.join()
            if program.process.returncode == -9:
                self.kills[name, left[number % len(left)]] += 1
            elif not (self.over.is_set() and (program.process.returncode == 0 or not output)):
                # (It may be told to end before it has begun, and then dies of that.)
                self.wrong.append((program.process.returncode, output))
            number += 1

    def stop_at_end(self, program, ended):
        while not ended.is_set():
            if self.over.wait(0.1):
                program.terminate()
                ended.wait(60)

    def write(self):
        """A few more events, unless there are enough."""
        if value("SELECT max(lag) FROM pm.status") < 200:
            execute("SELECT count(pm.append('events', 'k' || i, 'T')) FROM generate_series(1, 20) i")
        return True

    def check(self):
        events = execute('SELECT "position", stream FROM events ORDER BY 1')
        inside = execute("SELECT pos, key FROM effect ORDER BY n")
        self.assertEqual(sorted(inside), events, "inside: each effect once")
        self.assert_order(inside, "inside")
        states = dict(
            execute("SELECT key, (state ->> 'n')::int FROM pm.instance WHERE process_manager = 'inside'")
        )
        counts = {key: sum(k == key for _, k in events) for key in {k for _, k in events}}
        self.assertEqual(states, counts, "inside: states")

        with open(self.file) as f:
            beside = [(int(pos), key, int(attempt)) for pos, key, attempt in (line.split() for line in f)]
        self.assertEqual(sorted({(pos, key) for pos, key, _ in beside}), events, "beside: nothing is lost")
        attempts, first = {}, []
        for pos, key, attempt in beside:
            if pos not in attempts:
                first.append((pos, key))
            attempts.setdefault(pos, []).append(attempt)
        self.assert_order(first, "beside")
        again = {pos: a for pos, a in attempts.items() if len(a) > 1}
        self.assertEqual({p: a for p, a in again.items() if a != sorted(set(a))}, {}, "beside: attempts rise")
        self.assertEqual(
            dict(
                execute("SELECT key, (state ->> 'n')::int FROM pm.instance WHERE process_manager = 'beside'")
            ),
            counts,
        )
        figure(
            f"{len(events)} events, {sum(self.kills.values())} programs killed: {self.kills}; in the transaction missing 0, "
            f"twice 0; outside {len(beside) - len(attempts)} delivered again, with attempts up to {max(map(max, attempts.values()))}"
        )

    def assert_order(self, effects, what):
        last = {}
        for pos, key in effects:
            self.assertGreater(pos, last.get(key, 0), f"{what}: order of {key}")
            last[key] = pos


if __name__ == "__main__":
    unittest.main()
