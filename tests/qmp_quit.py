"""Start a qemu that listens for QMP, see that it is there and stopped, and tell it to quit.

    qmp_quit.py SOCKET QEMU ARGUMENT...

Exit status 0 if it did; what qemu writes goes where ours goes. Needs PyPI's qemu.qmp.
"""

import asyncio
import contextlib
import sys

from qemu.qmp import QMPClient, QMPError

LIMIT = 60  # seconds


async def main(socket: str, argv: list[str]) -> int:
    client = QMPClient("tapdraft")
    # Listening first: qemu then connects, and nobody has to wait for a file to appear.
    await client.start_server(socket)
    process = await asyncio.create_subprocess_exec(
        *argv, "-S", "-qmp", f"unix:{socket}", stdin=asyncio.subprocess.DEVNULL
    )
    accepted = asyncio.create_task(client.accept())
    ended = asyncio.create_task(process.wait())
    await asyncio.wait({accepted, ended}, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
    if not accepted.done():
        accepted.cancel()
        if not ended.done():
            process.kill()
        await ended
        return 1
    await accepted
    status = await client.execute("query-status")
    print(status)
    await client.execute("quit")
    with contextlib.suppress(EOFError, QMPError):  # qemu may be the quicker one
        await client.disconnect()
    return await asyncio.wait_for(ended, LIMIT)


sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2:])))
