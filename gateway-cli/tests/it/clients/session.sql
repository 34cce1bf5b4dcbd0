-- What psql can do in one session, on a direct connection and through the gateway alike.
\set VERBOSITY verbose
drop table if exists things;
create table things (id integer primary key, name text, price numeric, made date default '2020-02-29', tags text[], raw bytea);
insert into things (id, name, price, tags, raw) select n, 'thing ' || n, n * 1.5, array['a', null], '\x00ff' from generate_series(1, 300) n;
select * from things where id < 4;
select count(*) as total, max(id) as largest from things \gset
select :total + :largest;
select id, name from things where id < 3 \gx
\set FETCH_COUNT 7
select id, name from things order by id limit 30;
\unset FETCH_COUNT
copy (select id, name from things where id < 4) to stdout;
copy things (id, name) from stdin;
1001	copied
1002	\N
\.
\copy (select count(*) from things) to stdout
\d things
\dt public.things
begin;
update things set price = 0 where id = 1;
savepoint s;
select 1 / 0;
rollback to s;
select price from things where id = 1;
rollback;
select price from things where id = 1;
insert into things (id) values (1);
select nonsense;
select
;
select 1; select 2 \; select 3 as three;
prepare p as select $1::integer + 1;
execute p (41);
deallocate p;
declare c cursor with hold for select id from things order by id;
fetch 3 from c;
move 2 in c;
fetch all from c \g /dev/null
close c;
do $$ begin raise notice 'a notice'; raise warning 'a warning'; end $$;
set application_name = 'changed';
show application_name;
explain (costs off) select * from things where id = 1;
select 'a long one', length(repeat('x', 3000000));
select 1 as "one" \gdesc
vacuum things;
create function f(integer) returns integer language sql as 'select $1 * 2';
select f(21);
\sf f
drop function f;
drop table things;
