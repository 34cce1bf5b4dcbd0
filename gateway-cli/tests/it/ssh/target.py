"""A target that does what OpenSSH's server doesn't: it ends by the signal it is sent, as any user,
and tries to open channels of its own."""

import asyncio
import sys

import asyncssh

HOME = sys.argv[1]


async def serve(process):
    connection = process.channel.get_connection()
    try:
        await connection.create_connection(asyncssh.SSHTCPSession, "127.0.0.1", 1, "127.0.0.1", 2)
        process.stdout.write("a channel was opened\n")
    except asyncssh.ChannelOpenError:
        process.stdout.write("ready\n")
    try:
        await process.stdin.read()
        process.exit(0)
    except asyncssh.SignalReceived as received:
        process.stdout.write(f"got {received.signal}\n")
        process.exit_with_signal(received.signal, core_dumped=True, msg="bye")


async def main():
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[f"{HOME}/host"],
        authorized_client_keys=f"{HOME}/authorized",
        process_factory=serve,
    )
    with open(f"{HOME}/port.new", "w") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    __import__("os").rename(f"{HOME}/port.new", f"{HOME}/port")
    await server.wait_closed()


asyncio.run(main())
