import os
import subprocess
import sys
import time

import pytest

from bench import process_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")

SPINS = "import time; began = time.process_time()\nwhile time.process_time() - began < 0.2: pass\n"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SPINS + "print(flush=True); input()"!r}], stdin=subprocess.PIPE)
input()
child.communicate(b"\\n")
"""


def test_the_cpu_of_a_child_counts_for_the_tree() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the child has spun
        members = list(process_tree.members(process.pid))
        assert len(members) == 2
        own = time.clock_gettime_ns((~process.pid << 3) | 2)
        assert process_tree.cpu_ns(process.pid) - own > 0.2e9
        assert process_tree.resident_bytes(process.pid) > process_tree.resident_bytes(members[1]) > 1 << 20
        process.communicate("\n")


def test_cpu_is_that_of_the_operating_system() -> None:
    before, own = process_tree.cpu_ns(os.getpid()), time.process_time_ns()
    while time.process_time_ns() - own < 100e6:
        pass
    assert abs((process_tree.cpu_ns(os.getpid()) - before) - (time.process_time_ns() - own)) < 50e6


def test_a_process_that_is_gone_has_used_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert process_tree.cpu_ns(process.pid) == process_tree.resident_bytes(process.pid) == 0
