use gateway_core::target::{Durability, Masking, Mode};

use super::*;
use crate::config::{KubernetesCredential, Upstream};

const GOOD: &str = r#"
[gateway]
id = "gw-1"
data_dir = "data"
policy = "policy"
admin = "127.0.0.1:8443"
limits = { sessions_max = 10 }

[entra]
tenants = ["11111111-2222-3333-4444-555555555555"]
audiences = ["api://gw"]

[tls]
certificate = "gw.crt"
key = "gw.key"

[[listener]]
address = "127.0.0.1:6432"

[[listener]]
address = "127.0.0.1:6433"
target = "shop"

[[target]]
name = "shop"
protocol = "postgres"
address = "db.example:5432"
environment = "prod"
ca_file = "/etc/ca.crt"
credential = { kind = "password", user = "gateway", password_file = "pw" }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("gateway.toml", text, Path::new("/etc/gateway"))
}

fn mistakes(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Mistakes(all)) => all
            .iter()
            .map(|m| {
                let (line, column) = m.position();
                let help = m
                    .help
                    .as_deref()
                    .map(|h| format!(" ({h})"))
                    .unwrap_or_default();
                format!("{line}:{column} {}{help}", m.message)
            })
            .collect(),
        Err(other) => vec![other.to_string()],
    }
}

#[test]
fn good_configuration_resolves_paths_and_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.gateway.data_dir, Path::new("/etc/gateway/data"));
    assert_eq!(config.gateway.bounds.sessions_max, 10);
    assert_eq!(config.entra.authority, "https://login.microsoftonline.com");
    assert_eq!(config.listeners.len(), 2);
    let target = &config.targets[&TargetName::parse("shop").unwrap()];
    assert_eq!((target.mode, target.mask), (Mode::Enforce, true));
    assert_eq!(target.durability, Durability::Strict);
    assert_eq!(target.upstream.user(), "gateway");
    let Upstream::Postgres(server) = &target.upstream else {
        panic!("{target:?}");
    };
    assert_eq!(server.tls.server_name, "db.example");
    assert_eq!(server.tls.ca_file, Path::new("/etc/ca.crt"));
}

const OTHERS: &str = r#"
[[listener]]
address = "127.0.0.1:2222"
protocol = "ssh"

[[listener]]
address = "127.0.0.1:6443"
target = "cluster"

[[target]]
name = "build"
protocol = "ssh"
address = "build.example:22"
environment = "dev"
user = "gateway"
key_file = "build.key"
host_keys = ["ssh-ed25519 AAAA"]

[[target]]
name = "cluster"
protocol = "kubernetes"
address = "api.example:6443"
environment = "prod"
ca_file = "cluster.crt"
user = "gateway"
credential = { kind = "token", token_file = "cluster.token" }
"#;

#[test]
fn targets_of_other_protocols_have_keys_of_their_own() {
    let config = parse(&format!("{GOOD}{OTHERS}")).unwrap();
    let protocols: Vec<_> = config
        .listeners
        .iter()
        .map(|l| l.protocol.as_str())
        .collect();
    assert_eq!(protocols, ["postgres", "postgres", "ssh", "kubernetes"]);
    let target = |name| &config.targets[&TargetName::parse(name).unwrap()].upstream;
    let Upstream::Ssh(host) = target("build") else {
        panic!("{:?}", target("build"));
    };
    assert_eq!(host.key_file, Path::new("/etc/gateway/build.key"));
    assert_eq!(host.host_keys, ["ssh-ed25519 AAAA"]);
    let Upstream::Kubernetes(cluster) = target("cluster") else {
        panic!("{:?}", target("cluster"));
    };
    assert_eq!(cluster.tls.server_name, "api.example");
    assert!(matches!(cluster.credential, KubernetesCredential::Token(_)));
}

