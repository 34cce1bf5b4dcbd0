-- What a database administrator may have put beside `customers`, each a way to its values.
create view v_customers as select id, email as title from customers;
create view v_views as select title as x from v_customers;
create view v_upper as select upper(email) as u from customers;
create materialized view m_customers as select id, email as m from customers;
create table customers_archive () inherits (customers);
insert into customers_archive values (9, 'Di Ek', 'di@example.org', '+46700000009', '19700101-0009', '1970-05-06', 'Lund');
create table shipments (id integer, ship_email text references customers (email));
insert into shipments values (1, 'ada@example.org');
create table leads (id integer, email text, shouted text generated always as (upper(email)) stored);
create function get_email(integer) returns text language sql stable as 'select email from customers where id = $1';
create function lower(varchar) returns text language sql as 'select email from customers limit 1';
create function whole(customers) returns text language sql as 'select $1.email';
create function tell() returns text language plpgsql as $$
begin raise notice 'it is %', (select email from customers where id = 1); return 'x'; end $$;
create function tell_trigger() returns trigger language plpgsql as $$ begin perform tell(); return new; end $$;
create function tell_policy() returns boolean language plpgsql as $$ begin return tell() = 'x'; end $$;
create function fail_policy() returns boolean language plpgsql as $$
begin raise exception 'it is %', (select email from customers where id = 1); end $$;
create domain watched as integer check (tell_policy());
create table watches (id integer, w watched);
create table audited (id integer);
create trigger t before insert on audited for each row execute function tell_trigger();
create table guarded (id integer);
alter table guarded enable row level security;
create policy p on guarded using (tell_policy());
insert into guarded values (1);
create table failing (id integer);
alter table failing enable row level security;
create policy p on failing using (fail_policy());
insert into failing values (1);
create table defaulted (id integer, e text default get_email(1));
create table ruled (id integer);
create rule r as on insert to ruled do also select email from customers;
create operator @@@ (leftarg = integer, rightarg = integer, function = int4pl);
grant all on all tables in schema public to gateway;
