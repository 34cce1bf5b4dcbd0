// What unmodified node-postgres gets, one line each: the same on a direct connection and through the
// gateway. Connection settings come from libpq's variables; Node trusts the authority through
// NODE_EXTRA_CA_CERTS.
import pg from 'pg';

const { PGHOST: host, PGPORT: port, PGDATABASE: database, PGUSER: user, PGPASSWORD: password } = process.env;
const settings = { host, port, database, user, password, ssl: { servername: host } };
const say = (what, ...answer) => console.log(what, ...answer.map((value) => JSON.stringify(value)));
const client = new pg.Client(settings);
client.on('notice', (notice) => say('notice', notice.message));
await client.connect();
await client.query('drop table if exists nm; create table nm (id int primary key, v jsonb)');
for (let id = 0; id < 5; id += 1) {
  await client.query({ name: 'put', text: 'insert into nm values ($1, $2)', values: [id, { id }] });
}
say('prepared', (await client.query({ name: 'get', text: 'select * from nm where id < $1 order by id', values: [3] })).rows);
say('prepared again', (await client.query({ name: 'get', text: 'select * from nm where id < $1 order by id', values: [2] })).rows);
say('arrays', (await client.query({ text: 'select id, v from nm order by id', rowMode: 'array' })).rows);
say('several', (await client.query('select 1 as a; select 2 as b')).map((result) => result.rows));
say('queued', (await Promise.all([1, 2, 3].map((n) => client.query('select $1::int as n', [n])))).map((r) => r.rows[0].n));
say('error', await client.query('insert into nm values (1, null)').catch((e) => [e.code, e.detail, e.constraint]));
await client.query('begin');
await client.query('insert into nm values (9, null)');
say('in a transaction', await client.query('select 1 / 0').catch((e) => e.code));
say('after the error', await client.query('select 1').catch((e) => e.code));
await client.query('rollback');
say('rolled back', (await client.query('select count(*) from nm')).rows);
await client.query("do $$ begin raise notice 'hello'; end $$");
say('large', (await client.query('select $1::text as t', ['x'.repeat(5 << 20)])).rows[0].t.length);
await client.end();
const pool = new pg.Pool({ ...settings, max: 4 });
const all = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query('select $1::int as n', [n])));
say('pool', all.reduce((sum, r) => sum + r.rows[0].n, 0));
await pool.query('drop table nm');
await pool.end();
