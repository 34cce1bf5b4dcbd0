//! The TOML document, key by key, into [`Config`].

use std::{
    convert::Infallible,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gateway_core::{
    id::{TargetName, TenantId},
    identity::TokenRules,
    limits::Limits,
};
use toml::de::DeTable;

use super::{
    Bounds, Config, ConfigError, Entra, GatewayConfig, Listener, Protocol, SecretSource, TlsFiles,
    reader::{Mistakes, Section},
    target::read_targets,
};

/// Larger than any honest configuration, bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

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
    let (targets, protocols) = read_targets(root.sections("target"), base);
    let mut listeners = read_listeners(root.sections("listener"));
    for (listener, section) in &mut listeners {
        let Some(target) = &listener.target else {
            continue;
        };
        match protocols.get(target) {
            Some(Some(protocol)) => listener.protocol = *protocol,
            // Its own mistake has been told.
            Some(None) => {}
            None => section.complain("target", format!("there is no target `{target}`"), None),
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
    let v1_issuer = section.optional("v1_issuer", text_value);
    let ca_file = section.optional("ca_file", |text| path(base, text));
    let required_roles = section.list("required_roles", text_value);
    let reviewer_roles = list_or(&mut section, "reviewer_roles", "Gateway.Reviewer");
    let operator_roles = list_or(&mut section, "operator_roles", "Gateway.Operator");
    if let (Some(tenants), Some(audiences)) = (&tenants, &audiences)
        && let Err(e) = TokenRules::new(&authority, tenants.clone(), audiences.clone())
    {
        section.complain("authority", e.to_string(), None);
    } else if let Some(host) = &v1_issuer
        && let Err(e) = TokenRules::check_v1_issuer(host)
    {
        section.complain("v1_issuer", e.to_string(), None);
    }
    section.finish();
    Some(Entra {
        authority,
        tenants: tenants?,
        audiences: audiences?,
        v1_issuer,
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
        let protocol = section.optional("protocol", Protocol::parse);
        if target.is_some() && protocol.is_some() {
            let what = "a listener with a target speaks that target's protocol";
            section.complain("protocol", what, None);
        }
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
        let listener = Listener {
            address,
            protocol: protocol.unwrap_or(Protocol::Postgres),
            target,
        };
        listeners.push((listener, section));
    }
    listeners
}

pub(super) fn read_secret(
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

pub(super) fn text_value(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("must not be empty or hold control characters");
    }
    Ok(text.to_owned())
}

pub(super) fn path(base: &Path, text: &str) -> Result<PathBuf, Infallible> {
    Ok(base.join(text))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
