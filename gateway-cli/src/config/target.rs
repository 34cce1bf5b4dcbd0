//! `[[target]]`, key by key.

use std::{collections::BTreeMap, path::Path};

use gateway_core::{
    id::{AppId, TargetName, TenantId},
    target::{Durability, Masking, Mode},
};

use super::{
    Credential, EntraIdentity, HostPort, KubernetesCredential, KubernetesUpstream,
    PostgresUpstream, Protocol, ServerTls, SshUpstream, TargetConfig, TlsFiles, Upstream,
    read::{path, read_secret, text_value},
    reader::Section,
};

/// What Entra calls Azure Database for PostgreSQL (Microsoft Learn, "Use Microsoft Entra ID for
/// authentication with Azure Database for PostgreSQL", section "Retrieve the Microsoft Entra
/// access token").
const AZURE_POSTGRES_SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

/// The targets without a mistake, and the names of all with what is spoken there.
pub(super) fn read_targets(
    sections: Vec<Section<'_, '_>>,
    base: &Path,
) -> (
    BTreeMap<TargetName, TargetConfig>,
    BTreeMap<TargetName, Option<Protocol>>,
) {
    let mut targets = BTreeMap::new();
    let mut names = BTreeMap::new();
    for mut section in sections {
        let name = section.required("name", TargetName::parse);
        let protocol = section.required("protocol", Protocol::parse);
        if let Some(name) = &name
            && names.insert(name.clone(), protocol).is_some()
        {
            section.complain("name", format!("two targets are called `{name}`"), None);
        }
        if let Some(target) = read_target(name, protocol, section, base) {
            targets.insert(target.name.clone(), target);
        }
    }
    (targets, names)
}

fn read_target(
    name: Option<TargetName>,
    protocol: Option<Protocol>,
    mut section: Section<'_, '_>,
    base: &Path,
) -> Option<TargetConfig> {
    let address = section.required("address", HostPort::parse);
    let environment = section.required("environment", text_value);
    let mode = section.choice(
        "mode",
        Mode::Enforce,
        &[("enforce", Mode::Enforce), ("observe", Mode::Observe)],
    );
    let mask = section.choice("mask", true, &[("on", true), ("off", false)]);
    let durability = section.choice(
        "durability",
        Durability::Strict,
        &[
            ("strict", Durability::Strict),
            ("bounded", Durability::Bounded),
        ],
    );
    // Which other keys belong here depends on the protocol: without one, say nothing about them.
    let protocol = protocol?;
    let upstream = match protocol {
        Protocol::Postgres => {
            read_postgres(&mut section, address.as_ref(), mask, base).map(Upstream::Postgres)
        }
        Protocol::Ssh => read_ssh(&mut section, base).map(Upstream::Ssh),
        Protocol::Kubernetes => {
            read_kubernetes(&mut section, address.as_ref(), base).map(Upstream::Kubernetes)
        }
    };
    section.finish();
    Some(TargetConfig {
        name: name?,
        address: address?,
        environment: environment?,
        mode,
        mask,
        durability,
        upstream: upstream?,
    })
}

fn read_server_tls(
    section: &mut Section<'_, '_>,
    address: Option<&HostPort>,
    base: &Path,
) -> Option<ServerTls> {
    let server_name = section.optional("server_name", text_value);
    let ca_file = section.required("ca_file", |text| path(base, text));
    Some(ServerTls {
        server_name: server_name.or_else(|| address.map(|address| address.host.clone()))?,
        ca_file: ca_file?,
    })
}

fn read_postgres(
    section: &mut Section<'_, '_>,
    address: Option<&HostPort>,
    mask: bool,
    base: &Path,
) -> Option<PostgresUpstream> {
    let tls = read_server_tls(section, address, base);
    let masking = section.choice(
        "masking",
        Masking::Shared,
        &[
            ("shared", Masking::Shared),
            ("guaranteed", Masking::Guaranteed),
        ],
    );
    if masking == Masking::Guaranteed && !mask {
        section.complain(
            "masking",
            "`masking = \"guaranteed\"` and `mask = \"off\"` contradict each other",
            Some(
                "leave out `mask`: there is nothing to switch off where the role can't read".into(),
            ),
        );
    }
    let direct_tls = section.choice(
        "tls_negotiation",
        false,
        &[("postgres", false), ("direct", true)],
    );
    let database = section.optional("database", text_value);
    let credential = section
        .required_section("credential")
        .and_then(|s| read_credential(s, base));
    Some(PostgresUpstream {
        tls: tls?,
        direct_tls,
        database,
        credential: credential?,
        masking,
    })
}

