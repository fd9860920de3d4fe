"""Put on a service's PYTHONPATH: it writes down whom the process connects to, and what files it opens to write.

Python calls the hook before it does what it tells, in any thread and in any package (PEP 578).
"""

import os
import sys
from typing import Any

_FILE = os.open(os.environ["WATCHED_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Write one line: what was done, and to what."""
    if event == "socket.connect":
        line = f"connect {arguments[1]}"
    elif event == "socket.getaddrinfo":
        line = f"resolve {arguments[0]}"
    elif (event == "open" and arguments[2] & _WRITES) or event in ("os.mkdir", "os.rename"):
        line = f"write {arguments[0]}"
    else:
        return
    os.write(_FILE, f"{line}\n".encode())


sys.addaudithook(note)
