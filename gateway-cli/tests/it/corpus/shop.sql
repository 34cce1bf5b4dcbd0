-- The shop of the corpora, owned by `shop_owner`. Classified values stand as `<<one||other>>`: two
-- databases are made that differ in nothing else, neither in lengths that masks may show nor in what is
-- null. Orders by any classified column differ too.
create schema ext;
grant usage on schema ext to public;
create extension hstore schema ext;
create extension pgcrypto schema ext;
create extension dblink schema ext;
create extension tablefunc schema ext;
create extension xml2 schema ext;
create extension pg_trgm schema ext;
create extension citext schema ext;
create extension unaccent schema ext;
create extension fuzzystrmatch schema ext;
create extension intarray schema ext;
create extension btree_gist schema ext;
create extension postgres_fdw schema ext;
grant usage on foreign data wrapper postgres_fdw to shop_owner;
-- What reads files and pages: superusers only.
create extension pageinspect schema ext;

grant all on schema public to shop_owner;
set session authorization shop_owner;

create type mood as enum ('calm', 'glad', 'cross');
create type address as (street text, zip text);
create domain nickname as text check (length(value) < 40);
create table customers (
    id integer primary key,
    name text not null,
    city text,
    visits integer not null default 0,
    email text unique,
    phone varchar(30),
    ssn character(11),
    salary integer,
    balance numeric,
    born date,
    seen timestamptz,
    notes jsonb,
    photo bytea,
    tags text[],
    home address,
    nick nickname,
    mood mood,
    token uuid,
    score double precision
);
insert into customers values
    (1, 'Ada', 'Lund', 3, '<<zq7vx3k9w@leakone.example||hb5rt8pfqq1@othertwo.example>>', '<<+46 70 111 2233||+45 9998 2233>>', '<<841-73-9256||377-21-6608>>',
     <<918273||271829>>, <<73915.46||20847.31>>, '<<1967-03-19||1983-11-27>>', '<<2021-04-17 03:14:15+00||2019-08-23 21:43:57+00>>',
     '{"card": "<<4929-8811-7305||5413-0926-6647>>", "pin": <<864209||531975>>, "likes": "tea"}', '\x<<c0ffee7711aa9931||badf00d24466cc08>>',
     '{<<vipalpha,zetakilo||lowgamma,muxyankee>>}', '("<<17 Quokka Lane||4 Axolotl Row>>",<<QX7-19K||ZB2-88J>>)', '<<wombatine||gekkolina>>', '<<cross||calm>>',
     '<<7e57ca5e-91d2-4b6f-8c3a-5d17f00dbead||1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed>>', <<6.02214||1.38065>>),
    (2, 'Bo', 'Ystad', 1, '<<mw4hn8tj2r@leakone.example||yk6sd1vgz@othertwo.example>>', '<<+46 70 555 4466||+45 8887 4466>>', '<<530-19-7742||915-64-2083>>',
     <<645123||806457>>, <<51370.82||96204.57>>, '<<1988-07-25||1959-01-06>>', '<<2022-09-08 11:22:33+00||2020-12-01 07:55:01+00>>',
     '{"card": "<<4556-2290-1138||5298-7741-3306>>", "pin": <<317496||742068>>, "likes": "mugs"}', '\x<<feedc0de55880123||0ddba11e99337654>>',
     '{<<goldbravo||tinomega>>}', '("<<88 Narwhal Street||9 Pangolin Way>>",<<NW4-02P||AK9-55T>>)', '<<numbatino||axolotita>>', '<<calm||glad>>',
     '<<2c1d43b8-e6d5-47f1-a0b9-6e84c3a9f572||f81d4fae-7dec-41d0-a765-00a0c91e6bf6>>', <<2.71828||9.10938>>),
    (3, 'Cy', 'Lund', 0, '<<cf2bp6lgy5e@leakone.example||nv3jm7wxc0@othertwo.example>>', null, null, null, null, null, null, null, null, null, null, null, null, null, null);
create index customers_lower on customers (lower(email));
create statistics customers_stats (mcv) on city, ssn, salary from customers;

create table customers_archive () inherits (customers);
insert into customers_archive (id, name, email, ssn) values (9, 'Di', '<<aj9ue4dsk7@leakone.example||qx2og5fth8@othertwo.example>>', '<<268-40-1597||702-58-3491>>');
create table customers_moved (shuffled text, ssn character(11), email text, id integer not null, name text not null, city text, visits integer not null default 0, phone varchar(30),
    salary integer, balance numeric, born date, seen timestamptz, notes jsonb, photo bytea, tags text[], home address, nick nickname, mood mood, token uuid, score double precision);
