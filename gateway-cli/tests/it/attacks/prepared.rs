//! Statements and portals: what a name means is what the server thinks it means.

use super::{SHOP, leaks, world_with_writer};
use crate::support::wire::{bind, close, describe, execute, message, parse, query, sync, told};

const CLEAR: &str = "select id, title from products where id = 1";
const MASKED: &str = "select id, email from customers where id < 3 order by id";
const ADA: &str = "D(1,****@example.org)";

#[test]
fn names_never_mean_more_to_the_gateway_than_to_the_server() {
    let (_world, mut wire) = world_with_writer("");
    let bo = "D(2,****@example.net)";
    let both = format!("{ADA} {bo} C(SELECT 2)");
    let tea = "D(1,Tea) C(SELECT 1)";
    let conversations: &[(&str, Vec<u8>, usize, String)] = &[
        (
            "described once, executed later, in binary",
            [
                parse("m", MASKED),
                describe(b'S', "m"),
                sync(),
                bind("", "m", &[], 1),
                execute("", 0),
                sync(),
            ]
            .concat(),
            2,
            "1 t T Z(I) 2 D(\\x00\\x00\\x00\\x01,****@example.org) D(\\x00\\x00\\x00\\x02,****@example.net) C(SELECT 2) Z(I)".into(),
        ),
        (
            "never described",
            [bind("", "m", &[], 0), execute("", 0), sync()].concat(),
            1,
            format!("2 {both} Z(I)"),
        ),
        (
            "two portals, the other one described",
            [
                query("begin"),
                parse("c", CLEAR),
                bind("pc", "c", &[], 0),
                bind("pm", "m", &[], 0),
                describe(b'P', "pc"),
                execute("pm", 1),
                execute("pc", 0),
                execute("pm", 0),
                sync(),
                query("commit"),
            ]
            .concat(),
            3,
            format!("C(BEGIN) Z(T) 1 2 2 T {ADA} s {tea} {bo} C(SELECT 1) Z(T) C(COMMIT) Z(I)"),
        ),
        (
            "a portal suspended over a Sync and described in between",
            [
                query("begin"),
                bind("pm", "m", &[], 0),
                execute("pm", 1),
                sync(),
                describe(b'P', "pm"),
                execute("pm", 1),
                sync(),
                query("rollback"),
            ]
            .concat(),
            4,
            format!("C(BEGIN) Z(T) 2 {ADA} s Z(T) T {bo} s Z(T) C(ROLLBACK) Z(I)"),
        ),
        (
            "a portal's name used again for another statement",
            [
                query("begin"),
                bind("p", "c", &[], 0),
                describe(b'P', "p"),
                close(b'P', "p"),
                bind("p", "m", &[], 0),
                execute("p", 0),
                sync(),
                query("rollback"),
            ]
            .concat(),
            3,
            format!("C(BEGIN) Z(T) 2 T 3 2 {both} Z(T) C(ROLLBACK) Z(I)"),
        ),
        (
            "a failed Parse keeps the old statement",
            [
                parse("k", CLEAR),
                sync(),
                parse("k", "select nonsense("),
                sync(),
                bind("", "k", &[], 0),
                execute("", 0),
                sync(),
            ]
            .concat(),
            3,
            format!("1 Z(I) E(42601) Z(I) 2 {tea} Z(I)"),
        ),
        (
            "a refused Parse defines nothing",
            [
                close(b'S', "k"),
                sync(),
                parse("k", "select id from customers where email like 'a%'"),
                sync(),
                bind("", "k", &[], 0),
                execute("", 0),
                sync(),
            ]
            .concat(),
            3,
            "3 Z(I) E(42501) Z(I) E(26000) Z(I)".into(),
        ),
        (
            "Close and Parse behind an error are skipped",
            [
                parse("", "select nonsense("),
                close(b'S', "m"),
                parse("m", CLEAR),
                sync(),
                bind("", "m", &[], 0),
                execute("", 0),
                sync(),
            ]
            .concat(),
            2,
            format!("E(42601) Z(I) 2 {both} Z(I)"),
        ),
        (
            "a failed Bind's portal can't be executed",
            [bind("", "m", &["too", "many"], 0), execute("", 0), sync()].concat(),
            1,
            "E(08P01) Z(I)".into(),
        ),
        (
            "SQL fetches from no protocol portal",
            [
                query("begin"),
                bind("pm", "m", &[], 0),
                sync(),
                query("fetch all from pm"),
                query("rollback"),
            ]
            .concat(),
            4,
            "C(BEGIN) Z(T) 2 Z(T) E(42501) Z(E) C(ROLLBACK) Z(I)".into(),
        ),
        ("SQL executes no protocol statement", query("execute m"), 1, "E(42501) Z(I)".into()),
        (
            "the protocol executes no SQL cursor",
            [
                query("begin"),
                query("declare cc cursor for select title from products"),
                execute("cc", 0),
                sync(),
                query("rollback"),
            ]
            .concat(),
            4,
            "C(BEGIN) Z(T) C(DECLARE CURSOR) Z(T) E(34000) Z(E) C(ROLLBACK) Z(I)".into(),
        ),
        (
            "the protocol binds no SQL statement",
            [
                query("prepare sp as select title from products"),
                bind("", "sp", &[], 0),
                execute("", 0),
                sync(),
            ]
            .concat(),
            2,
            "C(PREPARE) Z(I) E(26000) Z(I)".into(),
        ),
        (
            "DISCARD ALL drops protocol statements",
            [query("discard all"), bind("", "m", &[], 0), execute("", 0), sync()].concat(),
            2,
            "C(DISCARD ALL) Z(I) E(26000) Z(I)".into(),
        ),
    ];
    for (what, bytes, ready, expected) in conversations {
        let replies = wire.ask_for(*ready, bytes);
        assert_eq!(told(&replies), *expected, "{what}");
        assert!(!leaks(&replies), "{what}");
    }
}

