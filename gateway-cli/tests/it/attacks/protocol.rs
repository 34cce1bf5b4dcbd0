//! Messages that no client would send, and messages where they don't belong.

use std::{io::Write as _, time::Duration};

use super::world_with_writer;
use crate::support::{
    Agent,
    wire::{
        PROTOCOL_3_0, SSL_REQUEST, bind, drain, execute, message, parse, plain, query, sync, told,
    },
};

#[test]
fn malformed_messages_end_the_session_and_nothing_else() {
    let (world, mut bystander) = world_with_writer("");
    let cases: &[(&str, Vec<u8>)] = &[
        ("negative length", b"Q\xff\xff\xff\xfb".to_vec()),
        ("length below four", b"Q\0\0\0\x03".to_vec()),
        ("a gigabyte of query", b"Q\x40\0\0\0select".to_vec()),
        ("two gigabytes of copy data", b"d\x7f\xff\xff\xffx".to_vec()),
        (
            "zero byte in a query",
            message(b'Q', b"select 1\0drop table carts\0"),
        ),
        ("query without its end", message(b'Q', b"select 1")),
        ("query that isn't UTF-8", message(b'Q', b"select '\xff'\0")),
        ("sync with a body", message(b'S', b"x")),
        ("parse cut short", message(b'P', b"a\0select 1\0\0\x05")),
        (
            "bind with a negative length",
            message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfb\0\0"),
        ),
        (
            "bind with too many values",
            message(b'B', b"\0\0\0\0\xff\xff\0\0"),
        ),
        ("unknown tag", message(b'!', b"x")),
        ("a server's message", message(b'Z', b"I")),
        ("password after the login", message(b'p', b"x\0")),
        ("a second SSLRequest", SSL_REQUEST.to_vec()),
    ];
    for (what, bytes) in cases {
        let mut wire = world.wire(Agent::Writer);
        let words = told(&wire.ask(bytes));
        assert_eq!(words, "E(08P01) EOF", "{what}");
    }
    assert_eq!(
        told(&bystander.query("select 1")),
        "T D(1) C(SELECT 1) Z(I)"
    );
    assert!(!world.postgres.log().contains("drop table"));
}

#[test]
fn messages_out_of_place_are_ignored_or_refused_as_the_server_would() {
    let (world, mut wire) = world_with_writer("");
    let one = || query("select 1");
    let after = "T D(1) C(SELECT 1) Z(I)";
    let cases: &[(&str, Vec<u8>, usize, &str)] = &[
        ("copy data", message(b'd', b"9\t1\n"), 0, ""),
        ("copy done", message(b'c', b""), 0, ""),
        ("copy fail", message(b'f', b"x\0"), 0, ""),
        (
            "function call",
            message(b'F', b"\0\0\x03\x67\0\0\0\x01\0\0\0\x01x\0\0"),
            1,
            "E(0A000) Z(I) ",
        ),
        (
            "unknown statement",
            [bind("", "nope", &[], 0), sync()].concat(),
            1,
            "E(26000) Z(I) ",
        ),
        (
            "unknown portal",
            [execute("nope", 0), sync()].concat(),
            1,
            "E(34000) Z(I) ",
        ),
        ("nothing", query(""), 1, "I Z(I) "),
    ];
    for (what, bytes, ready, expected) in cases {
        let replies = wire.ask_for(ready + 1, &[bytes.clone(), one()].concat());
        assert_eq!(told(&replies), format!("{expected}{after}"), "{what}");
    }
    wire.send(
        &[
            message(b'X', b""),
            query("insert into carts values (60, 1)"),
        ]
        .concat(),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        world
            .postgres
            .psql("select count(*) from carts where id = 60"),
        "0"
    );
}

#[test]
fn copy_takes_what_the_server_takes() {
    let (world, mut wire) = world_with_writer("");
    let begin = || query("copy carts (id, customer_id) from stdin");
    let row = |id: u8| message(b'd', format!("{id}\t1\n").as_bytes());
    let done = || message(b'c', b"");
    let cases: &[(&str, Vec<u8>, usize, &str)] = &[
        (
            "pipelined",
            [begin(), row(21), done()].concat(),
            1,
            "G C(COPY 1) Z(I)",
        ),
        (
            "sync inside",
            [begin(), row(22), sync(), row(23), done()].concat(),
            1,
            "G C(COPY 2) Z(I)",
        ),
        (
            "given up",
            [begin(), row(24), message(b'f', b"no\0")].concat(),
            1,
            "G E(57014) Z(I)",
        ),
        (
            "a bad row, and a query behind",
            [begin(), message(b'd', b"x\ty\n"), done(), query("select 2")].concat(),
            2,
            "G E(22P02) Z(I) T D(2) C(SELECT 1) Z(I)",
        ),
        (
            "refused, with its data behind",
            [
                query("copy customers from stdin"),
                row(25),
                done(),
                query("select 2"),
            ]
            .concat(),
            2,
            "E(42501) Z(I) T D(2) C(SELECT 1) Z(I)",
        ),
        (
            "extended",
            [
                parse("", "copy carts (id, customer_id) from stdin"),
                bind("", "", &[], 0),
                execute("", 0),
                sync(),
                row(26),
                done(),
                sync(),
            ]
            .concat(),
            1,
            "1 2 G C(COPY 1) Z(I)",
        ),
    ];
    for (what, bytes, ready, expected) in cases {
        assert_eq!(told(&wire.ask_for(*ready, bytes)), *expected, "{what}");
    }
    assert_eq!(
        world
            .postgres
            .psql("select string_agg(id::text, ',' order by id) from carts where id > 20"),
        "21,22,23,26"
    );
    let words = told(&wire.ask(&[begin(), query("select email from customers")].concat()));
    assert_eq!(words, "G E(08P01) EOF", "a query inside COPY");
}

