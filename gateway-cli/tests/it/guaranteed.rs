//! Targets that withhold what is classified: provisioned by the script, proven, and attacked.

mod attacks;
mod benign;
mod clauses;
mod script;

use std::path::{Path, PathBuf};

use crate::support::{Output, World, libpq, run, write_private};

/// What the sample shop has beside: one of everything that derives from a classified column, or
/// could hand one out.
const SHOP: &str = include_str!("guaranteed/shop.sql");
/// The provisioned role.
const ROLE: &str = "gateway_agents";
const PASSWORD: &str = "provisioned-s3cret";

/// Parts of classified values that no mask shows.
const VALUES: &[&str] = &[
    "ada@",
    "bo@",
    "cy@",
    "ADA@",
    "701234567",
    "707654321",
    "19800101-1234",
    "19751231-4321",
    "1980-01-02",
    "1975-12-31",
    "ada-loyalty",
];

fn tells(text: &str) -> bool {
    VALUES.iter().any(|value| text.contains(value))
}

/// A world whose shop isn't provisioned yet.
fn shared_world() -> World {
    let world = World::with(|settings| {
        let path = settings.dir.join("policy/classification.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let token = "\n[class.loyalty]\nmask = { method = \"pseudonym\" }\n\
                     [[column]]\ntarget = \"shop\"\nname = [\"public\", \"*\", \"loyalty\"]\nclass = \"loyalty\"\n";
        std::fs::write(&path, text + token).unwrap();
        write_private(&settings.dir.join("mask.key"), &"k".repeat(32));
        settings.gateway.push("mask_key_file = \"mask.key\"".into());
    });
    world.postgres.psql(SHOP);
    world
}

/// Writes the script, and returns its path.
#[track_caller]
fn provision(world: &World, more: &[&str]) -> PathBuf {
    let path = world.path("provision.sql");
    let file = path.display().to_string();
    let args = [
        "target",
        "provision",
        "shop",
        "--class",
        "agents",
        "-o",
        file.as_str(),
    ];
    world.gateway.cli(&[&args, more].concat()).ok();
    path
}

/// A world whose shop is provisioned, behind a gateway that logs in as the provisioned role.
fn guaranteed_world() -> World {
    let mut world = shared_world();
    let script = provision(&world, &["--revoke-public"]);
    let verified = world.postgres.psql_file(&script);
    assert_eq!(verified.ok(), "", "the verification returns no row");
    world
        .postgres
        .psql(&format!("alter role {ROLE} password '{PASSWORD}'"));
    let path = world.path("gateway.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let toml = toml
        .replace("user = \"gateway\"", &format!("user = \"{ROLE}\""))
        .replace(
            "name = \"shop\"\n",
            "name = \"shop\"\nmasking = \"guaranteed\"\n",
        );
    std::fs::write(&path, toml).unwrap();
    std::fs::write(world.path("shop.password"), PASSWORD).unwrap();
    world.gateway.restart("TERM");
    world
}

/// Runs a file of SQL as the provisioned role, past the gateway.
fn direct(world: &World, path: &Path) -> Output {
    let conninfo = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user={ROLE} dbname=shop sslmode=verify-full sslrootcert={}",
        world.postgres.port,
        world.path("ca.pem").display()
    );
    run(libpq("psql")
        .arg(conninfo)
        .args(["-X", "-A", "-t", "-f"])
        .arg(path)
        .env("PGPASSWORD", PASSWORD))
}
