//! The TOML document, key by key, into [`Config`].

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    id::{AppId, TargetName, TenantId},
    identity::TokenRules,
    limits::Limits,
    target::{Durability, Mode},
};
use toml::de::DeTable;

use super::{
    Bounds, Config, ConfigError, Credential, Entra, EntraIdentity, GatewayConfig, HostPort,
    Listener, SecretSource, TargetConfig, TlsFiles,
    reader::{Mistakes, Section},
};

/// Larger than any honest configuration, bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// What Entra calls Azure Database for PostgreSQL (Microsoft Learn, "Use Microsoft Entra ID for
/// authentication with Azure Database for PostgreSQL", section "Retrieve the Microsoft Entra
/// access token").
const AZURE_POSTGRES_SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`]; every mistake in the file is in it, not only the first.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text, base)
    }

    fn parse(name: &str, text: &str, base: &Path) -> Result<Self, ConfigError> {
        let mistakes = Mistakes::new(name, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            mistakes.add(error.span().unwrap_or_default(), error.message(), None);
        }
        let config = if errors.is_empty() {
            let root = Section::new(document.get_ref(), 0..0, "the configuration", &mistakes);
            read_root(root, base)
        } else {
            None
        };
        let mistakes = mistakes.into_inner();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError::Mistakes(mistakes)),
        }
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = |path: &Path| -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(CONFIG_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
    if u64::try_from(text.len()).map_or(true, |len| len > CONFIG_BYTES_MAX) {
        return Err(ConfigError::TooLarge {
            path: path.into(),
            max: CONFIG_BYTES_MAX,
        });
    }
    Ok(text)
}

fn read_root(mut root: Section<'_, '_>, base: &Path) -> Option<Config> {
    let gateway = root
        .required_section("gateway")
        .and_then(|s| read_gateway(s, base));
    let entra = root
        .required_section("entra")
        .and_then(|s| read_entra(s, base));
    let tls = root.required_section("tls").and_then(|s| read_tls(s, base));
    let listeners = read_listeners(root.sections("listener"));
    let (targets, target_names) = read_targets(root.sections("target"), base);
    for (listener, section) in &listeners {
        if let Some(target) = &listener.target
            && !target_names.contains(target)
        {
            section.complain("target", format!("there is no target `{target}`"), None);
        }
    }
    root.finish();
    Some(Config {
        gateway: gateway?,
        entra: entra?,
        tls: tls?,
        listeners: listeners
            .into_iter()
            .map(|(listener, section)| {
                section.finish();
                listener
            })
            .collect(),
        targets,
    })
}

fn read_gateway(mut section: Section<'_, '_>, base: &Path) -> Option<GatewayConfig> {
    let id = section.required("id", gateway_id);
    let data_dir = section.required("data_dir", |text| path(base, text));
    let policy = section.required("policy", |text| path(base, text));
    let admin = section.optional("admin", str::parse::<SocketAddr>);
    let mask_key = section.optional("mask_key_file", |text| path(base, text));
    let bounds = read_bounds(section.section("limits"));
    section.finish();
    Some(GatewayConfig {
        id: id?,
        data_dir: data_dir?,
        policy: policy?,
        admin,
        mask_key: mask_key.map(SecretSource::File),
        bounds,
    })
}

fn gateway_id(text: &str) -> Result<String, &'static str> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 63 || !text.chars().all(ok) {
        return Err("expects 1 to 63 of a-z 0-9 . _ -");
    }
    Ok(text.to_owned())
}

fn read_bounds(section: Option<Section<'_, '_>>) -> Bounds {
    let mut session = Limits::default();
    let mut bounds = Bounds {
        sessions_max: 1000,
        sessions_per_source_max: 250,
        approvals_max: 1000,
        drain_time: Duration::from_secs(5),
        session: Arc::default(),
    };
    if let Some(mut section) = section {
        let mut count = |key, value: &mut usize| {
            let default = u64::try_from(*value).unwrap_or(u64::MAX);
            let number = section.number(key, default, 1..=100_000);
            *value = usize::try_from(number).unwrap_or(usize::MAX);
        };
        count("sessions_max", &mut bounds.sessions_max);
        count(
            "sessions_per_source_max",
            &mut bounds.sessions_per_source_max,
        );
        count("approvals_max", &mut bounds.approvals_max);
        let mut seconds = |key, value: &mut Duration, max| {
            *value = Duration::from_secs(section.number(key, value.as_secs(), 1..=max));
        };
        seconds("drain_seconds", &mut bounds.drain_time, 3600);
        seconds("login_seconds", &mut session.login_time_max, 300);
        seconds(
            "session_seconds",
            &mut session.session_time_max,
            7 * 24 * 3600,
        );
        let hold = &mut session.hold_in_transaction_time_max;
        seconds("hold_in_transaction_seconds", hold, 3600);
        section.finish();
    }
    bounds.session = Arc::new(session);
    bounds
}

fn read_entra(mut section: Section<'_, '_>, base: &Path) -> Option<Entra> {
    let authority = section
        .optional("authority", text_value)
        .unwrap_or_else(|| TokenRules::PUBLIC_CLOUD.to_owned());
    let tenants = section.non_empty_list("tenants", TenantId::parse);
    let audiences = section.non_empty_list("audiences", text_value);
    let ca_file = section.optional("ca_file", |text| path(base, text));
    let required_roles = section.list("required_roles", text_value);
    let reviewer_roles = list_or(&mut section, "reviewer_roles", "Gateway.Reviewer");
    let operator_roles = list_or(&mut section, "operator_roles", "Gateway.Operator");
    if let (Some(tenants), Some(audiences)) = (&tenants, &audiences)
        && let Err(e) = TokenRules::new(&authority, tenants.clone(), audiences.clone())
    {
        section.complain("authority", e.to_string(), None);
    }
    section.finish();
    Some(Entra {
        authority,
        tenants: tenants?,
        audiences: audiences?,
        ca_file,
        required_roles,
        reviewer_roles,
        operator_roles,
    })
}

fn list_or(section: &mut Section<'_, '_>, key: &'static str, default: &str) -> Vec<String> {
    let list = section.list(key, text_value);
    if list.is_empty() {
        vec![default.to_owned()]
    } else {
        list
    }
}

fn read_tls(mut section: Section<'_, '_>, base: &Path) -> Option<TlsFiles> {
    let certificate = section.required("certificate", |text| path(base, text));
    let key = section.required("key", |text| path(base, text));
    section.finish();
    Some(TlsFiles {
        certificate: certificate?,
        key: key?,
    })
}

fn read_listeners<'a, 'i>(sections: Vec<Section<'a, 'i>>) -> Vec<(Listener, Section<'a, 'i>)> {
    let mut listeners: Vec<(Listener, Section<'a, 'i>)> = Vec::new();
    for mut section in sections {
        let address = section.required("address", str::parse::<SocketAddr>);
        let target = section.optional("target", TargetName::parse);
        let Some(address) = address else {
            section.finish();
            continue;
        };
        if address.port() != 0 && listeners.iter().any(|(other, _)| other.address == address) {
            section.complain(
                "address",
                format!("two listeners have the address {address}"),
                None,
            );
        }
        listeners.push((Listener { address, target }, section));
    }
    listeners
}

/// The targets without a mistake, and the names of all.
fn read_targets(
    sections: Vec<Section<'_, '_>>,
    base: &Path,
) -> (BTreeMap<TargetName, TargetConfig>, BTreeSet<TargetName>) {
    let mut targets = BTreeMap::new();
    let mut names = BTreeSet::new();
    for mut section in sections {
        let name = section.required("name", TargetName::parse);
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            section.complain("name", format!("two targets are called `{name}`"), None);
        }
        if let Some(target) = read_target(name, section, base) {
            targets.insert(target.name.clone(), target);
        }
    }
    (targets, names)
}

fn read_target(
    name: Option<TargetName>,
    mut section: Section<'_, '_>,
    base: &Path,
) -> Option<TargetConfig> {
    let protocol = section.required("protocol", |text| match text {
        "postgres" => Ok(()),
        _ => Err("only `postgres` is supported"),
    });
    let address = section.required("address", HostPort::parse);
    let server_name = section.optional("server_name", text_value);
    let ca_file = section.required("ca_file", |text| path(base, text));
    let database = section.optional("database", text_value);
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
    let credential = section
        .required_section("credential")
        .and_then(|s| read_credential(s, base));
    section.finish();
    protocol?;
    let address = address?;
    Some(TargetConfig {
        name: name?,
        server_name: server_name.unwrap_or_else(|| address.host.clone()),
        address,
        ca_file: ca_file?,
        database,
        environment: environment?,
        mode,
        mask,
        durability,
        credential: credential?,
    })
}

fn read_credential(mut section: Section<'_, '_>, base: &Path) -> Option<Credential> {
    #[derive(Clone, Copy)]
    enum Kind {
        Password,
        ClientSecret,
        WorkloadIdentity,
    }
    const KINDS: [(&str, Option<Kind>); 3] = [
        ("password", Some(Kind::Password)),
        ("client_secret", Some(Kind::ClientSecret)),
        ("workload_identity", Some(Kind::WorkloadIdentity)),
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
    };
    section.finish();
    credential
}

fn read_identity(section: &mut Section<'_, '_>) -> Option<EntraIdentity> {
    let tenant = section.required("tenant", TenantId::parse);
    let client = section.required("client_id", AppId::parse);
    let scope = section.optional("scope", text_value);
    Some(EntraIdentity {
        tenant: tenant?,
        client: client?,
        scope: scope.unwrap_or_else(|| AZURE_POSTGRES_SCOPE.to_owned()),
    })
}

fn read_secret(
    section: &mut Section<'_, '_>,
    file: &'static str,
    env: &'static str,
    base: &Path,
) -> Option<SecretSource> {
    let from_file = section
        .optional(file, |text| path(base, text))
        .map(SecretSource::File);
    let from_env = section.optional(env, text_value).map(SecretSource::Env);
    match (from_file, from_env) {
        (Some(_), Some(_)) => {
            section.complain(
                env,
                format!("`{file}` and `{env}` exclude each other"),
                None,
            );
            None
        }
        (None, None) => {
            let message = format!("the credential lacks `{file}` (or `{env}`)");
            section.complain(file, message, None);
            None
        }
        (from_file, from_env) => from_file.or(from_env),
    }
}

fn text_value(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("must not be empty or hold control characters");
    }
    Ok(text.to_owned())
}

fn path(base: &Path, text: &str) -> Result<PathBuf, Infallible> {
    Ok(base.join(text))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
