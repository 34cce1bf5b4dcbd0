//! What the target itself would say of texts that it can't run.

use super::*;

/// Text, and SQLSTATE, position and message; empty where it may run.
const MISTAKES: &[(&str, &str)] = &[
    ("select 1", ""),
    ("select id from customers", ""),
    ("selekt 1", "42601 1 syntax error at or near \"selekt\""),
    ("select", ""),
    ("select 1 +", "42601 11 syntax error at end of input"),
    ("select 1 + ", "42601 12 syntax error at end of input"),
    (
        "select * from from customers",
        "42601 15 syntax error at or near \"from\"",
    ),
    (
        "select 'ä', from from customers",
        "42601 13 syntax error at or near \"from\"",
    ),
    ("select (1, 2", "42601 13 syntax error at end of input"),
    ("select ) from ) t", "42601 8 syntax error at or near \")\""),
    (
        "select 1; select 2 2 2",
        "42601 20 syntax error at or near \"2\"",
    ),
    (
        "select 'open",
        "42601 8 unterminated quoted string at or near \"'open\"",
    ),
    (
        "select \"open",
        "42601 8 unterminated quoted identifier at or near \"\"open\"",
    ),
    (
        "select /* open",
        "42601 8 unterminated /* comment at or near \"/* open\"",
    ),
    (
        "(select 1 limit 1) limit 2",
        "42601 - multiple LIMIT clauses not allowed",
    ),
    (
        "select 12abc",
        "42601 8 trailing junk after numeric literal at or near \"12abc\"",
    ),
    (
        "select * from nope",
        "42P01 15 relation \"nope\" does not exist",
    ),
    (
        "select * from \"No pe\"",
        "42P01 15 relation \"No pe\" does not exist",
    ),
    (
        "select * from public.nope",
        "42P01 15 relation \"public.nope\" does not exist",
    ),
    (
        "select * from nowhere.customers",
        "42P01 15 relation \"nowhere.customers\" does not exist",
    ),
    (
        "select 'ä' from nope",
        "42P01 17 relation \"nope\" does not exist",
    ),
    (
        "select * from customers, nope",
        "42P01 26 relation \"nope\" does not exist",
    ),
    (
        "select (select 1 from nope)",
        "42P01 23 relation \"nope\" does not exist",
    ),
    ("with nope as (select 1) select * from nope", ""),
    (
        "insert into nope values (1)",
        "42P01 13 relation \"nope\" does not exist",
    ),
    (
        "update nope set a = 1",
        "42P01 8 relation \"nope\" does not exist",
    ),
    (
        "delete from nope",
        "42P01 13 relation \"nope\" does not exist",
    ),
    (
        "copy nope to stdout",
        "42P01 - relation \"nope\" does not exist",
    ),
    (
        "copy nope from stdin",
        "42P01 - relation \"nope\" does not exist",
    ),
    ("truncate nope", "42P01 - relation \"nope\" does not exist"),
    (
        "explain select * from nope",
        "42P01 23 relation \"nope\" does not exist",
    ),
    (
        "declare c cursor for select * from nope",
        "42P01 36 relation \"nope\" does not exist",
    ),
    (
        "select 1; select * from nope",
        "42P01 25 relation \"nope\" does not exist",
    ),
    // What came before would stay.
    ("delete from customers; commit; select * from nope", ""),
    // It may have been created, or needn't be there.
    ("create table nope (id int); select * from nope", ""),
    ("drop table if exists nope", ""),
    ("alter table if exists nope add a int", ""),
];

#[test]
fn what_cant_run_is_called_what_the_target_calls_it() {
    let (snapshot, classified) = (shop(), classification(&shop()));
    for (text, expected) in MISTAKES {
        let found = on_analysis_stack(|| analysed(text, &snapshot, &classified).mistake);
        let found = found.map_or(String::new(), |mistake| {
            let position = mistake.position.map_or("-".to_owned(), |p| p.to_string());
            format!("{} {position} {}", mistake.code, mistake.message)
        });
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn a_place_that_would_cost_much_isnt_looked_for() {
    let many = format!("select {}", "1 ,".repeat(40_000));
    let many = format!("{many} , 1");
    let mistake = on_analysis_stack(|| analysed(&many, &shop(), &classification(&shop())).mistake);
    let mistake = mistake.unwrap();
    assert_eq!((mistake.code, mistake.position), ("42601", None));
}
