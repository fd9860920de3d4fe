"""Write the tables of docs/clients.md anew, by holding the conversations: ``python -m scripts.print_clients``."""

import os
import subprocess
import sys

RENEW = "AIRLOCK_RENEW_PAGES"
"""Set, the test that compares the page writes it first."""

if __name__ == "__main__":
    command = [sys.executable, "-m", "pytest", "-q", "tests/end_to_end/test_clients.py"]
    sys.exit(subprocess.run(command, env=os.environ | {RENEW: "1"}, check=False).returncode)
