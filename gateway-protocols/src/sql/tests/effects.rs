//! What texts do.

use super::*;

/// Text and effects; `opaque *` stands first where something isn't understood.
pub(super) const CASES: &[(&str, &str)] = &[
    ("select 1", ""),
    (
        "select * from orders o, products where o.id = products.id",
        "select public.orders, select public.products",
    ),
    (
        "select now(), lower(note) from orders",
        "select public.orders, call public.lower()",
    ),
    (
        "select pg_catalog.lower(note), app.purge(1) from orders",
        "select public.orders, call app.purge()",
    ),
    (
        "select o.purge from orders o",
        "select public.orders, call public.purge()",
    ),
    (
        "select (o).purge, (o.x).pg_sleep from orders o",
        "select public.orders, call pg_catalog.pg_sleep(), call public.purge()",
    ),
    (
        "select nextval('ticket'), pg_sleep(1)",
        "call pg_catalog.nextval(), call pg_catalog.pg_sleep()",
    ),
    (
        "select 1 @@@ 2 from orders",
        "select public.orders, call public.@@@()",
    ),
    ("select * from shop.public.orders", "select public.orders"),
    (
        "select * from other.public.orders",
        "opaque *, select public.orders",
    ),
    ("select * from nosuch", "opaque *, select database"),
    ("select * from pg_temp.t", "opaque *, select database"),
    ("with orders as (select 1) select * from orders", ""),
    (
        "with orders as (select 1) delete from orders",
        "delete public.orders",
    ),
    (
        "with a as (select * from b), b as (select 1) select * from a",
        "opaque *, select database",
    ),
    (
        "with recursive a as (select * from b), b as (select 1) select * from a",
        "",
    ),
    (
        "with secrets as (select * from secrets) select * from secrets",
        "select public.secrets",
    ),
    (
        "select * from orders where id in (with d as (delete from products returning id) select id from d)",
        "select public.orders, select public.products, delete public.products",
    ),
    (
        "select * from orders for update",
        "select public.orders, session public.orders",
    ),
    (
        "select * from orders o join products p on true for share of o",
        "select public.orders, select public.products, session public.orders, session public.products",
    ),
    (
        "select 1 into copied from orders",
        "select public.orders, create public.copied",
    ),
    (
        "insert into orders select * from products returning id",
        "select public.orders, select public.products, insert public.orders",
    ),
    (
        "insert into orders(id) values (1) on conflict (id) do update set note = ''",
        "insert public.orders, update public.orders",
    ),
    (
        "insert into orders(id) values (1) on conflict do nothing",
        "insert public.orders",
    ),
    (
        "update orders set note = s.value from secrets s where s.id = orders.id",
        "select public.secrets, update public.orders",
    ),
    (
        "delete from orders using products where true",
        "select public.products, delete public.orders",
    ),
    (
        "merge into orders o using products p on o.id = p.id when matched and p.id > 1 then delete when matched then update set note = '' when not matched then insert values (1)",
        "select public.products, insert public.orders, update public.orders, delete public.orders, merge public.orders",
    ),
    ("truncate customers", "truncate public.customers"),
    (
        "truncate customers cascade",
        "truncate public.customers, truncate public.orders",
    ),
    ("copy orders to stdout", "copy_out public.orders"),
    (
        "copy (select * from orders) to stdout",
        "select public.orders, copy_out public.orders",
    ),
    ("copy orders from stdin", "copy_in public.orders"),
    (
        "copy orders from '/etc/passwd'",
        "insert public.orders, file *",
    ),
    (
        "copy orders to program 'sh'",
        "select public.orders, file *",
    ),
    ("explain analyze delete from orders", "delete public.orders"),
    (
        "prepare p as delete from orders",
        "delete public.orders, session *",
    ),
    ("execute p", "opaque *, session *"),
    (
        "declare c cursor for select * from secrets",
        "select public.secrets, session *",
    ),
    ("fetch c", "session *"),
    (
        "do $$ begin delete from orders; end $$",
        "opaque *, call database",
    ),
    (
        "call app.purge((select 1 from secrets))",
        "select public.secrets, call app.purge()",
    ),
    (
        "create table t (id int default purge(1) references orders)",
        "select public.orders, create public.t, call public.purge()",
    ),
    (
        "create temp table t as select * from orders",
        "select public.orders, create pg_temp.t",
    ),
    (
        "create temp view orders as select * from secrets",
        "opaque *, select public.secrets, create pg_temp.orders",
    ),
    (
        "create view v as select * from secrets",
        "select public.secrets, create public.v",
    ),
    (
        "create table t partition of events for values in (1)",
        "select public.events, create public.t, alter public.events",
    ),
    (
        "create foreign table f (id int) server s",
        "create public.f, file *",
    ),
    (
        "create index on orders (lower(note))",
        "create public.orders, call public.lower()",
    ),
    ("create sequence s", "create public.s"),
    (
        "create schema x authorization y create table t (id int)",
        "opaque *, create x.*, create public.t, grant database",
    ),
    (
        "create function f() returns int language sql return (select count(*) from secrets)",
        "select public.secrets, create public.f()",
    ),
    (
        "create procedure app.p() language sql as ''",
        "create app.p()",
    ),
    (
        "create trigger t before insert on orders for each row execute function purge()",
        "alter public.orders, call public.purge()",
    ),
    (
        "create rule r as on insert to orders do also delete from products",
        "delete public.products, alter public.orders",
    ),
    (
        "create policy p on orders using (true)",
        "grant public.orders",
    ),
    ("create type x as enum ('a')", "create public.*"),
    ("create extension hstore", "extension *"),
    ("create role r", "role *"),
    (
        "create publication p for table orders",
        "select public.orders, replication *",
    ),
    (
        "create subscription s connection 'host=x' publication p",
        "replication *",
    ),
    ("create server s foreign data wrapper w", "file *"),
    ("create database d", "system *"),
    (
        "create event trigger e on ddl_command_start execute function purge()",
        "system *, call public.purge()",
    ),
    (
        "create statistics st on id, note from orders",
        "select public.orders, create database",
    ),
    (
        "alter table orders add column x int default purge(2)",
        "alter public.orders, call public.purge()",
    ),
    (
        "alter table orders owner to r",
        "alter public.orders, grant public.orders",
    ),
    (
        "alter table orders enable row level security",
        "alter public.orders, grant public.orders",
    ),
    (
        "alter table events attach partition orders default",
        "select public.orders, alter public.events, alter public.orders",
    ),
    ("alter table orders rename to o", "alter public.orders"),
    (
        "alter table orders rename column note to n",
        "alter public.orders",
    ),
    ("alter index i rename to j", "alter database"),
    ("alter schema app owner to r", "grant app.*"),
    ("alter system set work_mem = '1GB'", "system *"),
    ("alter role r set search_path = x", "role *"),
    (
        "alter default privileges grant select on tables to r",
        "grant database",
    ),
    (
        "alter function purge(int) owner to r",
        "grant public.purge()",
    ),
    (
        "drop table orders, products",
        "drop public.orders, drop public.products",
    ),
    (
        "drop table orders cascade",
        "drop database, drop public.orders",
    ),
    ("drop schema app", "drop app.*"),
    ("drop function purge(int)", "drop public.purge()"),
    ("drop function app.purge(int)", "drop app.purge()"),
    ("drop index i", "drop database"),
    ("drop role r", "role *"),
    ("drop extension hstore", "extension *"),
    ("drop trigger t on orders", "drop public.orders"),
    ("drop policy p on orders", "grant public.orders"),
    ("drop owned by r", "drop database, grant database"),
    ("reassign owned by r to s", "grant database"),
    ("grant select on orders to r", "grant public.orders"),
    (
        "grant execute on function app.purge(int) to r",
        "grant app.purge()",
    ),
    ("grant all on all tables in schema app to r", "grant app.*"),
    ("revoke dba from r", "role *"),
    ("comment on table orders is 'x'", "alter public.orders"),
    (
        "comment on column orders.note is 'x'",
        "alter public.orders",
    ),
    (
        "security label on table orders is 'x'",
        "alter public.orders",
    ),
    ("vacuum full", "maintain database"),
    ("vacuum orders", "maintain public.orders"),
    (
        "analyze orders, products",
        "maintain public.orders, maintain public.products",
    ),
    ("reindex table orders", "maintain public.orders"),
    (
        "refresh materialized view customer_emails",
        "maintain public.customer_emails",
    ),
    ("cluster", "maintain database"),
    ("checkpoint", "maintain *"),
    ("load 'x'", "system *"),
    ("begin; commit", "session *"),
    ("prepare transaction 'x'", "opaque *, session *"),
    ("commit prepared 'x'", "opaque *, session *"),
    ("listen c", "session *"),
    ("notify c, 'x'", "session *"),
    ("discard all", "session *"),
    ("deallocate p", "session *"),
    ("lock table orders", "maintain public.orders"),
    (
        "lock table orders in access share mode",
        "session public.orders",
    ),
    ("set work_mem = '1GB'", "session $work_mem"),
    ("set search_path = app", "opaque *, session $search_path"),
    ("set search_path = ''", "session $search_path"),
    (
        "set standard_conforming_strings = off",
        "opaque *, session $standard_conforming_strings",
    ),
    (
        "set local standard_conforming_strings = on",
        "session $standard_conforming_strings",
    ),
    ("set names 'sjis'", "opaque *, session $client_encoding"),
    ("set role r", "role *"),
    ("set session authorization r", "role *"),
    ("reset role", "role *"),
    ("reset search_path", "session $search_path"),
    ("show server_version", "session $server_version"),
    ("select set_config('role', 'r', false)", "role *"),
    (
        "select set_config('work_mem', '1', false)",
        "session $work_mem",
    ),
    (
        "select set_config('work_mem', note, false) from orders",
        "select public.orders, call pg_catalog.set_config(), session $work_mem",
    ),
    (
        "select set_config(note, 'x', false) from orders",
        "opaque *, select public.orders, call pg_catalog.set_config()",
    ),
    (
        "update pg_settings set setting = 'off'",
        "opaque *, update pg_catalog.pg_settings",
    ),
    (
        "delete from pg_class",
        "opaque *, delete pg_catalog.pg_class",
    ),
    (
        "select * from information_schema.columns",
        "select information_schema.columns",
    ),
    (
        "alter table secrets rename to x; select * from orders",
        "opaque *, select public.orders, alter public.secrets",
    ),
    ("select json_exists('{}', '$')", "call public.json_exists()"),
    (
        "select 1 from orders order by id using operator(public.<)",
        "select public.orders, call public.<()",
    ),
    ("selec 1", "opaque *"),
    (
        "import foreign schema x from server s into app",
        "create app.*, file *",
    ),
    ("create user mapping for r server s", "file *"),
    (
        "alter table orders replica identity full",
        "alter public.orders",
    ),
    (
        "create cast (text as int) without function",
        "create database",
    ),
    (
        "create aggregate agg(int) (sfunc = purge, stype = int)",
        "create public.*",
    ),
    (
        "create domain app.d as int check (purge(value) > 0)",
        "create app.*, call public.purge()",
    ),
    (
        "create transform for int language sql (from sql with function purge(int))",
        "create database",
    ),
];

