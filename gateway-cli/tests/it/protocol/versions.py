"""libpq 18 in psycopg: how a connection begins, and that a cancel request finds it. One line each:
what was asked for, the protocol that is spoken, an answer, the SQLSTATE of what was cancelled."""

import threading
import time

import psycopg

WAYS = {
    "postgres": "sslnegotiation=postgres",
    "direct": "sslnegotiation=direct max_protocol_version=3.2",
    "latest": "sslnegotiation=direct min_protocol_version=3.2 max_protocol_version=latest",
    "asked": "sslnegotiation=postgres max_protocol_version=latest",
}


def cancel(connection):
    time.sleep(0.5)
    connection.cancel_safe()


for number, (name, way) in enumerate(WAYS.items(), 1):
    with psycopg.connect(way, autocommit=True) as connection:
        answer = connection.execute("select %s::int", (number,)).fetchone()[0]
        threading.Thread(target=cancel, args=(connection,)).start()
        try:
            connection.execute("select pg_sleep(30)")
        except psycopg.Error as error:
            print(name, connection.pgconn.full_protocol_version, answer, error.sqlstate)
