//! Conversations byte by byte: what the server answers through the gateway is what it answers on a
//! direct connection.

use crate::{
    clients::open_world,
    support::{
        Agent, World,
        wire::{
            PROTOCOL_3_0, Wire, bind, close, describe, execute, message, parse, query, sync, told,
        },
    },
};

const TABLES: &str = "
    create table ex (id int primary key deferrable initially deferred, v text);
    create table cp (id int primary key);
    grant all on ex, cp to gateway;
    create role direct login password 'direct' in role gateway";
const ROWS: &str = "
    truncate ex, cp;
    insert into ex select n, 'v' || n from generate_series(1, 5) n";
const LEFT: &str = "table ex; table cp";
/// What the last statement of every conversation says.
const END: &str = "D(that was all) C(SELECT 1) Z(";

/// A world in which a role of the server's may log in as agents do at the gateway.
fn two_ways_in() -> World {
    let world = open_world();
    let rules = world.path("postgres/data/pg_hba.conf");
    let strict = std::fs::read_to_string(&rules).unwrap();
    let clear = "hostssl all direct 127.0.0.1/32 password\n";
    std::fs::write(&rules, format!("{clear}{strict}")).unwrap();
    world.postgres.psql("select pg_reload_conf()");
    world.postgres.psql(TABLES);
    world
}

/// A connection to the server itself.
fn direct(world: &World) -> Wire {
    Wire::connect(
        (world.postgres.port, &world.path("ca.pem")),
        PROTOCOL_3_0,
        &[("user", "direct"), ("database", "shop")],
        "direct",
    )
    .unwrap()
}

fn flush() -> Vec<u8> {
    message(b'H', b"")
}

fn data(rows: &str) -> Vec<u8> {
    message(b'd', rows.as_bytes())
}

fn done() -> Vec<u8> {
    message(b'c', b"")
}

fn fail() -> Vec<u8> {
    message(b'f', b"given up\0")
}

/// Parse, Bind and Execute of the unnamed statement.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[], 0), execute("", 0)].concat()
}

/// Sends a conversation and reads what is said until the statement behind it is answered.
fn answers(wire: &mut Wire, messages: &[Vec<u8>]) -> String {
    let end = query("rollback; select 'that was all'");
    wire.send(&[messages.concat(), end].concat());
    let mut said = String::new();
    while !said.contains(END) && !said.contains("EOF") {
        let reply = wire.receive();
        assert_ne!(reply.tag, '?', "silence after {said}");
        said = format!("{said} {}", told(&[reply]));
    }
    said
}

