"""A consumer for tests: program.py DSN PROCESS_MANAGER [--option=value]...

Its effect is a row of the table effect, in the transaction, or (--outside=FILE) a line of a file.
"""

import argparse
import logging
import os
import random
import signal
import sys
import time

from pm_consumer import Consumer

parser = argparse.ArgumentParser()
parser.add_argument("dsn")
parser.add_argument("name")
parser.add_argument("--outside", metavar="FILE", help="effects outside of the transaction")
parser.add_argument("--sleep", type=float, default=0, help="how long each event takes, after its effect")
parser.add_argument("--batch", type=int, default=30)
parser.add_argument("--say", action="store_true", help="prints each event")
parser.add_argument("--dies", choices=["before", "after"], help="kills itself: before or after an effect")
parser.add_argument("--odds", type=float, default=0, help="the probability of that, for each event")
options = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
outside = os.open(options.outside, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if options.outside else None


def die(when):
    if when == options.dies and random.random() < options.odds:
        os.kill(os.getpid(), signal.SIGKILL)


def handle(event, ctx):
    if options.say:
        print(f"handling {event.id}, attempt {event.attempt}", flush=True)
    die("before")
    row = (event.position, event.key, event.attempt)
    if outside is None:
        ctx.tx.execute("INSERT INTO effect (pos, key, attempt) VALUES (%s, %s, %s)", row)
    else:
        os.write(outside, "{} {} {}\n".format(*row).encode())
    ctx.save({"n": (ctx.state or {"n": 0})["n"] + 1})
    die("after")
    time.sleep(options.sleep)


effects = "transaction" if outside is None else "outside"
consumer = Consumer(options.dsn, options.name, effects=effects, batch_size=options.batch, wait=10)
print(f"{consumer.run(handle)} handled", flush=True)
sys.exit(0)
