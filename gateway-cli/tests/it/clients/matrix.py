"""What unmodified Python drivers get, one line each: the same on a direct connection and through the
gateway. Connection settings come from libpq's variables."""

import asyncio
import datetime
import decimal
import os
import ssl
import uuid

import asyncpg
import psycopg

MANY = 5000
VALUES = (7, 2**40, "zwölf", None, True, decimal.Decimal("12.50"), datetime.date(2020, 2, 29), b"\0\xff", uuid.UUID(int=5), [1, 2, 3])
TYPED = "select %s::int, %s::bigint, %s::text, %s::text, %s::bool, %s::numeric, %s::date, %s::bytea, %s::uuid, %s::int[]"


def say(what, *answer):
    print(what, *map(repr, answer), flush=True)


def state(error):
    return getattr(error, "sqlstate", None), str(error).splitlines()[0]


def psycopg_sync():
    with psycopg.connect(autocommit=True) as c:
        c.execute("drop table if exists m")
        c.execute("create table m (id int primary key, v text, n numeric)")
        for binary in (False, True):
            say("types", c.execute(TYPED, VALUES, binary=binary).fetchone())
        for n in range(8):  # The sixth run is prepared.
            say("prepared", c.execute("select %s::int + 1", (n,)).fetchone())
        with c.cursor() as cur:
            cur.executemany("insert into m values (%s, %s, %s) returning id", [(n, f"v{n}", n) for n in range(50)], returning=True)
            say("executemany", cur.rowcount, cur.fetchone())
        with c.cursor().copy("copy m from stdin") as copy:
            for n in range(50, MANY):
                copy.write_row((n, f"line\n{n}\t", n))
        with c.cursor().copy("copy m (id, v) to stdout (format binary)") as copy:
            say("copy out, binary", sum(len(data) for data in copy))
        with c.cursor().copy("copy (select * from m order by id) to stdout") as copy:
            copy.set_types(["int4", "text", "numeric"])
            say("copy out", sum(row[0] for row in copy.rows()))
        try:
            with c.cursor().copy("copy m from stdin") as copy:
                copy.write_row((1, "twice", 0))
        except psycopg.Error as error:
            say("copy fails", state(error))
        try:
            with c.cursor().copy("copy m from stdin") as copy:
                raise RuntimeError("given up")
        except RuntimeError:
            say("copy given up", c.execute("select count(*) from m").fetchone())
        with c.transaction(), c.cursor(name="portal") as cur:
            cur.itersize = 7
            say("server cursor", sum(row[0] for row in cur.execute("select id from m where id < 100 order by id")))
        with c.transaction(), c.cursor(name="scroll", scrollable=True) as cur:
            cur.execute("select id from m order by id")
            cur.scroll(10)
            say("scrolled", cur.fetchone())
        with c.pipeline() as p:
            results = [c.execute("select %s::int", (n,)) for n in range(200)]
            p.sync()
            say("pipeline", sum(r.fetchone()[0] for r in results))
        try:
            with c.pipeline():
                c.execute("insert into m values (90001, 'p', 0)")
                c.execute("select 1 / 0")
                c.execute("insert into m values (90002, 'p', 0)")
        except psycopg.Error as error:
            say("pipeline fails", state(error))
        say("nothing stayed", c.execute("select count(*) from m where id > 90000").fetchone())
        try:
            with c.transaction():
                c.execute("insert into m values (90003, 'p', 0)")
                with c.transaction():
                    c.execute("insert into m values (90003, 'p', 0)")
        except psycopg.errors.UniqueViolation as error:
            say("savepoint", state(error), error.diag.message_detail, error.diag.constraint_name)
        say("stream", sum(row[0] for row in c.cursor().stream("select id from m")))
        say("several results", [r.fetchall() for r in results_of(c, "select 1; select 2, 3; select 4")])
        c.add_notice_handler(lambda notice: say("notice", notice.message_primary))
        c.execute("do $$ begin raise notice 'hello %', 1; end $$")
        c.execute("listen ch")
        c.execute("notify ch, 'payload'")
        say("notify", [(n.channel, n.payload) for n in c.notifies(timeout=2, stop_after=1)])
        say("large value", len(c.execute("select %s::text", ("x" * (20 << 20),)).fetchone()[0]))
        say("parameter", c.info.parameter_status("standard_conforming_strings"), c.info.encoding)


def results_of(c, sql):
    cursor = c.execute(sql)
    yield cursor
    while cursor.nextset():
        yield cursor


async def psycopg_async():
    async with await psycopg.AsyncConnection.connect(autocommit=True) as c:
        cursor = await c.execute("select count(*), sum(n) from m")
        say("async", await cursor.fetchone())
        task = asyncio.create_task(c.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.5)
        await c.cancel_safe()
        try:
            await task
        except psycopg.Error as error:
            say("cancelled", state(error))
        say("goes on", await (await c.execute("select 1")).fetchone())


async def with_asyncpg():
    c = await asyncpg.connect(ssl=ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"]))
    statement = await c.prepare("select id, v, n from m where id < $1 order by id")
    say("prepare", [a.name for a in statement.get_attributes()], len(await statement.fetch(20)), await statement.fetchval(3, column=1))
    async with c.transaction():
        cursor = await c.cursor("select id from m order by id")
        say("cursor", await cursor.fetch(3), await cursor.forward(5), await cursor.fetchrow())
        say("iterated", sum([r["id"] async for r in c.cursor("select id from m where id < 500", prefetch=50)]))
    await c.executemany("insert into m values ($1, $2, $3)", [(n, "am", decimal.Decimal(n)) for n in range(80000, 80200)])
    say("executemany", await c.fetchval("select count(*) from m where v = 'am'"))
    say("copied", await c.copy_records_to_table("m", records=[(n, "ac", None) for n in range(81000, 81100)]))
    data = bytearray()

    async def take(chunk):
        data.extend(chunk)

    say("copied out", await c.copy_from_query("select id from m where v = 'ac' order by id", output=take), len(data))
    try:
        async with c.transaction():
            await c.execute("insert into m values (82000, 'x', 0)")
            await c.execute("insert into m values (82000, 'x', 0)")
    except asyncpg.UniqueViolationError as error:
        say("violation", error.sqlstate, error.detail)
    try:
        await c.fetchval("select pg_sleep(30)", timeout=0.5)
    except TimeoutError:
        say("timed out and goes on", await c.fetchval("select 1"))
    say("types", *(await c.fetchrow("select $1::jsonb, $2::timestamptz, $3::text[], $4::int4range", '{"a": 1}', datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), ["a", None], asyncpg.Range(1, 5))))
    pool = await asyncpg.create_pool(ssl=ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"]), min_size=2, max_size=4)
    say("pool", sum(await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(40)))))
    await pool.close()
    await c.execute("drop table m")
    await c.close()


psycopg_sync()
asyncio.run(psycopg_async())
asyncio.run(with_asyncpg())
