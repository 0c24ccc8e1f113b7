"""What handlers have asked for, in as few statements as possible."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, Iterable, List, Optional, Tuple

import psycopg

from ._context import Operation

SAVE = "SELECT pm.save(%s, %s, k, s::jsonb) FROM unnest(%s::text[], %s::text[]) AS x(k, s)"
SET_TIMER = """SELECT pm.set_timer(t, coalesce(at, clock_timestamp() + after), d::jsonb, %s, %s, k)
 FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::interval[], %s::text[]) AS x(k, t, at, after, d)"""
CANCEL_TIMER = "SELECT pm.cancel_timer(t, %s, %s, k) FROM unnest(%s::text[], %s::text[]) AS x(k, t)"
REPLY = "SELECT pm.reply(l, p, t, d::jsonb) FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[]) AS x(l, p, t, d)"
FINISH = "SELECT pm.finish(%s, %s, k, r::jsonb) FROM unnest(%s::text[], %s::text[]) AS x(k, r)"


class _Wave:
    """Operations of which none concerns an instance that another one has ended."""

    def __init__(self) -> None:
        self.states: Dict[str, str] = {}
        self.timers: Dict[Tuple[str, str], Tuple[Any, Optional[str]]] = {}
        self.ended: Dict[str, Optional[str]] = {}
        self.replies: List[Operation] = []

    def add(self, op: Operation) -> bool:
        kind, key = op[0], op[1]
        if kind == "reply":
            self.replies.append(op[1:])
            return True
        if key in self.ended:
            return False
        if kind == "save":
            self.states[key] = op[2]
        elif kind == "timer":
            self.timers[key, op[2]] = (op[3], op[4])
        else:
            self.ended[key] = op[2]
            self.timers = {k: t for k, t in self.timers.items() if k[0] != key}
        return True

    def run(self, tx: psycopg.Connection[Any], me: Tuple[str, str]) -> None:
        if self.states:
            tx.execute(SAVE, (*me, list(self.states), list(self.states.values())))
        set_ = [(k, t, due, data) for (k, t), (due, data) in self.timers.items() if due is not None]
        if set_:
            keys, types, dues, data = (list(column) for column in zip(*set_))
            at = [due if isinstance(due, datetime) else None for due in dues]
            after = [None if isinstance(due, datetime) else due for due in dues]
            tx.execute(SET_TIMER, (*me, keys, types, at, after, data))
        cancelled = [name for name, (due, _) in self.timers.items() if due is None]
        if cancelled:
            tx.execute(CANCEL_TIMER, (*me, [k for k, _ in cancelled], [t for _, t in cancelled]))
        if self.ended:
            tx.execute(FINISH, (*me, list(self.ended), list(self.ended.values())))
        if self.replies:
            tx.execute(REPLY, [list(column) for column in zip(*self.replies)])


def run(tx: psycopg.Connection[Any], me: Tuple[str, str], operations: Iterable[Operation]) -> None:
    wave = _Wave()
    for op in operations:
        if not wave.add(op):
            wave.run(tx, me)
            wave = _Wave()
            wave.add(op)
    wave.run(tx, me)
