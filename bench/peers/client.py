# A consumer of pm in Python. It connects by PGHOST, PGUSER, PGDATABASE.
from pm_consumer import Consumer


def see(event, ctx):
    ctx.tx.execute(
        "INSERT INTO bench.seen (position, sent_at) VALUES (%s, %s::timestamptz)",
        (event.position, event.data.get("sent_at")),
    )


Consumer("", "see", batch_size=1000).run(see)