#[test]
fn mistakes_about_other_protocols_have_their_places() {
    for (from, to, expected) in [
        (
            "protocol = \"kubernetes\"",
            "protocol = \"k8s\"",
            "51:12 `protocol`: expects `postgres`, `ssh` or `kubernetes`",
        ),
        (
            "target = \"cluster\"",
            "target = \"cluster\"\nprotocol = \"ssh\"",
            "39:12 a listener with a target speaks that target's protocol",
        ),
        (
            "host_keys = [\"ssh-ed25519 AAAA\"]",
            "",
            "40:1 `target` lacks `host_keys`",
        ),
        (
            "user = \"gateway\"\nkey_file",
            "user = \"gateway\"\nca_file = \"x\"\nkey_file",
            "46:1 unknown key `ca_file` in `target`",
        ),
    ] {
        assert!(OTHERS.contains(from), "{from}");
        let found = mistakes(&format!("{GOOD}{}", OTHERS.replace(from, to)));
        assert!(
            found.iter().any(|m| m.starts_with(expected)),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    for (from, to, expected) in [
        (
            "policy = ",
            "polcy = ",
            &[
                "2:1 `gateway` lacks `policy`",
                "5:1 unknown key `polcy` in `gateway` (did you mean `policy`?)",
            ][..],
        ),
        (
            "sessions_max = 10",
            "sessions_max = 0",
            &["7:27 `sessions_max` must be 1 to 100000"],
        ),
        (
            "environment = \"prod\"",
            "environment = \"prod\"\nmode = \"enforced\"",
            &["29:8 `mode` must be `enforce` or `observe` (did you mean `enforce`?)"],
        ),
        (
            "target = \"shop\"",
            "target = \"shup\"",
            &["22:10 there is no target `shup`"],
        ),
        (
            "[\"11111111-2222-3333-4444-555555555555\"]",
            "[\"common\", 5]",
            &[
                "10:12 `tenants`: invalid TenantId: not a UUID",
                "10:22 `tenants` holds strings",
                "10:11 `tenants` must name at least one",
            ],
        ),
        (
            "kind = \"password\"",
            "kind = \"pasword\"",
            &[
                "30:23 `kind` must be `password`, `client_secret`, `workload_identity`, `managed_identity` or `developer` (did you mean `password`?)",
            ],
        ),
        (
            ", password_file = \"pw\"",
            ", password = \"s3cret\"",
            &[
                "30:14 the credential lacks `password_file` (or `password_env`)",
                "30:53 unknown key `password` in `credential` (did you mean `password_env`?)",
            ],
        ),
        (
            "127.0.0.1:6433",
            "127.0.0.1:6432",
            &["21:11 two listeners have the address 127.0.0.1:6432"],
        ),
        (
            "db.example:5432",
            "db.example",
            &["27:11 `address`: expects `host:port`"],
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        assert_eq!(mistakes(&GOOD.replace(from, to)), expected, "{to}");
    }
}

#[test]
fn broken_syntax_is_located() {
    let found = mistakes("[gateway]\nid = \n");
    assert!(found.iter().any(|m| m.starts_with("2:")), "{found:?}");
}

#[test]
fn debug_output_holds_no_secret() {
    let config = parse(GOOD).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn masking_is_shared_unless_it_is_asked_to_be_guaranteed() {
    let with = |keys: &str| GOOD.replace("ca_file", &format!("{keys}\nca_file"));
    for (keys, expected) in [
        ("", Masking::Shared),
        ("masking = \"shared\"", Masking::Shared),
        ("masking = \"guaranteed\"", Masking::Guaranteed),
    ] {
        let config = parse(&with(keys)).unwrap();
        let target = &config.targets[&TargetName::parse("shop").unwrap()];
        assert_eq!(target.describe(true).masking, expected, "{keys}");
    }
    for (keys, mistake) in [
        (
            "masking = \"guaranted\"",
            "`masking` must be `shared` or `guaranteed` (did you mean `guaranteed`?)",
        ),
        (
            "mask = \"off\"\nmasking = \"guaranteed\"",
            "`masking = \"guaranteed\"` and `mask = \"off\"` contradict each other",
        ),
    ] {
        let found = mistakes(&with(keys));
        assert!(
            found.len() == 1 && found[0].contains(mistake),
            "{keys}: {found:?}"
        );
    }
}