#[test]
fn effects_follow_grammar_and_catalogue() {
    let (snapshot, classified) = (shop(), Classified::default());
    let mut wrong = Vec::new();
    for (text, expected) in CASES {
        let found = effects_of(&on_analysis_stack(|| {
            analysed(text, &snapshot, &classified)
        }));
        if found != *expected {
            wrong.push(format!("(\"{text}\", \"{found}\"),"));
        }
    }
    assert!(wrong.is_empty(), "found instead:\n{}", wrong.join("\n"));
}

#[test]
fn facts_are_the_texts_worst() {
    let (snapshot, classified) = (shop(), Classified::default());
    let cases = [
        ("select 1", "1 where read"),
        ("", "0 where read"),
        ("select * from orders limit 5", "1 where read limit=5"),
        ("select * from orders limit all", "1 where read"),
        ("select * from orders limit $1", "1 where read"),
        ("(select * from orders limit 5)", "1 where read limit=5"),
        (
            "select * from orders order by id fetch first 5 rows with ties",
            "1 where read",
        ),
        ("select 1 limit 2; select 2 limit 7", "2 where read limit=7"),
        ("select 1 limit 2; select 2", "2 where read"),
        ("delete from orders", "1 write"),
        ("delete from orders where id = 1", "1 where write"),
        (
            "update orders set note = '' where true",
            "1 where constant write",
        ),
        ("delete from orders where 1 = 1", "1 where constant write"),
        ("delete from orders where id = id", "1 where constant write"),
        (
            "delete from orders where id = 1 or true",
            "1 where constant write",
        ),
        ("delete from orders where id = 1 and true", "1 where write"),
        (
            "delete from orders where note like '%'",
            "1 where constant write",
        ),
        (
            "delete from orders where ctid is not null",
            "1 where constant write",
        ),
        (
            "delete from orders where random() < 2",
            "1 where constant write",
        ),
        ("delete from orders where id = $1", "1 where write"),
        (
            "update orders o set note = '' from products p where o.id = p.id",
            "1 where write",
        ),
        ("with d as (delete from orders) select 1", "1 write"),
        (
            "delete from orders where id = 1; delete from products",
            "2 write",
        ),
        ("explain delete from orders", "1 write"),
        ("select * from orders for update", "1 where write"),
        ("set work_mem = '1MB'", "1 where read"),
        ("copy orders to stdout", "1 where read"),
        ("copy orders from stdin", "1 where write"),
        ("select 1 into t", "1 where write"),
    ];
    for (text, expected) in cases {
        let facts = on_analysis_stack(|| analysed(text, &snapshot, &classified)).facts;
        let mut found = facts.statement_count.to_string();
        found += if facts.has_where { " where" } else { "" };
        found += if facts.where_is_constant {
            " constant"
        } else {
            ""
        };
        found += if facts.read_only { " read" } else { " write" };
        if let Some(limit) = facts.limit {
            found += &format!(" limit={limit}");
        }
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn statements_have_their_commands_and_spans() {
    let (snapshot, classified) = (shop(), Classified::default());
    let text = "begin; select 1 ; /* x */ create table t (id int);;drop view v; savepoint s;commit";
    let analysis = on_analysis_stack(|| analysed(text, &snapshot, &classified));
    let found: Vec<_> = analysis
        .statements
        .iter()
        .map(|s| {
            let text = text.get(s.span.clone()).unwrap().trim();
            (
                s.command.as_str(),
                text,
                s.changes_catalogue,
                s.controls_transaction,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("BEGIN", "begin", false, true),
            ("SELECT", "select 1", false, false),
            ("CREATE TABLE", "create table t (id int)", true, false),
            ("DROP VIEW", "drop view v", true, false),
            ("SAVEPOINT", "savepoint s", false, false),
            ("COMMIT", "commit", false, true),
        ]
    );
}
