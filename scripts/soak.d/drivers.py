"""Unmodified Python drivers through the gateway. Connection settings come from libpq's variables."""

import asyncio
import os
import ssl

import asyncpg
import psycopg

PLAIN = "select id, name, email from customers where id = {} limit 1"
BEYOND = "select lower(email) from customers"


def check(what, truth):
    print(f"   {'ok' if truth else 'NOT AS IT SHOULD BE'}: {what}")
    if not truth:
        raise SystemExit(1)


def with_psycopg():
    with psycopg.connect(autocommit=True) as connection:
        for binary in (False, True):
            cursor = connection.execute(PLAIN.format("%s"), (7,), binary=binary)
            row = cursor.fetchone()
            check(f"psycopg {psycopg.__version__} gets masked rows (binary: {binary})", row[2].startswith("*"))
        try:
            connection.execute(BEYOND)
            check("psycopg is refused", False)
        except psycopg.Error as error:
            check("psycopg is refused, with a hint", "customers.email" in str(error) and error.diag.message_hint)
        check("and goes on", connection.execute("select 1").fetchone() == (1,))
        with connection.pipeline():
            results = [connection.execute("select %s::int", (n,)) for n in range(100)]
            check("psycopg pipelines", [r.fetchone()[0] for r in results] == list(range(100)))
        with connection.cursor().copy("copy (select id, total from orders) to stdout") as copy:
            check("psycopg copies out", sum(1 for _ in copy.rows()) == 600)


async def with_asyncpg():
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    connection = await asyncpg.connect(ssl=context)
    try:
        row = await connection.fetchrow(PLAIN.format("$1"), 7)
        check(f"asyncpg {asyncpg.__version__} gets masked rows", row["email"].startswith("*"))
        try:
            await connection.fetch(BEYOND)
            check("asyncpg is refused", False)
        except asyncpg.PostgresError as error:
            check("asyncpg is refused", "customers.email" in str(error))
        async with connection.transaction():
            await connection.execute("insert into carts (customer_id, updated_at) values ($1, now())", 7)
        check("asyncpg writes in a transaction", await connection.fetchval("select count(*) from carts") > 80)
    finally:
        await connection.close()


with_psycopg()
asyncio.run(with_asyncpg())
