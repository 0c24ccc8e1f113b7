"""Process managers of PostgreSQL's extension pm whose work is done by a Python program. See README.md."""

from ._consumer import Consumer, Handler
from ._context import Context, Deferral, Event, PermanentFailure
from ._version import __version__

__all__ = ["Consumer", "Context", "Deferral", "Event", "Handler", "PermanentFailure", "__version__"]
