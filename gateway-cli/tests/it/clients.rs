//! Unmodified clients on a target without classified columns and under a policy that allows
//! everything: they get through the gateway what they get from the server.

use std::{fmt::Write as _, process::Command, time::Duration};

use futures_util::{SinkExt as _, TryStreamExt as _};
use tokio_postgres::{AsyncMessage, Config};

use crate::support::{Agent, Output, Settings, World, libpq, run};

const SESSION: &str = include_str!("clients/session.sql");
const PYTHON: &str = include_str!("clients/matrix.py");
const NODE: &str = include_str!("clients/matrix.mjs");

/// Nothing is classified, everything is permitted.
pub(crate) fn open_world() -> World {
    open_world_with(|_| {})
}

/// The same with other settings.
pub(crate) fn open_world_with(change: impl FnOnce(&mut Settings)) -> World {
    let world = World::with(|settings| {
        change(settings);
        let policy = settings.dir.join("policy");
        for entry in std::fs::read_dir(&policy).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cedar")
            {
                std::fs::remove_file(path).unwrap();
            }
        }
        std::fs::write(policy.join("classification.toml"), "").unwrap();
        std::fs::write(
            policy.join("all.cedar"),
            "@id(\"all\")\npermit (principal, action, resource);\n",
        )
        .unwrap();
    });
    world.postgres.psql("grant all on schema public to gateway");
    world
}

/// Runs a client first on a direct connection, then through the gateway.
fn both_ways(world: &World, client: impl Fn() -> Command) -> [Output; 2] {
    let token = world.issuer.token(Agent::Writer);
    [
        world.postgres.variables(),
        world.gateway.variables("shop", &token),
    ]
    .map(|variables| run(client().envs(variables)))
}

#[track_caller]
fn assert_same([direct, through]: &[Output; 2]) {
    assert_eq!(direct.code, Some(0), "{direct:#?}");
    for (direct, through) in direct.stdout.lines().zip(through.stdout.lines()) {
        assert_eq!(direct, through);
    }
    assert_eq!(direct.stdout, through.stdout);
    assert_eq!(direct.code, through.code);
}

#[test]
fn psql_sees_no_difference() {
    let world = open_world();
    let script = world.path("session.sql");
    std::fs::write(&script, SESSION).unwrap();
    let outputs = both_ways(&world, || {
        let mut psql = libpq("psql");
        psql.arg("-X").arg("-f").arg(&script);
        psql
    });
    assert_same(&outputs);
    let [direct, through] = &outputs;
    assert_eq!(direct.stderr, through.stderr);
    assert!(direct.stdout.contains("thing 30"), "{direct:#?}");
}

#[test]
fn pgbench_runs_in_every_mode() {
    let world = open_world();
    let token = world.issuer.token(Agent::Writer);
    let pgbench = |args: &[&str]| {
        let mut command = libpq("/usr/lib/postgresql/15/bin/pgbench");
        run(command
            .args(args)
            .envs(world.gateway.variables("shop", &token)))
    };
    pgbench(&["-i", "-q", "-s", "1"]).ok();
    for mode in ["simple", "extended", "prepared"] {
        let output = pgbench(&["-n", "-M", mode, "-c", "4", "-t", "50"]);
        assert!(
            output.ok().contains("actually processed: 200/200"),
            "{mode}: {output:#?}"
        );
        assert!(!output.stderr.contains("error"), "{mode}: {output:#?}");
    }
    let history = world.postgres.psql("select count(*) from pgbench_history");
    assert_eq!(history, "600", "each transaction committed once");
}

#[test]
fn tokio_postgres_sees_no_difference() {
    let world = open_world();
    let token = world.issuer.token(Agent::Writer);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [direct, through] = [
        world.postgres.variables(),
        world.gateway.variables("shop", &token),
    ]
    .map(|variables| {
        let of = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.unwrap().1.clone()
        };
        let mut config = Config::new();
        config
            .host("localhost")
            .hostaddr([127, 0, 0, 1].into())
            .port(of("PGPORT").parse().unwrap())
            .user(of("PGUSER"))
            .password(of("PGPASSWORD"))
            .dbname(of("PGDATABASE"))
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let tls = crate::support::wire::trusting(&world.path("ca.pem"));
        runtime.block_on(tokio_matrix(&config, tls)).unwrap()
    });
    assert_eq!(direct, through);
    assert_eq!(direct.lines().count(), 10, "{direct}");
}

