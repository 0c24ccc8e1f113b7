"""The process manager of test_orders.py. orders.sql has the same in PL/pgSQL."""

import sys

from pm_consumer import Consumer


def handle(event, ctx):
    if event.type == "close":
        return ctx.finish(ctx.state)
    state = ctx.state or {
        "events": {"orders": [], "items": [], "packages": []},
        "items": {},
        "packages": {},
        "reminders": 0,
    }
    eid = event.data.get("eid")
    if event.kind == "event":
        poison(event, ctx)
        state["events"][event.log].append(eid)
    if event.type == "place order":
        state["placed"] = event.data["items"]
        ctx.set_timer("audit", 0.05)
        ctx.set_timer("unpaid", 30 * 86400)
    elif event.type == "confirm order":
        state["confirmed"] = eid
    elif event.type == "pay order":
        state["paid"] = eid
        ctx.cancel_timer("unpaid")
    elif event.type == "payment reminder":
        state["reminders"] += 1
    elif event.type == "create package":
        state["packages"].setdefault(event.stream, {})["items"] = event.data["items"]
    elif event.log == "packages":
        state["packages"][event.stream][event.type] = eid
    elif event.type == "audit":
        state["audited"] = True
    else:  # pick item, item out of stock, reorder item
        state["items"].setdefault(event.stream, {})[event.type] = eid
    ctx.save(state)
    if is_complete(state):
        ctx.set_timer("close", 0)


def is_complete(state):
    picked = {item for item, seen in state["items"].items() if "pick item" in seen}
    return (
        state.keys() >= {"placed", "confirmed", "paid", "audited"}
        and picked.issuperset(state["placed"])
        and is_delivered(state)
    )


def is_delivered(state):
    packages = state["packages"].values()
    delivered = {item for package in packages if "package delivered" in package for item in package["items"]}
    return delivered.issuperset(state["placed"])


def poison(event, ctx):
    eid = event.data["eid"]
    if eid % 1000 == 507:
        [(corrected,)] = ctx.tx.execute("SELECT EXISTS (SELECT FROM corrected)")
        if not corrected:
            ctx.fail_permanently("not corrected")
    if eid % 100 == 7 and event.attempt <= 2:
        raise ValueError(f"poison {eid}")


if __name__ == "__main__":
    print(Consumer(sys.argv[1], sys.argv[2], wait=10).run(handle), "handled")
