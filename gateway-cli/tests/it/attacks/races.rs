//! An administrator changes the database while agents' sessions are open.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{leaks, world_with_writer};
use crate::support::{
    Agent,
    wire::{bind, close, execute, parse, query, sync, told},
};

/// How long a change may stay unseen that the wire itself can't see: catalogues are looked at ten times
/// a second, and read anew where they have changed. Machines that run tests are busy.
const UNSEEN_MAX: Duration = Duration::from_secs(2);

#[test]
fn changes_of_the_database_reach_sessions_that_are_open() {
    let (world, mut wire) = world_with_writer(
        "create view titles as select id, title from products;
         create function tell() returns text language sql as 'select email from customers limit 1';
         grant all on all tables in schema public to gateway",
    );
    let (view, row) = ("select title from titles", "select p.shout from products p");
    assert_eq!(
        told(&wire.query("select title from titles where id = 1")),
        "T D(Tea) C(SELECT 1) Z(I)"
    );
    wire.ask(&[parse("v", view), sync()].concat());
    world.postgres.psql(
        "create or replace view titles as select id, email as title from customers;
         create function shout(products) returns text language sql as 'select email from customers limit 1'",
    );
    let changed = Instant::now();
    while changed.elapsed() < UNSEEN_MAX {
        // Both have to have been asked before, so that sessions have something to forget.
        wire.query(view);
        wire.query(row);
        std::thread::sleep(Duration::from_millis(100));
    }
    let prepared = [bind("", "v", &[], 0), execute("", 0), sync()].concat();
    for (what, replies, expected) in [
        ("a text known before", wire.query(view), "D(****@"),
        (
            "a new text",
            wire.query("select title from titles limit 2"),
            "D(****@",
        ),
        (
            "a statement prepared before, without masks",
            wire.ask(&prepared),
            "E(0A000)",
        ),
        (
            "a column that is a function now",
            wire.query(row),
            "E(42501)",
        ),
    ] {
        let words = told(&replies);
        assert!(!leaks(&replies), "{what}: {words}");
        assert!(words.contains(expected), "{what}: {words}");
    }
}

#[test]
fn changes_that_show_on_the_wire_are_never_unseen() {
    let changes: &[(&str, &str, &str, &str)] = &[
        (
            "customers takes the place of another table",
            "select title from products",
            "alter table products rename to old; alter table customers rename to products; alter table products rename email to title",
            "alter table products rename title to email; alter table products rename to customers; alter table old rename to products",
        ),
        (
            "columns change their names",
            "select name from customers where id = 1",
            "alter table customers rename name to n; alter table customers rename email to name",
            "alter table customers rename name to email; alter table customers rename n to name",
        ),
        (
            "a classified column is dropped and made anew",
            "select phone from customers where id = 1",
            "alter table customers rename phone to p; alter table customers add phone text; update customers set phone = p; alter table customers drop p",
            "select 1",
        ),
    ];
    for (what, sql, change, back) in changes {
        let (world, mut wire) = world_with_writer("");
        assert!(!leaks(&wire.query(sql)), "{what}");
        world.postgres.psql(change);
        let replies = wire.query(sql);
        assert!(!leaks(&replies), "{what}: {}", told(&replies));
        world.postgres.psql(back);
    }
}

#[test]
fn code_that_an_administrator_adds_tells_nothing_through_errors_and_notices() {
    let (world, mut wire) =
        world_with_writer("grant select on all tables in schema public to gateway");
    assert_eq!(
        told(&wire.query("select title from products where id = 1")),
        "T D(Tea) C(SELECT 1) Z(I)"
    );
    world.postgres.psql(
        "create function p() returns boolean language plpgsql as $$
            begin raise notice 'it is %', (select email from customers where id = 1); return true; end $$;
         alter table products enable row level security;
         create policy p on products using (p())",
    );
    let replies = wire.query("select title from products where id = 1");
    assert!(!leaks(&replies), "{}", told(&replies));
}

/// Classified columns change names with each other, and their table its own, as fast as that goes.
/// Whatever the gateway knows of it at any moment, what the agent sees is masked.
#[test]
fn a_catalogue_that_changes_under_way_never_unmasks() {
    const ROUNDS: usize = 30_000;
    let (world, mut wire) = world_with_writer("");
    let swap = "begin; alter table customers rename email to other; alter table customers rename phone to email; \
                alter table customers rename other to phone; commit;\n";
    let away = "begin; alter table customers rename to elsewhere; commit; alter table elsewhere rename to customers;\n";
    let script = world.path("races.sql");
    std::fs::write(&script, format!("{swap}{away}{swap}").repeat(ROUNDS / 3)).unwrap();
    let over = AtomicBool::new(false);
    let statements = [
        "select id, email, phone from customers order by id",
        "select lower(email), phone || '' from customers",
        "select c from customers c",
        "select * from customers where id = 1",
        "select to_jsonb(c) from customers c",
        "select max(email), min(phone) from customers",
    ];
    let (mut said, mut masked) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let changes = world.postgres.psql_file(&script);
            assert_eq!((changes.code, changes.stderr.as_str()), (Some(0), ""));
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            for (n, sql) in statements.iter().enumerate() {
                let name = format!("s{n}");
                let prepared = [close(b'S', &name), parse(&name, sql), sync()].concat();
                let executed = [bind("", &name, &[], 0), execute("", 0), sync()].concat();
                for bytes in [query(sql), prepared, executed.clone(), executed] {
                    let replies = wire.ask(&bytes);
                    assert!(!leaks(&replies), "{sql}: {}", told(&replies));
                    said += 1;
                    masked += usize::from(replies.iter().any(|reply| reply.tag == 'D'));
                    if !replies.iter().any(|reply| reply.tag == 'Z') {
                        wire = world.wire(Agent::Writer);
                    }
                }
            }
        }
    });
    assert!(said > 1000 && masked > 100, "{masked} results of {said}");
    assert_eq!(
        world
            .postgres
            .psql("select count(*) from customers where email like '%@%'"),
        "3"
    );
}