fn read_ssh(section: &mut Section<'_, '_>, base: &Path) -> Option<SshUpstream> {
    let user = section.required("user", text_value);
    let key_file = section.required("key_file", |text| path(base, text));
    let host_keys = section.non_empty_list("host_keys", text_value);
    Some(SshUpstream {
        user: user?,
        key_file: key_file?,
        host_keys: host_keys?,
    })
}

fn read_kubernetes(
    section: &mut Section<'_, '_>,
    address: Option<&HostPort>,
    base: &Path,
) -> Option<KubernetesUpstream> {
    let tls = read_server_tls(section, address, base);
    let user = section.required("user", text_value);
    let credential = section
        .required_section("credential")
        .and_then(|s| read_kubernetes_credential(s, base));
    Some(KubernetesUpstream {
        tls: tls?,
        user: user?,
        credential: credential?,
    })
}

fn read_kubernetes_credential(
    mut section: Section<'_, '_>,
    base: &Path,
) -> Option<KubernetesCredential> {
    section.required("kind", text_value);
    let is_token = section.choice(
        "kind",
        None,
        &[("token", Some(true)), ("certificate", Some(false))],
    )?;
    let credential = if is_token {
        read_secret(&mut section, "token_file", "token_env", base).map(KubernetesCredential::Token)
    } else {
        let certificate = section.required("certificate", |text| path(base, text));
        let key = section.required("key", |text| path(base, text));
        certificate
            .zip(key)
            .map(|(certificate, key)| TlsFiles { certificate, key })
            .map(KubernetesCredential::Certificate)
    };
    section.finish();
    credential
}

fn read_credential(mut section: Section<'_, '_>, base: &Path) -> Option<Credential> {
    #[derive(Clone, Copy)]
    enum Kind {
        Password,
        ClientSecret,
        WorkloadIdentity,
        ManagedIdentity,
        Developer,
    }
    const KINDS: [(&str, Option<Kind>); 5] = [
        ("password", Some(Kind::Password)),
        ("client_secret", Some(Kind::ClientSecret)),
        ("workload_identity", Some(Kind::WorkloadIdentity)),
        ("managed_identity", Some(Kind::ManagedIdentity)),
        ("developer", Some(Kind::Developer)),
    ];
    section.required("kind", text_value);
    let kind = section.choice("kind", None, &KINDS);
    let user = section.required("user", text_value);
    let Some(kind) = kind else {
        // Which other keys belong here depends on the kind: say nothing about them.
        return None;
    };
    let credential = match kind {
        Kind::Password => {
            let password = read_secret(&mut section, "password_file", "password_env", base);
            user.zip(password)
                .map(|(user, password)| Credential::Password { user, password })
        }
        Kind::ClientSecret => {
            let identity = read_identity(&mut section);
            let secret = read_secret(
                &mut section,
                "client_secret_file",
                "client_secret_env",
                base,
            );
            user.zip(identity)
                .zip(secret)
                .map(|((user, identity), secret)| Credential::ClientSecret {
                    user,
                    identity,
                    secret,
                })
        }
        Kind::WorkloadIdentity => {
            let identity = read_identity(&mut section);
            let token_file = section.required("token_file", |text| path(base, text));
            user.zip(identity)
                .zip(token_file)
                .map(
                    |((user, identity), token_file)| Credential::WorkloadIdentity {
                        user,
                        identity,
                        token_file,
                    },
                )
        }
        Kind::ManagedIdentity => {
            let client = section.optional("client_id", AppId::parse);
            let scope = read_scope(&mut section);
            user.map(|user| Credential::ManagedIdentity {
                user,
                client,
                scope,
            })
        }
        Kind::Developer => {
            let scope = read_scope(&mut section);
            user.map(|user| Credential::Developer { user, scope })
        }
    };
    section.finish();
    credential
}

fn read_scope(section: &mut Section<'_, '_>) -> String {
    let scope = section.optional("scope", text_value);
    scope.unwrap_or_else(|| AZURE_POSTGRES_SCOPE.to_owned())
}

fn read_identity(section: &mut Section<'_, '_>) -> Option<EntraIdentity> {
    let tenant = section.required("tenant", TenantId::parse);
    let client = section.required("client_id", AppId::parse);
    let scope = read_scope(section);
    Some(EntraIdentity {
        tenant: tenant?,
        client: client?,
        scope,
    })
}