#[test]
fn a_session_chopped_into_bytes_is_decided_as_a_whole_one() {
    let (_world, mut wire) = world_with_writer("");
    let bytes = [
        parse("", "select id, email from customers where id = $1"),
        bind("", "", &["1"], 0),
        execute("", 0),
        sync(),
        query("drop table carts"),
        query("select 3"),
    ]
    .concat();
    let whole = told(&wire.ask_for(3, &bytes));
    assert_eq!(
        whole,
        "1 2 D(1,****@example.org) C(SELECT 1) Z(I) E(42501) Z(I) T D(3) C(SELECT 1) Z(I)"
    );
    for byte in bytes {
        wire.send(&[byte]);
    }
    assert_eq!(told(&wire.until_ready(3)), whole);
}

#[test]
fn floods_are_answered_and_don_t_grow_the_gateway() {
    let (world, mut wire) = world_with_writer("");
    wire.patience(Duration::from_secs(30));
    let before = world.gateway.resident_kib();
    let empty = query("").repeat(20_000);
    // Answers are read only after all of it was sent: what isn't read must hold the sender up.
    let replies = std::thread::scope(|scope| {
        let mut sender = world.wire(Agent::Writer);
        let other = scope.spawn(move || sender.ask_for(5_000, &sync().repeat(5_000)).len());
        let replies = wire.ask_for(20_000, &empty).len();
        (replies, other.join().unwrap())
    });
    assert_eq!(replies, (40_000, 5_000));
    let grown = world.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
}

#[test]
fn an_agent_that_reads_slowly_costs_no_memory() {
    let (world, mut wire) = world_with_writer("");
    let before = world.gateway.resident_kib();
    wire.send(&query(
        "select repeat(title, 100), a from products, generate_series(1, 1000) a, generate_series(1, 1000) b",
    ));
    assert_eq!(wire.receive().tag, 'T');
    let mut most = 0;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(world.gateway.resident_kib());
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
}

#[test]
fn nothing_gets_in_beside_tls() {
    let (world, _wire) = world_with_writer("");
    let port = world.gateway.port();
    let startup = {
        let body = [
            &PROTOCOL_3_0.to_be_bytes()[..],
            b"user\0x\0database\0shop\0\0",
        ]
        .concat();
        let len = u32::try_from(body.len() + 4).unwrap();
        [&len.to_be_bytes()[..], &body].concat()
    };
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    let cases: &[(&str, Vec<u8>, &[u8])] = &[
        ("a login without TLS", startup.clone(), b"28000"),
        (
            "plaintext behind the SSLRequest",
            [&SSL_REQUEST[..], &startup].concat(),
            b"E",
        ),
        ("GSS encryption", gss.to_vec(), b"N"),
        (
            "another protocol",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"08P01",
        ),
        ("a gigabyte of startup", vec![0x40, 0, 0, 0], b"08P01"),
        ("a startup of nothing", vec![0, 0, 0, 4], b"08P01"),
    ];
    for (what, bytes, expected) in cases {
        let mut stream = plain(port);
        stream.write_all(bytes).unwrap();
        // The gateway may have hung up before.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let said = drain(stream);
        let found = said.windows(expected.len()).any(|part| part == *expected);
        assert!(found, "{what}: {}", said.escape_ascii());
    }
    let mut stream = plain(port);
    stream.write_all(&SSL_REQUEST).unwrap();
    let _ = stream.write_all(&[0x99; 300]);
    let said = drain(stream);
    assert!(
        !said.windows(5).any(|part| part == b"Tea"),
        "{}",
        said.escape_ascii()
    );
    assert_eq!(
        told(&world.wire(Agent::Reader).query("select 1")),
        "T D(1) C(SELECT 1) Z(I)"
    );
}
