//! `gateway check`.

use crate::support::{Agent, World};

#[test]
fn check_prints_what_was_resolved() {
    let world = World::start();
    let report = world.gateway.cli(&["check", "--json"]);
    report.ok();
    let report = report.json();
    assert_eq!(report["ok"], true);
    let target = &report["targets"][0];
    assert_eq!(
        (&target["name"], &target["mode"]),
        (&"shop".into(), &"enforce".into())
    );
    let classified = target["resolved"]["classified"].as_array().unwrap();
    assert!(
        classified
            .iter()
            .any(|c| c["column"] == "public.customers.email" && c["method"] == "partial")
    );
    assert!(
        world
            .gateway
            .cli(&["check"])
            .ok()
            .contains("everything checks out")
    );
}

#[test]
fn check_names_every_mistake_with_its_place() {
    let world = World::start();
    let path = world.path("gateway.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        good.replace("data_dir", "datadir")
            .replace("[[listener]]", "[[listner]]"),
    )
    .unwrap();
    let report = world.gateway.cli(&["check", "--json"]);
    assert_eq!(report.code, Some(1));
    let report = report.json();
    let mistakes = report["mistakes"].as_array().unwrap();
    let hint = |text: &str| {
        mistakes
            .iter()
            .any(|m| m["hint"] == text && m["line"].is_u64())
    };
    assert!(
        hint("did you mean `data_dir`?") && hint("did you mean `listener`?"),
        "{mistakes:#?}"
    );
    let shown = world.gateway.cli(&["check"]);
    assert!(shown.stderr.contains("gateway.toml:3:1"), "{shown:?}");
}

#[test]
fn a_superuser_towards_a_classified_target_is_refused() {
    let mut world = World::start();
    world.postgres.psql("alter role gateway superuser");
    let report = world.gateway.cli(&["check"]);
    assert_eq!(report.code, Some(1));
    assert!(report.stderr.contains("superuser"), "{report:?}");
    // The running gateway's snapshot may be a minute old; a fresh one sees it.
    world.gateway.restart("TERM");
    let reply = world.psql(crate::support::Agent::Reader, "select 1");
    assert!(reply.err().contains("superuser"), "{reply:?}");
}

#[test]
fn check_finds_a_method_that_does_not_fit() {
    let world = World::start();
    let path = world.gateway.policy().join("classification.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let misfit = "\n[[column]]\ntarget = \"shop\"\nname = [\"public\", \"orders\", \"total\"]\nclass = \"email\"\n";
    std::fs::write(&path, text + misfit).unwrap();
    let report = world.gateway.cli(&["check"]);
    assert_eq!(report.code, Some(1));
    assert!(report.stderr.contains("public.orders.total"), "{report:?}");
}

#[test]
fn starter_policies_pass_their_own_tests() {
    let starters = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-policy/starter");
    for name in ["postgres", "ssh", "kubernetes"] {
        let folder = format!("{starters}/{name}");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"));
        let output = crate::support::run(command.args(["policy", "test", folder.as_str()]));
        assert!(output.ok().contains(" 0 failed"), "{name}: {output:?}");
    }
}

#[test]
fn explain_says_why() {
    let world = World::start();
    let explained = world.gateway.cli(&[
        "policy",
        "explain",
        "shop",
        "select id from customers where lower(email) like 'a%'",
        "--agent",
        "reader-bot",
        "--role",
        "Gateway.Connect",
        "--json",
    ]);
    let explained = explained.json();
    assert_eq!(explained["verdict"], "deny");
    assert_eq!(explained["effects"][0], "sql.select public.customers");
    let reach = explained["classified_in_reach"].as_array().unwrap();
    assert!(
        reach.contains(&"public.customers.email".into()),
        "{explained:#}"
    );
}

#[test]
fn explain_tells_of_a_recorded_unit_what_was_decided_and_what_would_be() {
    let world = World::start();
    let statement = "select id from customers where email = 'ada@example.org'";
    world.psql(Agent::Reader, statement).ok();
    world.psql(Agent::Reader, "drop table carts").err();
    let sessions = world.gateway.cli(&["sessions", "list", "--json"]).json();
    let ids = sessions.as_array().unwrap().iter();
    let explained: Vec<_> = ids
        .map(|session| {
            let unit = format!("{}/1", session["id"].as_str().unwrap());
            let explain = ["policy", "explain", "--recorded", &unit, "--json"];
            world.gateway.cli(&explain).json()
        })
        .collect();
    let of = |verb: &str| {
        let said = |e: &&serde_json::Value| e["recorded"]["text"].as_str().unwrap().contains(verb);
        explained.iter().find(said).unwrap()
    };
    let read = of("select");
    assert_eq!(
        (&read["recorded"]["verdict"], &read["verdict"]),
        (&"allow".into(), &"allow".into())
    );
    assert_eq!(read["recorded"]["rules"], read["rules"]);
    assert_eq!(read["recorded"]["policy"], read["policy"]);
    assert_eq!(read["effects"][0], "sql.select public.customers");
    let text = read["recorded"]["text"].as_str().unwrap();
    assert!(text.contains("hmac:") && !text.contains("ada@"), "{text}");
    let dropped = of("drop");
    assert_eq!(
        (&dropped["recorded"]["verdict"], &dropped["verdict"]),
        (&"deny".into(), &"deny".into())
    );
    assert_eq!(dropped["recorded"]["message"], dropped["message"]);

    let nobody = [
        "policy",
        "explain",
        "--recorded",
        "01890000-0000-7000-8000-000000000000/1",
    ];
    assert!(world.gateway.cli(&nobody).err().contains("no session"));
}
