"""What no ordinary client does: each assertion is how the gateway refuses it."""

import base64
import os
import sys

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

HOST, PORT = os.environ["GATEWAY_HOST"], int(os.environ["GATEWAY_PORT"])
DIR = os.environ["GATEWAY_DIR"]


def connect(user="box", certificate=None):
    kind, blob = open(f"{DIR}/known_hosts").read().split()[1:3]
    host_key = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
    client = paramiko.SSHClient()
    client.get_host_keys().add(f"[{HOST}]:{PORT}", host_key.get_name(), host_key)
    key = paramiko.Ed25519Key.from_private_key_file(f"{DIR}/key")
    key.load_certificate(certificate or f"{DIR}/key-cert.pub")
    client.connect(HOST, PORT, username=user, look_for_keys=False, allow_agent=False, pkey=key)
    return client


def answer(client):
    _, stdout, _ = client.exec_command("echo on")
    return stdout.read()


def unknown_types():
    client = connect()
    transport = client.get_transport()
    try:
        transport.open_channel("tun@openssh.com")
        raise AssertionError("a channel was opened")
    except paramiko.ChannelException as refused:
        assert refused.code in (1, 3), refused

    channel = transport.open_session()
    request = paramiko.Message()
    request.add_byte(cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("break")
    request.add_boolean(True)
    request.add_int(500)
    channel._event_pending()
    transport._send_user_message(request)
    try:
        channel._wait_for_event()
        raise AssertionError("a request was met")
    except paramiko.SSHException:
        pass

    assert transport.global_request("unknown@example.com", wait=True) is None
    assert answer(client) == b"on\n", "the session goes on"
    client.close()


def forged_packet():
    client = connect()
    assert answer(client) == b"on\n"
    transport = client.get_transport()
    # A length that may be, and nothing that the keys have made.
    transport.sock.sendall((32).to_bytes(4, "big") + bytes(128))
    transport.join(10)
    assert not transport.is_active(), "the connection is over"


def certificate():
    try:
        connect(sys.argv[2], sys.argv[3])
        raise AssertionError("it was let in")
    except paramiko.SSHException:
        pass


{"unknown_types": unknown_types, "forged_packet": forged_packet, "certificate": certificate}[
    sys.argv[1]
]()
print("as expected")
