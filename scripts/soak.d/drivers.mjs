// Unmodified node-postgres through the gateway. Connection settings come from libpq's variables.
import pg from 'pg';

function check(what, truth) {
  console.log(`   ${truth ? 'ok' : 'NOT AS IT SHOULD BE'}: ${what}`);
  if (!truth) process.exit(1);
}

const { PGHOST: host, PGPORT: port, PGDATABASE: database, PGUSER: user, PGPASSWORD: password } = process.env;
// Node trusts the certificate authority through NODE_EXTRA_CA_CERTS.
const client = new pg.Client({ host, port, database, user, password, ssl: { servername: host } });
await client.connect();
const plain = { name: 'customer', text: 'select id, name, email from customers where id = $1' };
for (const id of [7, 8]) {
  const { rows } = await client.query({ ...plain, values: [id] });
  check(`node-postgres gets masked rows from a prepared statement (${id})`, rows[0].email.startsWith('*'));
}
const refused = await client.query('select lower(email) from customers').catch((error) => error);
check('node-postgres is refused, with a hint', refused instanceof Error && Boolean(refused.hint));
check('and goes on', (await client.query('select 1 as one')).rows[0].one === 1);
await client.end();
