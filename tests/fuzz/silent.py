"""A program that holds connections that say nothing, as a browser does whose person has not answered yet.

`python -m tests.fuzz.silent PORT COUNT`: opens them, says how many it holds, opens again what the agent dropped,
once a second, until its standard input ends; then says how often it was dropped.
"""

import json
import select
import socket
import sys


def hold(port: int, count: int) -> None:
    """Until standard input ends."""
    held: dict[int, socket.socket] = {}
    dropped = 0

    def fill() -> None:
        while len(held) < count:
            one = socket.create_connection(("127.0.0.1", port))
            held[one.fileno()] = one

    fill()
    print(json.dumps({"held": len(held)}), flush=True)
    watched = select.poll()
    watched.register(sys.stdin)
    for number in held:
        watched.register(number, select.POLLIN)
    while True:
        events = {number for number, _ in watched.poll(1000)}
        if sys.stdin.fileno() in events:
            break
        for number in events:
            watched.unregister(number)
            held.pop(number).close()
            dropped += 1
        if not events:  # a quiet second: the agent has dropped what it wanted to
            before = set(held)
            fill()
            for number in held.keys() - before:
                watched.register(number, select.POLLIN)
    print(json.dumps({"dropped": dropped}), flush=True)
    for one in held.values():
        one.close()


if __name__ == "__main__":
    hold(int(sys.argv[1]), int(sys.argv[2]))
