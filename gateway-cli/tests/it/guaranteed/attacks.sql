-- One attack a line. A line with /* shape */ needn't tell a superuser.
select email from customers
select * from customers
table customers
select c from customers c
select (c).email from customers c
select email(c) from customers c
select row_to_json(c) from customers c
select json_agg(c) from customers c
select c::text from customers c
select to_jsonb(customers) ->> 'email' from customers
select max(email) from customers
select string_agg(phone, ',') from customers
select array_agg(national_id) from customers
select upper(email) from customers
select email || '' from customers
select coalesce(email, '') from customers
select x from (select email as x from customers) s
select (select email from customers where id = 1)
select email from customers union select 'x'
select c.email from customers c join orders o on o.customer_id = c.id
select first_value(email) over (order by id) from customers
with x as (select email from customers) select * from x
with recursive x as (select email from customers) select * from x
select unnest(array(select email from customers))
select format('%s', c) from customers c
select shouted from customers
select * from customers_mail
select address from customers_mail
select * from customers_copy
select * from filled
select mail from referring
select * from referring
select loyalty from visits
select email from vip union select email from customers
select get_email(1)
select own_email(1)
select query_to_xml('select email from customers', true, true, '')
select table_to_xml('customers', true, true, '')
select * from ts_stat('select to_tsvector(''simple'', loyalty) from customers') /* shape */
select most_common_vals::text, histogram_bounds::text from pg_stats where tablename = 'customers' and attname = 'email'
select stavalues1::text from pg_statistic where starelid = 'customers'::regclass and staattnum = 3
copy customers to stdout
copy customers (email) to stdout
copy (select email from customers) to stdout
copy (select c from customers c) to stdout
select id from customers where email like 'ada@%' /* shape */
select id from customers order by email /* shape */
select md5(email) from customers /* shape */
select encode(convert_to(email, 'UTF8'), 'hex') from customers /* shape */
select 1 / (length(email) - 15) from customers /* shape */
select email::int from customers /* shape */
update customers set city = email where id = 1 returning city
update customers set name = null where id = 1
update products set title = 'x' where id = 1
insert into referring values ('ada@example.org', (select email from customers where id = 2)) returning *
insert into customers (id, name, email) values (9, 'x', 'y') on conflict (email) do update set city = customers.email returning city
delete from customers where id = 3 returning email
merge into visits v using customers c on v.id = c.id when matched then update set loyalty = c.email
select email into temp t from customers /* shape */
create temp table t as select email from customers; table t
create view v as select email from customers
create function f() returns text language sql as 'select email from customers'
prepare p as select email from customers; execute p
begin; declare c cursor for select email from customers; fetch all from c
do $$ begin raise notice '%', (select email from customers where id = 1); end $$
explain (analyze, verbose) select email from customers where email = 'zed@example.org' and false
set role gateway; select email from customers
set session authorization postgres; select email from customers
select set_config('role', 'gateway', false); select email from customers
select inner_key from gateway_masked.key /* shape */
alter view gateway_masked.customers reset (security_barrier)
grant select on customers to gateway_agents
lock table customers in access exclusive mode
select pg_read_file('postgresql.conf') /* shape */
select lo_import('/etc/passwd') /* shape */
copy customers to program 'cat' /* shape */
select email from only customers tablesample bernoulli (100)
select email from customers for update