alter table customers_moved inherit customers;
insert into customers_moved (shuffled, id, name, email) values ('x', 10, 'Ed', '<<rb8yi3cnl6@leakone.example||wd1zk5qoe4@othertwo.example>>');

create table contacts (id integer, email text, shout text generated always as (upper(email)) stored);
insert into contacts select id, email from customers;

create table people (id integer, region text, email text) partition by list (region);
create table people_north partition of people for values in ('north');
create table people_south (email text, junk integer, region text, id integer);
alter table people_south drop column junk;
alter table people attach partition people_south for values in ('south');
insert into people values (1, 'north', '<<tl5gr9xum@leakone.example||bs8ce2ivy@othertwo.example>>'), (2, 'south', '<<jp6ak3wzf@leakone.example||eh4qn7mdl@othertwo.example>>');

create table products (id integer primary key, sku text not null, title text not null, price numeric not null, email text);
insert into products values (1, 'TEA', 'Tea', 4.50, 'sales@shop.test'), (2, 'MUG', 'Mug', 12.00, null), (3, 'POT', 'Pot', 30.25, null);
create table orders (
    id integer primary key, customer_id integer not null references customers on delete cascade, status text not null, total numeric not null,
    placed_at timestamptz not null default '2024-05-06 07:08:09+00', ship_email text references customers (email) on update cascade
);
insert into orders (id, customer_id, status, total, ship_email)
    select v.id, v.customer_id, v.status, v.total, c.email
    from (values (1, 1, 'paid', 16.50), (2, 2, 'open', 4.50), (3, 1, 'open', 60.00)) v (id, customer_id, status, total) join customers c on c.id = v.customer_id;
create table order_items (order_id integer not null references orders on delete cascade, product_id integer not null references products, quantity integer not null, primary key (order_id, product_id));
insert into order_items values (1, 1, 2), (1, 2, 1), (2, 1, 1), (3, 3, 2);
create table carts (id serial primary key, customer_id integer not null, note text, updated_at timestamptz not null default '2024-01-01 00:00:00+00');
insert into carts (customer_id, note) values (1, 'a'), (2, 'b'), (3, 'c');
create table strict_ids (id integer unique, label text check (label <> 'bad'));

create view v_customers as select id, name, email as title from customers;
create view v_views as select id, title as x from v_customers;
create view v_upper as select id, upper(email) as u from customers;
create view v_barrier with (security_barrier) as select id, ssn as number from customers where id < 3;
create view v_join as select o.id, c.email as contact from orders o join customers c on c.id = o.customer_id;
create view v_checked as select * from customers where visits < 1000 with check option;
create view v_rows as select c as whole from only customers c;
create view v_sum as select city, sum(salary) as s from customers group by city;
create view v_products as select id, title, price from products;
create recursive view v_recursive (n, e) as select 1, email from customers where id = 1 union all select n + 1, e from v_recursive where n < 3;
create materialized view m_customers as select id, email as m from customers;
create materialized view m_top as select max(salary) as top from customers;

