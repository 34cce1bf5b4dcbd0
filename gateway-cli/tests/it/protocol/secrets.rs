//! A client id and its secret as user name and password.

use crate::support::{
    Agent, TENANT, World, libpq, run,
    wire::{PROTOCOL_3_0, Wire, told},
};

fn connect(world: &World, user: &str, secret: &str) -> Result<Wire, String> {
    let parameters = [("user", user), ("database", "shop")];
    Wire::connect(world.gateway.place(), PROTOCOL_3_0, &parameters, secret)
}

#[test]
fn a_client_secret_is_exchanged_and_written_nowhere() {
    let mut world = World::start();
    let (client, secret) = (Agent::Reader.client_id(), Agent::Reader.secret());
    let mut variables = world.gateway.variables("shop", &secret);
    for (name, value) in &mut variables {
        if *name == "PGUSER" {
            value.clone_from(&client);
        }
    }
    let mut psql = libpq("psql");
    psql.args(["-X", "-At", "-c", "select 1"]).envs(variables);
    assert_eq!(run(&mut psql).ok(), "1");
    let mut wire = connect(&world, &format!("{client}@{TENANT}"), &secret).unwrap();
    assert_eq!(told(&wire.query("select 2")), "T D(2) C(SELECT 1) Z(I)");
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    for session in sessions.as_array().unwrap() {
        assert_eq!(session["agent"], Agent::Reader.object_id().as_str());
    }
    drop(wire);
    world.gateway.stop();
    let mut grep = libpq("grep");
    grep.args(["-r", "-l", "-a", "-e", &secret]);
    grep.arg(world.path("data")).arg(world.path("gateway.log"));
    assert_eq!(run(&mut grep).stdout, "");
}

#[test]
fn secrets_cannot_be_guessed_through_the_gateway() {
    let world = World::start();
    let (client, secret) = (Agent::Reader.client_id(), Agent::Reader.secret());
    let refusal = |user: &str, secret: &str| connect(&world, user, secret).map(drop).unwrap_err();
    assert!(connect(&world, &client, &secret).is_ok());
    // Another client's secret, another tenant, a name that is no client's.
    let other = Agent::Writer.secret();
    assert!(refusal(&client, &other).ends_with(": client_secret"));
    let stranger = format!("{client}@{client}");
    assert!(refusal(&stranger, &secret).ends_with(": client_id"));
    assert!(refusal("agent", &secret).starts_with("28P01 "));
    for guess in 0..9 {
        assert!(refusal(&client, &format!("{guess}")).ends_with(": client_secret"));
    }
    assert!(refusal(&client, "the eleventh").ends_with(": too_many_attempts"));
    assert!(
        connect(&world, &client, &secret).is_ok(),
        "what is known is let in"
    );
    assert!(
        world
            .try_wire(&world.issuer.token(Agent::Writer), &[])
            .is_ok()
    );
}
