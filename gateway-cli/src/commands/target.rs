//! `gateway target`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gateway_policy::Bundle;

use super::{
    ConfigArgs, Exit, Failure, block_on,
    policy::{open, postgres},
};
use crate::{
    catalogue::load_for_script,
    console, gateway,
    postgres::{Order, script},
};

/// PostgreSQL 15, section 4.1.1 "Identifiers and Key Words".
const NAME_BYTES_MAX: usize = 63;

/// Make targets withhold what is classified.
#[derive(Debug, Subcommand)]
pub(super) enum TargetCommand {
    /// Write the SQL that makes a PostgreSQL target refuse every read of classified values by itself,
    /// for a DBA to review and run. Changes nothing.
    Provision(ProvisionArgs),
}

/// What to write.
#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The target, or `target:database`.
    target: String,
    /// For agents of a class of their own: the role is then called after the configured one and
    /// this, `role_CLASS`. Without it the configured role itself is narrowed.
    #[arg(long, value_name = "NAME", value_parser = class)]
    class: Option<String>,
    /// Revoke from PUBLIC what the role mustn't have, instead of only showing it.
    #[arg(long)]
    revoke_public: bool,
    /// Write into this file. Without it, to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn class(text: &str) -> Result<String, &'static str> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.is_empty() || !text.chars().all(sound) {
        return Err("expects lower-case letters, digits and `_`");
    }
    Ok(text.to_owned())
}

impl TargetCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Provision(args) => block_on(provision(args)),
        }
    }
}

async fn provision(args: ProvisionArgs) -> Result<Exit, Failure> {
    let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
    let config = args.config.load()?;
    let mask_key = gateway::mask_key(&config.gateway)?;
    let bundle = Bundle::load(&config.gateway.policy, mask_key.as_ref())?;
    let (target, database) = open(config, &args.target)?;
    let server = postgres(&target)?;
    let name = &target.config().name;
    let ceiling = target.config().upstream.user();
    let role = match &args.class {
        Some(class) => format!("{ceiling}_{class}"),
        None => ceiling.to_owned(),
    };
    if role.len() > NAME_BYTES_MAX {
        let message = format!("`{role}` is too long for a role: at most {NAME_BYTES_MAX} bytes");
        return Err(Failure::no(message));
    }

    let database = database.as_deref().unwrap_or(server.default_database());
    let connection = server.connector().connect(database).await;
    let mut connection = connection.map_err(|e| plain(&e))?;
    let loaded = load_for_script(&mut connection.client).await;
    let (snapshot, rights, provisioning) = loaded.map_err(|e| plain(&e))?;
    let classification = bundle.classify(name, &snapshot).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::no(lines.join("; "))
    })?;
    for entry in &classification.unmatched {
        console::note(format!(
            "warning: {}",
            console::printable(&entry.to_string())
        ));
    }
    let classified = classification.classified.guaranteed(&rights.reviewed());
    if classified.is_empty() {
        let message = format!("nothing in database `{database}` is classified");
        return Err(Failure::no(message)
            .with_hint("`classification.toml` says what is, by target, schema, table and column"));
    }
    let order = Order {
        target: name,
        role: &role,
        ceiling,
        revoke_public: args.revoke_public,
        catalogue: snapshot.version().map_err(|e| plain(&e))?,
        snapshot: &snapshot,
        policy: bundle.digest(),
        rights: &rights,
        provisioning: &provisioning,
        classified: &classified,
    };
    let script = script(&order).map_err(|e| plain(&e))?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, script).map_err(|e| Failure::other(path.display(), e))?;
        }
        None => console::piece(&script),
    }
    Ok(Exit::Done)
}