/// What tokio-postgres gets, one line each.
async fn tokio_matrix(
    config: &Config,
    tls: rustls::ClientConfig,
) -> Result<String, tokio_postgres::Error> {
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    let (mut client, mut connection) = config.connect(tls.clone()).await?;
    let (notices, mut heard) = tokio::sync::mpsc::channel(16);
    let driver = tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let Ok(AsyncMessage::Notification(note)) = message {
                drop(notices.send(note.payload().to_owned()).await);
            }
        }
    });
    let mut said = String::new();
    let mut say = |what: &str, answer: &dyn std::fmt::Debug| {
        writeln!(said, "{what} {answer:?}").unwrap();
    };
    client
        .batch_execute("drop table if exists tp; create table tp (id int primary key, v text)")
        .await?;
    let insert = client.prepare("insert into tp values ($1, $2)").await?;
    let inserted = futures_util::future::try_join_all((0..100).map(|id| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[&id, &format!("v{id}")]).await }
    }));
    say("pipelined", &inserted.await?.iter().sum::<u64>());
    let row = client
        .query_one(
            "select $1::int8, $2::text[], $3::bytea",
            &[&7_i64, &vec![Some("a"), None], &&b"\0\xff"[..]],
        )
        .await?;
    say(
        "types",
        &(
            row.get::<_, i64>(0),
            row.get::<_, Vec<Option<String>>>(1),
            row.get::<_, Vec<u8>>(2),
        ),
    );

    let transaction = client.transaction().await?;
    let portal = transaction
        .bind("select id from tp order by id", &[])
        .await?;
    let first = transaction.query_portal(&portal, 7).await?.len();
    let rest = transaction.query_portal(&portal, 0).await?.len();
    say("portal", &(first, rest));
    transaction.rollback().await?;

    let sink = client
        .copy_in::<_, bytes::Bytes>("copy tp from stdin")
        .await?;
    let mut sink = std::pin::pin!(sink);
    for id in 100..2100 {
        sink.send(format!("{id}\tcopied\n").into()).await?;
    }
    say("copied in", &sink.finish().await?);
    let out = client.copy_out("copy tp to stdout").await?;
    say(
        "copied out",
        &out.try_fold(0, async |sum, chunk| Ok(sum + chunk.len()))
            .await?,
    );

    let failed = client
        .execute(&insert, &[&1_i32, &"twice"])
        .await
        .unwrap_err();
    say("error", &failed.code());
    let cancel = client.cancel_token();
    let sleeping = client.batch_execute("select pg_sleep(30)");
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(tls).await
    };
    let (slept, cancelled) = tokio::join!(sleeping, cancelling);
    cancelled?;
    say("cancelled", &slept.unwrap_err().code());
    say(
        "goes on",
        &client
            .query_one("select count(*) from tp", &[])
            .await?
            .get::<_, i64>(0),
    );
    client
        .batch_execute("listen ch; notify ch, 'payload'")
        .await?;
    say(
        "notified",
        &tokio::time::timeout(Duration::from_secs(5), heard.recv())
            .await
            .ok(),
    );
    let simple = client.simple_query("select 1; select 2, null").await?;
    say("simple", &simple.len());
    drop(client);
    drop(driver.await);
    Ok(said)
}

/// What `scripts/test` installs and names in the environment: an interpreter with psycopg and
/// asyncpg, a folder with node-postgres.
pub(crate) fn installed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} isn't set: run this through scripts/test"))
}

#[test]
fn python_drivers_see_no_difference() {
    let python = installed("GATEWAY_TEST_PYTHON");
    let world = open_world();
    assert_same(&both_ways(&world, || {
        let mut command = libpq(&python);
        command.args(["-c", PYTHON]);
        command
    }));
}

#[test]
fn node_postgres_sees_no_difference() {
    let folder = installed("GATEWAY_TEST_NODE");
    let world = open_world();
    assert_same(&both_ways(&world, || {
        let mut command = libpq("node");
        command
            .args(["--input-type=module", "-e", NODE])
            .current_dir(&folder)
            .env("NODE_EXTRA_CA_CERTS", world.path("ca.pem"));
        command
    }));
}
