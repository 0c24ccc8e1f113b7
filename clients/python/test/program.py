"""A consumer for tests: program.py DSN PROCESS_MANAGER [--option=value]...

Its effect is a row of the table effect: in the transaction, or (--outside) in one of its own.
"""

import argparse
import logging
import sys
import time

import psycopg

from pm_consumer import Consumer

parser = argparse.ArgumentParser()
parser.add_argument("dsn")
parser.add_argument("process_manager")
parser.add_argument("--outside", default="", help="the DSN for effects outside of the transaction")
parser.add_argument("--sleep", type=float, default=0, help="how long each event takes, after its effect")
parser.add_argument("--batch", type=int, default=30)
parser.add_argument("--lane", default="0")
parser.add_argument("--say", action="store_true", help="prints each event")
options = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
INSERT = "INSERT INTO effect (pos, key, attempt) VALUES (%s, %s, %s)"


def handle(event, ctx):
    if options.outside:
        with psycopg.connect(options.outside, autocommit=True) as connection:
            connection.execute(INSERT, (event.position, event.key, event.attempt))
    else:
        ctx.tx.execute(INSERT, (event.position, event.key, event.attempt))
    ctx.save({"n": (ctx.state or {"n": 0})["n"] + 1})
    if options.say:
        print(f"handling {event.id}", flush=True)
    time.sleep(options.sleep)


consumer = Consumer(
    options.dsn,
    options.process_manager,
    effects="outside" if options.outside else "transaction",
    batch_size=options.batch,
    wait=10,
)
print(f"{consumer.run(handle)} handled", flush=True)
sys.exit(0)