/// What stands in for a refused message must fail, or a refusal would run a statement of the
/// agent's without a verdict.
#[test]
fn no_statement_can_take_the_place_of_a_refused_one() {
    let (world, mut wire) = world_with_writer("");
    let name = "refused by the gateway";
    wire.query(&format!(
        "prepare \"{name}\" as insert into carts values (50, 1)"
    ));
    assert_eq!(
        told(&wire.ask(&[bind("", "nope", &[], 0), execute("", 0), sync()].concat())),
        "E(26000) Z(I)"
    );
    assert_eq!(
        told(&wire.ask(&[execute("nope", 0), sync()].concat())),
        "E(34000) Z(I)"
    );

    wire.ask(
        &[
            query("deallocate all"),
            parse(name, "insert into carts values (51, 1)"),
            sync(),
        ]
        .concat(),
    );
    wire.until_ready(1);
    let replies = wire.ask(
        &[
            bind(name, name, &[], 0),
            execute("nope", 0),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(told(&replies), "2 E(34000) Z(I)");
    wire.query("begin");
    wire.query(&format!(
        "declare \"{name}\" cursor with hold for select title from products"
    ));
    assert_eq!(
        told(&wire.ask(&[execute("nope", 0), sync()].concat())),
        "E(34000) Z(E)"
    );
    assert_eq!(
        world
            .postgres
            .psql("select count(*) from carts where id >= 50"),
        "0"
    );
}

/// A domain's check runs when a parameter is read as of that domain, which no cast in the text says.
#[test]
fn code_behind_a_parameter_s_type_tells_nothing() {
    let (world, mut wire) = world_with_writer(SHOP);
    let domain = world.postgres.psql("select 'watched'::regtype::oid");
    let types = [&[0, 1][..], &domain.parse::<u32>().unwrap().to_be_bytes()].concat();
    let typed = message(b'P', &[&b"\0select $1\0"[..], &types].concat());
    let replies = wire.ask(&[typed, bind("", "", &["1"], 0), execute("", 0), sync()].concat());
    assert!(!leaks(&replies), "{}", told(&replies));
    assert!(told(&replies).ends_with("Z(I)"), "{}", told(&replies));
}
