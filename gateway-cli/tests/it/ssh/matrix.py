"""What agents' libraries do through the gateway: each assertion is what they'd get on the host."""

import asyncio
import os
import socket
import sys

HOST, PORT = os.environ["GATEWAY_HOST"], int(os.environ["GATEWAY_PORT"])
DIR, TOKEN, OPEN = os.environ["GATEWAY_DIR"], os.environ["GATEWAY_TOKEN"], os.environ["GATEWAY_OPEN"]


def use_paramiko():
    import paramiko

    host_key = paramiko.PKey.from_type_string(
        *(lambda kind, blob: (kind, __import__("base64").b64decode(blob)))(
            *open(f"{DIR}/known_hosts").read().split()[1:3]
        )
    )

    def connect(**credential):
        client = paramiko.SSHClient()
        client.get_host_keys().add(f"[{HOST}]:{PORT}", host_key.get_name(), host_key)
        client.connect(
            HOST, PORT, username="box", look_for_keys=False, allow_agent=False, **credential
        )
        return client

    key = paramiko.Ed25519Key.from_private_key_file(f"{DIR}/key")
    key.load_certificate(f"{DIR}/key-cert.pub")
    for credential in ({"password": TOKEN}, {"pkey": key}):
        client = connect(**credential)
        stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 7")
        stdin.write(b"in")
        stdin.channel.shutdown_write()
        assert stdout.read() == b"in", "output"
        assert stderr.read() == b"err\n", "error"
        assert stdout.channel.recv_exit_status() == 7, "status"

        _, stdout, stderr = client.exec_command("echo forbidden")
        assert b"forbidden" in stderr.read(), "denial"
        assert stdout.channel.recv_exit_status() == 126, "denied status"

        sftp = client.open_sftp()
        path = f"{OPEN}/paramiko"
        with sftp.open(path, "wb") as file:
            file.write(b"x" * 1_000_000)
        assert sftp.stat(path).st_size == 1_000_000, "size"
        with sftp.open(path, "rb") as file:
            file.prefetch()
            assert file.read() == b"x" * 1_000_000, "content"
        assert "paramiko" in sftp.listdir(OPEN), "listing"
        sftp.remove(path)
        sftp.close()

        try:
            client.get_transport().open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 0))
            raise AssertionError("a forward was opened")
        except paramiko.ChannelException:
            pass
        client.close()
    try:
        connect(password="nonsense")
        raise AssertionError("nonsense is no token")
    except paramiko.SSHException:
        pass
    print("paramiko: all")


def asyncssh_connection():
    import asyncssh

    kind, blob = open(f"{DIR}/known_hosts").read().split()[1:3]
    known_hosts = asyncssh.import_known_hosts(f"[{HOST}]:{PORT} {kind} {blob}\n")
    return asyncssh.connect(
        HOST,
        PORT,
        username="box",
        client_keys=[(f"{DIR}/key", f"{DIR}/key-cert.pub")],
        known_hosts=known_hosts,
        agent_path=None,
        config=None,
    )


async def use_signals():
    async with asyncssh_connection() as connection:
        process = await connection.create_process("anything")
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("USR1")
        assert await process.stdout.readline() == "got USR1\n"
        await process.wait_closed()
        assert process.exit_signal[:3] == ("USR1", True, "bye"), process.exit_signal
    print("signals: all")


async def use_asyncssh():
    import asyncssh

    async with asyncssh_connection() as connection:
        done = await connection.run("echo out; echo err >&2; exit 9")
        assert (done.stdout, done.stderr, done.exit_status) == ("out\n", "err\n", 9), done

        # A terminal of a size, which changes.
        process = await connection.create_process(
            term_type="xterm-256color", term_size=(91, 37), stderr=asyncssh.STDOUT
        )
        process.stdin.write("stty size; echo $TERM; read x; stty size; exit 3\n")
        seen = ""
        while "37 91" not in seen or "\nxterm-256color" not in seen.replace("\r", ""):
            seen += await process.stdout.read(1000)
        process.change_terminal_size(101, 41)
        await asyncio.sleep(0.3)
        process.stdin.write("go\n")
        seen = await process.stdout.read()
        assert "41 101" in seen, seen
        await process.wait_closed()
        assert process.exit_status == 3, process.exit_status

        # Several at once.
        many = await asyncio.gather(*(connection.run(f"echo {n}") for n in range(8)))
        assert [done.stdout for done in many] == [f"{n}\n" for n in range(8)]

        async with connection.start_sftp_client() as sftp:
            path = f"{OPEN}/asyncssh"
            async with sftp.open(path, "wb") as file:
                await file.write(b"y" * 500_000)
            async with sftp.open(path, "rb") as file:
                assert await file.read() == b"y" * 500_000
            await sftp.rename(path, path + "2")
            assert await sftp.exists(path + "2")
            await sftp.remove(path + "2")

        for what in (
            connection.forward_remote_port("", 0, HOST, PORT),
            connection.open_connection("127.0.0.1", 22),
            connection.open_unix_connection("/run/x"),
        ):
            try:
                await what
                raise AssertionError("a forward was opened")
            except (asyncssh.Error, asyncssh.ChannelListenError, OSError):
                pass
    print("asyncssh: all")


match sys.argv[1]:
    case "paramiko":
        use_paramiko()
    case "asyncssh":
        asyncio.run(use_asyncssh())
    case "signals":
        asyncio.run(use_signals())