#[track_caller]
fn assert_alike(cases: &[(&str, Vec<Vec<u8>>)]) {
    let world = two_ways_in();
    let (mut server, mut gateway) = (direct(&world), world.wire(Agent::Writer));
    let mut wrong = Vec::new();
    for (what, messages) in cases {
        server.query(ROWS);
        let expected = answers(&mut server, messages);
        let left = told(&server.query(LEFT));
        server.query(ROWS);
        let found = answers(&mut gateway, messages);
        if found != expected || told(&server.query(LEFT)) != left {
            wrong.push(format!("{what}\n  direct  {expected}\n  through {found}"));
        }
        assert!(!expected.contains("EOF"), "{what}: {expected}");
        if found.contains("EOF") {
            gateway = world.wire(Agent::Writer);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mix_of_messages_is_answered_as_by_the_server() {
    let all = "select id, v from ex order by id";
    let long = "n".repeat(70);
    assert_alike(&[
        ("one statement", vec![run(all), sync()]),
        (
            "everything described",
            vec![
                parse("s", "select id, v from ex where id = $1::int"),
                describe(b'S', "s"),
                bind("p", "s", &["2"], 1),
                describe(b'P', "p"),
                execute("p", 0),
                close(b'P', "p"),
                close(b'S', "s"),
                sync(),
            ],
        ),
        (
            "flushes everywhere",
            vec![
                flush(),
                parse("", all),
                flush(),
                bind("", "", &[], 0),
                flush(),
                execute("", 2),
                flush(),
                flush(),
                sync(),
                flush(),
                flush(),
            ],
        ),
        ("syncs alone", vec![sync(), sync(), sync()]),
        ("a syntax error", vec![run("selekt"), sync()]),
        (
            "an error in the middle of inserts",
            vec![
                run("insert into ex values (10, 'x')"),
                run("select 1/0"),
                run("insert into ex values (11, 'x')"),
                describe(b'P', ""),
                sync(),
                run("insert into ex values (12, 'x')"),
                sync(),
            ],
        ),
        (
            "errors in two batches at once",
            vec![
                run("select 1/0"),
                sync(),
                run("select 'x'::int"),
                sync(),
                run(all),
                sync(),
            ],
        ),
        (
            "a wrong number of values",
            vec![
                parse("", "select $1::int"),
                bind("", "", &[], 0),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "a bad value",
            vec![
                parse("", "select $1::int"),
                bind("", "", &["x"], 0),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "two statements in a Parse",
            vec![parse("", "select 1; select 2"), sync()],
        ),
        ("nothing in a Parse", vec![run(""), sync()]),
        (
            "nothing in a Query",
            vec![query(""), query(";;"), query("-- nothing")],
        ),
        (
            "the unknown described",
            vec![describe(b'S', "?"), sync(), describe(b'P', "?"), sync()],
        ),
        (
            "the unknown closed",
            vec![close(b'S', "?"), close(b'P', "?"), sync()],
        ),
        (
            "a statement made twice",
            vec![
                parse("a", all),
                parse("a", "select 1"),
                sync(),
                bind("", "a", &[], 0),
                execute("", 1),
                close(b'S', "a"),
                sync(),
            ],
        ),
        (
            "a statement used when it was closed",
            vec![
                parse("b", all),
                close(b'S', "b"),
                bind("", "b", &[], 0),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "names that begin alike for 63 bytes",
            vec![
                parse(&format!("{long}1"), "select 1"),
                parse(&format!("{long}2"), "select 2"),
                sync(),
                bind("", &format!("{long}2"), &[], 0),
                execute("", 0),
                close(b'S', &long),
                sync(),
            ],
        ),
        (
            "a portal made twice",
            vec![
                parse("", all),
                bind("p", "", &[], 0),
                bind("p", "", &[], 0),
                execute("p", 0),
                sync(),
            ],
        ),
        (
            "the unnamed portal made twice",
            vec![
                parse("", all),
                bind("", "", &[], 0),
                bind("", "", &[], 1),
                execute("", 1),
                sync(),
            ],
        ),
        (
            "portals in turns",
            vec![
                query("begin"),
                parse("", all),
                bind("p", "", &[], 0),
                bind("q", "", &[], 0),
                execute("p", 2),
                execute("q", 3),
                execute("p", 2),
                sync(),
                execute("q", 3),
                execute("p", 2),
                execute("p", 2),
                close(b'P', "p"),
                execute("q", 1),
                sync(),
                query("commit"),
                execute("q", 1),
                sync(),
            ],
        ),
        (
            "a suspended portal ends with its transaction",
            vec![
                parse("", all),
                bind("p", "", &[], 0),
                execute("p", 2),
                sync(),
                execute("p", 2),
                sync(),
            ],
        ),
        (
            "a finished portal executed again",
            vec![
                run(all),
                execute("", 0),
                sync(),
                run("insert into ex values (20, 'x')"),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "a limited insert with returning",
            vec![
                parse(
                    "",
                    "insert into ex values (30, 'x'), (31, 'y') returning id",
                ),
                bind("", "", &[], 0),
                execute("", 1),
                sync(),
            ],
        ),
        (
            "a query amid a batch",
            vec![
                parse("", all),
                query("select 1"),
                bind("", "", &[], 0),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "a failing query amid a batch",
            vec![
                run("insert into ex values (40, 'x')"),
                query("select 1/0"),
                run(all),
                sync(),
            ],
        ),
        (
            "queries of several statements",
            vec![
                query("insert into ex values (50, 'x'); select 1/0; select 2"),
                query("select 1; begin; select 2; select 1/0; select 3"),
                query("select 4"),
                query("rollback"),
            ],
        ),
        (
            "a block that fails",
            vec![
                run("begin"),
                sync(),
                run("select 1/0"),
                sync(),
                run("select 1"),
                sync(),
                run("commit"),
                sync(),
            ],
        ),
        (
            "a constraint that fails at the Sync",
            vec![
                run("insert into ex values (1, 'twice')"),
                sync(),
                run("select 1"),
                sync(),
            ],
        ),
        (
            "a savepoint",
            vec![
                query("begin; savepoint s"),
                run("select 1/0"),
                sync(),
                query("rollback to s"),
                run(all),
                sync(),
                query("commit"),
            ],
        ),
        (
            "SQL's own statements and cursors",
            vec![
                query("prepare sp as select 1"),
                query("execute sp"),
                query("begin; declare c cursor for table ex"),
                query("fetch 2 from c"),
                run("fetch 2 from c"),
                sync(),
                query("close c; commit; deallocate sp"),
            ],
        ),
        (
            "everything discarded",
            vec![
                parse("d", "select 1"),
                sync(),
                query("discard all"),
                bind("", "d", &[], 0),
                sync(),
            ],
        ),
        (
            "notices, settings and notifications",
            vec![
                query("do $$ begin raise notice 'a'; raise warning 'b'; end $$"),
                run("set timezone = 'Asia/Tokyo'"),
                sync(),
                query("set application_name = 'x'; reset timezone"),
                query("listen ch; notify ch, 'self'"),
                run("notify ch, 'again'"),
                sync(),
                query("unlisten *"),
            ],
        ),
        (
            "two-phase commit",
            vec![
                query("begin"),
                query("prepare transaction 'x'"),
                query("rollback prepared 'x'"),
            ],
        ),
    ]);
}

#[test]
fn every_way_through_copy_is_answered_as_by_the_server() {
    let copy = "copy cp from stdin";
    assert_alike(&[
        (
            "rows",
            vec![query(copy), data("1\n2"), data("\n3\n"), done()],
        ),
        (
            "rows in the extended protocol",
            vec![run(copy), sync(), data("1\n"), done(), sync()],
        ),
        (
            "a Sync only at the end",
            vec![run(copy), flush(), data("1\n"), done(), sync()],
        ),
        (
            "given up",
            vec![
                query(copy),
                data("1\n"),
                fail(),
                run(copy),
                data("2\n"),
                fail(),
                sync(),
            ],
        ),
        (
            "a bad row",
            vec![query(copy), data("1\nx\n2\n"), done(), query("select 1")],
        ),
        (
            "a bad row in the extended protocol",
            vec![
                run(copy),
                data("x\n"),
                data("2\n"),
                done(),
                sync(),
                query("select 1"),
            ],
        ),
        (
            "syncs and flushes among the rows",
            vec![
                query(copy),
                data("1\n"),
                sync(),
                flush(),
                data("2\n"),
                sync(),
                done(),
            ],
        ),
        (
            "a bad row, then a Sync",
            vec![
                query(copy),
                data("x\n"),
                sync(),
                sync(),
                done(),
                query("select 1"),
            ],
        ),
        (
            "a Sync, then a bad row",
            vec![query(copy), sync(), data("x\n"), done(), query("select 1")],
        ),
        (
            "a bad row, then a Sync, in the extended protocol",
            vec![
                run(copy),
                data("x\n"),
                sync(),
                done(),
                sync(),
                query("select 1"),
            ],
        ),
        (
            "two in one text",
            vec![
                query("copy cp from stdin; select 1; copy cp from stdin; select count(*) from cp"),
                data("1\n"),
                done(),
                data("2\n"),
                done(),
            ],
        ),
        (
            "the first of two fails",
            vec![
                query("copy cp from stdin; copy cp from stdin"),
                data("x\n"),
                done(),
                query("select 1"),
            ],
        ),
        (
            "amid a batch",
            vec![
                run("insert into cp values (7)"),
                run(copy),
                data("8\n"),
                done(),
                run("select * from cp order by id"),
                sync(),
            ],
        ),
        (
            "out",
            vec![
                query("copy ex to stdout"),
                query("copy (select 1) to stdout (format binary)"),
            ],
        ),
        (
            "out in the extended protocol",
            vec![run("copy ex to stdout"), run("select 1"), sync()],
        ),
        (
            "out, failing",
            vec![
                query("copy (select 1/(3 - n) from generate_series(1, 5) n) to stdout"),
                run("copy nothing to stdout"),
                sync(),
            ],
        ),
        (
            "no COPY at all",
            vec![data("1\n"), done(), fail(), query("select 1")],
        ),
    ]);
}
