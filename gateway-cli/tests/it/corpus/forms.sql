-- Every form that the classified values are looked for in: `6` and `8`, any so many bytes in a row of
-- this text; `hex`, exactly these bytes.
with texts (t) as (
    select split_part(email, '.example', 1) from customers where email is not null
    union all select split_part(email, '.example', 1) from people
    union all select left(phone, -4) from customers
    union all select ssn from customers
    union all select salary::text from customers
    union all select (salary * 2)::text from customers
    union all select (salary * 3)::text from customers
    union all select (salary + 1)::text from customers
    union all select (salary - 1)::text from customers
    union all select balance::text from customers
    union all select born::text from customers
    union all select notes ->> 'card' from customers
    union all select notes ->> 'pin' from customers
    union all select unnest(tags) from customers
    union all select (home).street from customers
    union all select (home).zip from customers
    union all select nick::text from customers
    union all select token::text from customers
    union all select score::text from customers
), present (t) as (select t from texts where length(t) >= 6)
select '6', t from present
union all select '6', upper(t) from present
union all select '6', reverse(t) from present
union all select '6', translate(t, 'abcdefghijklmnopqrstuvwxyz', 'nopqrstuvwxyzabcdefghijklm') from present where t ~ '[a-z]{4}'
union all select '8', encode(t::bytea, 'hex') from present
union all select '8', reverse(encode(t::bytea, 'hex')) from present
union all select '8', rtrim(encode(substr(t::bytea, n), 'base64'), '=') from present, generate_series(1, 3) n
union all select '8', md5(t) from present
union all select '8', encode(sha256(t::bytea), 'hex') from present
union all select '8', encode(ext.digest(t, 'sha1'), 'hex') from present
union all select '8', md5(email) from customers where email is not null
union all select '8', encode(sha256(email::bytea), 'hex') from customers where email is not null
union all select '8', seen::date::text from customers where seen is not null
union all select '8', encode(photo, 'hex') from customers where photo is not null
union all select '8', encode(photo, 'base64') from customers where photo is not null
union all select 'hex', encode(b, 'hex') from customers, unnest(array[
    int4send(salary), substr(numeric_send(salary), 9), substr(numeric_send(balance), 9), float8send(salary), float8send(score), float8send(balance::float8),
    date_send(born), timestamptz_send(seen), uuid_send(token), photo, sha256(email::bytea)]) b where b is not null
union all select 'whole', encode(b, 'hex') from customers, unnest(array[
    textsend(email), textsend(phone), textsend(ssn), textsend(salary::text), textsend(balance::text), textsend(born::text), textsend(seen::text), textsend(notes::text),
    textsend(photo::text), textsend(tags::text), textsend(home::text), textsend(nick), textsend(mood::text), textsend(token::text), textsend(score::text),
    numeric_send(balance), jsonb_send(notes), array_send(tags), record_send(home), float8send(score)]) b where b is not null
union all select 'whole', encode(textsend(t), 'hex') from (select email from people union all select email from contacts union all select shout from contacts union all select ship_email from orders) x (t) where t is not null
