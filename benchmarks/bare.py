"""The floor of the door's rows: a bare `websockets` server that echoes JSON. `python -m benchmarks.bare PORT`."""

import asyncio
import json
import sys

from websockets.asyncio.server import ServerConnection, serve


async def converse(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(json.dumps(json.loads(message)))


async def main(port: int) -> None:
    async with serve(converse, "127.0.0.1", port, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