create function get_email(integer) returns text language sql stable as 'select email from public.customers where id = $1';
create function get_email_immutable(integer) returns text language sql immutable as 'select email from public.customers where id = $1';
create function get_email_pl(n integer) returns text language plpgsql stable as $$ begin return (select email from public.customers where id = n); end $$;
create function get_email_out(n integer, out e text, out s text) language sql as 'select email, ssn from public.customers where id = n';
create function get_email_definer(integer) returns text language sql security definer as 'select email from public.customers where id = $1';
create function all_customers() returns setof customers language sql as 'select * from public.customers';
create function all_emails() returns table (x text) language sql as 'select email from public.customers';
create function whole(customers) returns text language sql as 'select $1.email';
create function first_email(variadic integer[]) returns text language sql as 'select email from public.customers where id = $1[1]';
create function cursor_of_emails() returns refcursor language plpgsql as $$ declare c refcursor := 'found'; begin open c for select email from public.customers; return c; end $$;
create function run(q text) returns text language plpgsql as $$ declare r text; begin execute q into r; return r; end $$;
create function tell() returns text language plpgsql as $$ begin raise notice 'it is %', (select email from public.customers where id = 1); return 'x'; end $$;
create function fail() returns text language plpgsql as $$ begin raise exception 'it is %', (select email from public.customers where id = 1); end $$;
create procedure tell_proc(inout v text) language plpgsql as $$ begin v := (select email from public.customers where id = 1); end $$;
create function order_total(integer) returns text language sql as 'select total::text from public.orders where id = $1';
create function order_total(text) returns text language sql as 'select email from public.customers where id = $1::integer';
create function lower(varchar) returns text language sql as 'select email from public.customers where id = 1';
create function yell(text) returns text language plpgsql as $$ begin raise notice 'got %', $1; return 'x'; end $$;
create aggregate glue (text) (sfunc = textcat, stype = text, initcond = '');
create function spy_int(integer, integer) returns text language sql as 'select email from public.customers where id = $1';
create operator @@@ (leftarg = integer, rightarg = integer, function = spy_int);
create type boxed as (n integer);
create function unbox(boxed) returns text language sql as 'select email from public.customers where id = ($1).n';
create cast (boxed as text) with function unbox (boxed) as assignment;
create function tell_check(integer) returns boolean language plpgsql as $$ begin perform public.tell(); return true; end $$;
create domain watched as integer check (tell_check(value));
create function tell_trigger() returns trigger language plpgsql as $$ begin perform public.tell(); return new; end $$;
create function copy_trigger() returns trigger language plpgsql as $$ begin new.note := (select email from public.customers where id = 1); return new; end $$;
create table watches (id integer, w watched);
create table audited (id integer);
create trigger t before insert on audited for each row execute function tell_trigger();
create table copied (id integer, note text);
create trigger t before insert on copied for each row execute function copy_trigger();
create table defaulted (id integer, e text default get_email(1));
create table generated (id integer, e text generated always as (get_email_immutable(id)) stored);
create table ruled (id integer);
create rule r as on insert to ruled do also select email from customers;
create table guarded (id integer);
insert into guarded values (1);
alter table guarded enable row level security;
alter table guarded force row level security;
create policy p on guarded using (tell_check(id));
create table indexed (id integer);
create index on indexed (get_email_immutable(id));
create table notified (id integer);
create function notify_trigger() returns trigger language plpgsql as $$ begin perform pg_notify('tells', (select email from public.customers where id = 1)); return new; end $$;
create trigger t after insert on notified for each row execute function notify_trigger();
create table trail (id integer, old_value text);
create function trail_trigger() returns trigger language plpgsql as $$ begin insert into public.trail values (new.id, old.email); return new; end $$;
create trigger t after update on contacts for each row execute function trail_trigger();
create table literals (id integer);
analyze customers, customers_archive, people, orders, contacts;

-- What is there to be destroyed.
create table victims (id integer primary key, label text not null, parent integer references victims on delete cascade on update cascade);
insert into victims values (1, 'one', null), (2, 'two', 1), (3, 'three', 1), (4, 'four', null);
create table victims_child () inherits (victims);
insert into victims_child values (5, 'five', null);
create view v_victims as select * from victims;
create table side (id integer);
create rule on_side as on insert to side do also delete from victims;
create table side_trigger (id integer);
create function purge() returns integer language plpgsql as $$ begin delete from public.victims; return 1; end $$;
create function purge_immutable(integer) returns integer language plpgsql immutable as $$ begin perform public.purge(); return 1; end $$;
create function purge_trigger() returns trigger language plpgsql as $$ begin delete from public.victims; return new; end $$;
create procedure purge_proc() language plpgsql as $$ begin delete from public.victims; end $$;
create procedure purge_commit() language plpgsql as $$ begin delete from public.victims; commit; end $$;
create trigger t before insert on side_trigger for each row execute function purge_trigger();
create table side_default (id integer, n integer default purge());
create domain purging as integer check (purge_immutable(value) = 1);
create view v_purge as select purge() as n;
create function purge_operator(integer, integer) returns integer language sql as 'select public.purge()';
create operator %%% (leftarg = integer, rightarg = integer, function = purge_operator);
create sequence numbers;
create index victims_label on victims (label);
create materialized view m_victims as select count(*) from victims;
create publication news;
create table plain_table (id integer, v text);
insert into plain_table values (1, 'x'), (2, 'y');

grant usage, create on schema public to gateway;
grant all on all tables in schema public to gateway;
grant all on all sequences in schema public to gateway;
reset session authorization;
-- What a trigger copied.
update contacts set id = 1 where id = 1;
create function spy_definer() returns text language sql security definer as 'select email from public.customers where id = 1';
