//! A denial behaves as the server's own error does, and what was denied has no effect.

use super::world_with_writer;
use crate::support::wire::{bind, execute, parse, query, sync, told};

/// One extended round of a statement, without its Sync.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[], 0), execute("", 0)].concat()
}

#[test]
fn a_denial_takes_what_came_before_it_in_the_same_transaction_along() {
    let (world, mut wire) = world_with_writer("");
    let insert = |id: u32| format!("insert into carts values ({id}, 1)");
    let cases: &[(&str, Vec<u8>, usize, &str)] = &[
        (
            "pipeline",
            [
                run(&insert(11)),
                run("drop table carts"),
                run(&insert(12)),
                sync(),
            ]
            .concat(),
            1,
            "1 2 C(INSERT 0 1) E(42501) Z(I)",
        ),
        (
            "one message",
            query(&format!("{}; drop table carts", insert(13))),
            1,
            "E(42501) Z(I)",
        ),
        (
            "a query behind an unfinished pipeline",
            [run(&insert(14)), query("drop table carts"), sync()].concat(),
            2,
            "1 2 C(INSERT 0 1) E(42501) Z(I) Z(I)",
        ),
        (
            "a transaction block",
            [
                query("begin"),
                query(&insert(15)),
                query("drop table carts"),
                query("select 1"),
                query("commit"),
            ]
            .concat(),
            5,
            "C(BEGIN) Z(T) C(INSERT 0 1) Z(T) E(42501) Z(E) E(25P02) Z(E) C(ROLLBACK) Z(I)",
        ),
        (
            "a masking refusal in a block",
            [
                query("begin"),
                query(&insert(16)),
                query("select id from customers where email like 'a%'"),
                query("commit"),
            ]
            .concat(),
            4,
            "C(BEGIN) Z(T) C(INSERT 0 1) Z(T) E(42501) Z(E) C(ROLLBACK) Z(I)",
        ),
        (
            "back to a savepoint",
            [
                query("begin"),
                query(&insert(17)),
                query("savepoint s"),
                query("drop table carts"),
                query("rollback to s"),
                query("commit"),
            ]
            .concat(),
            6,
            "C(BEGIN) Z(T) C(INSERT 0 1) Z(T) C(SAVEPOINT) Z(T) E(42501) Z(E) C(ROLLBACK) Z(T) C(COMMIT) Z(I)",
        ),
        (
            "the next pipeline is free of it",
            [run("drop table carts"), sync(), run(&insert(18)), sync()].concat(),
            2,
            "E(42501) Z(I) 1 2 C(INSERT 0 1) Z(I)",
        ),
    ];
    for (what, bytes, ready, expected) in cases {
        assert_eq!(told(&wire.ask_for(*ready, bytes)), *expected, "{what}");
    }
    assert_eq!(
        world
            .postgres
            .psql("select string_agg(id::text, ',' order by id) from carts where id > 10"),
        "17,18"
    );
    assert!(
        !world.postgres.log().contains("drop table"),
        "no denied text reached the target"
    );
}

#[test]
fn writes_that_hide_are_refused() {
    let (world, mut wire) = world_with_writer("");
    let before = world.postgres.psql("select count(*) from carts");
    for sql in [
        "/* */ DeLeTe /* x */ from carts",
        "with d as (delete from carts where id = 1 returning *) select 1 from products where false",
        "explain analyze delete from carts",
        "prepare d as delete from carts",
        "update carts set customer_id = 1 where true",
        "update carts set customer_id = 1",
        "truncate carts",
        "do $$ begin delete from carts; end $$",
        "select 1; drop table carts",
        "copy (delete from carts returning id) to stdout",
        "copy carts to program 'cat'",
        "copy carts from program 'echo 9'",
        "drop table carts cascade",
        "alter table carts add x integer",
        "create table x as select 1",
        "create temp table x (y integer)",
        "select 1 as x into y",
        "grant all on carts to public",
        "alter role gateway superuser",
        "create function f() returns integer language sql as 'select 1'",
        "call nothing()",
        "vacuum full carts",
        "lock table carts",
        "lock table products in row exclusive mode",
        "reindex table carts",
        "comment on table carts is 'x'",
        "alter system set work_mem = '1MB'",
        "load 'x'",
        "notify x, 'y'; drop table carts",
        "select pg_terminate_backend(pg_backend_pid())",
        "select lo_import('/etc/hostname')",
        "insert into products values (9, 'x', 'x', 1)",
        "execute immediate 'drop table carts'",
        "dro\u{0440} table carts",
    ] {
        let extended = [run(sql), sync()].concat();
        for bytes in [query(sql), extended] {
            let words = told(&wire.ask(&bytes));
            // What isn't SQL is told to be none.
            let refused = ["E(42501) Z(I)", "E(42601) Z(I)"];
            assert!(refused.contains(&words.as_str()), "{sql}: {words}");
        }
    }
    assert_eq!(world.postgres.psql("select count(*) from carts"), before);
}
