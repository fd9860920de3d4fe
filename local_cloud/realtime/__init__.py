"""A faithful stand-in for OpenAI's GA Realtime API over WebSocket, on loopback: the realtime simulator.

It hears (voice activity by energy), answers in a voice, calls functions, can be interrupted, counts tokens, and goes
wrong on request. In a test::

    async with Simulator() as simulator:
        simulator.faults.add(faults.close_mid_response(1011))
        ...  # let a client connect to simulator.base_url with any key
        connection = await simulator.connection()
        update = await connection.wait_received("session.update")

Plain words steer it: "call <tool>" and "count to twenty" in a typed message (see `answers`). Its limits: it recognises
no speech, so a transcript of the user tells only how long they spoke; it ignores the output speed and
runs no MCP tools.

From a shell: ``python -m local_cloud.realtime --port 9000``; `control` documents its HTTP control API.
"""

from local_cloud.realtime import faults
from local_cloud.realtime.answers import CallFunction, Say
from local_cloud.realtime.behaviour import Behaviour
from local_cloud.realtime.record import Connection
from local_cloud.realtime.simulator import Simulator

__all__ = ["Behaviour", "CallFunction", "Connection", "Say", "Simulator", "faults"]
