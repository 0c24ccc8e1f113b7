"""The server of a test file, and programs that consume from it.

The environment is that of run_clients in test/harness/suites.sh: PGHOST, PGUSER and PGDATABASE name a database with pm,
PGDATA is the server's, PM_TEST_POOLER the PGHOST of a pgbouncer that pools by transaction.
"""

import faulthandler
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import unittest

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
SOAK = bool(os.environ.get("PM_SOAK"))
faulthandler.dump_traceback_later(int(os.environ.get("PM_FILE_TIMEOUT", 180)) - 10, exit=True)

DSN = "host={PGHOST} user={PGUSER} dbname={PGDATABASE}".format(**os.environ)
POOLED = "host={PM_TEST_POOLER} user={PGUSER} dbname={PGDATABASE}".format(**os.environ)


def execute(sql, *values):
    """The rows of a statement, or of the last of several."""
    with psycopg.connect(DSN, autocommit=True) as connection:
        cursor = connection.execute(sql, values or None)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def value(sql, *values):
    return execute(sql, *values)[0][0]


def drained(name):
    """Has the process manager handled everything?"""
    sql = "SELECT (SELECT sum(lag) FROM pm.status WHERE process_manager = %s), (SELECT count(*) FROM pm.parked WHERE process_manager = %s)"
    return execute(sql, name, name) == [(0, 0)]


def wait_until(condition, timeout=1200 if SOAK else 120, every=0.02):
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = condition()
        except psycopg.OperationalError:
            answer = False
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError("timed out")
        time.sleep(every)


def figure(text):
    """Reports a figure, as PmTest::figure."""
    print(f"\n# figure: {text}", flush=True)


# ---- the server and pgbouncer


def pg_ctl(*arguments):
    log = os.environ["PM_TEST_SERVER_LOG"]
    run = subprocess.run(
        ["pg_ctl", "-l", log, "-w", "-s", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout


def stop_server(mode="fast"):
    pg_ctl("-m", mode, "stop")


def start_server():
    pg_ctl("start")


def restart_pooler():
    ini = os.environ["PM_TEST_POOLER_INI"]
    with open(ini[: -len(".ini")] + ".pid") as f:
        pid = int(f.read())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    os.remove(ini[: -len(".ini")] + ".pid")
    # Its socket is left, and a new one replaces it.
    wait_until(
        lambda: subprocess.run(["pgbouncer", "-d", "-q", ini], stderr=subprocess.DEVNULL).returncode == 0
    )


# ---- programs


class Program:
    """A consumer in a process of its own (program.py)."""

    def __init__(self, dsn, name, *options, program="program.py"):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, program), dsn, name, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Its output is read at any time, so that it never waits for a reader.
        self.output, self.lines = [], queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.output.append(line)
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def kill(self):
        self.process.kill()
        return self.wait()[1]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout=60):
        self.process.wait(timeout)
        self.reader.join(60)
        self.process.stdout.close()
        return self.process.returncode, "".join(self.output)

    def read_until(self, condition):
        """Takes lines of its output, until one of them fits."""
        while True:
            line = self.lines.get(timeout=60)
            if line is None:
                raise AssertionError("the program has ended")
            if condition(line):
                return


class ConsumerTest(unittest.TestCase):
    maxDiff = None
