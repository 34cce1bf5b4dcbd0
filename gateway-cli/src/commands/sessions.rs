//! `gateway sessions`.

mod replay;

use clap::{Args, Subcommand};
use gateway_audit::index::{Index, LeafRow, SessionFilter, SessionRow};
use gateway_core::{id::SessionId, time::Wall};

use super::{ConfigArgs, Exit, Failure, api::ApiArgs, block_on};
use crate::{admin::dto::SessionView, clock, config::Config, console, gateway};

/// See recorded sessions, end live ones.
#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// Recorded sessions, the newest first.
    List(ListArgs),
    /// One recorded session: every record of it.
    Show(ShowArgs),
    /// What passed in a recorded session, as delivered: played on the terminal, or listed. Whatever is
    /// in it, the terminal prints, colours and moves its cursor, and does nothing else.
    Replay(replay::ReplayArgs),
    /// Sessions that are open now.
    Live(LiveArgs),
    /// End an open session.
    Kill(KillArgs),
}

/// Recorded sessions.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Of this agent only (object id).
    #[arg(long)]
    agent: Option<String>,
    /// Of this target only.
    #[arg(long)]
    target: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// One recorded session.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The session's id.
    #[arg(value_parser = SessionId::parse)]
    id: SessionId,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Open sessions.
#[derive(Debug, Args)]
pub(super) struct LiveArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// End a session.
#[derive(Debug, Args)]
pub(super) struct KillArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The session's id.
    #[arg(value_parser = SessionId::parse)]
    id: SessionId,
}

impl SessionsCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => list(&args),
            Self::Show(args) => show(&args),
            Self::Replay(args) => replay::run(&args),
            Self::Live(args) => block_on(live(args)),
            Self::Kill(args) => block_on(kill(args)),
        }
    }
}

/// The index over the log, brought up to date.
pub(super) fn index(config: &Config) -> Result<Index, Failure> {
    let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
    let key = gateway::verifier_key(&config.gateway)?;
    let mut index =
        Index::open(&config.gateway.data_dir.join("index.db")).map_err(|e| plain(&e))?;
    index
        .refresh(&gateway::log_dir(&config.gateway), &key)
        .map_err(|e| plain(&e))?;
    Ok(index)
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let filter = SessionFilter {
        agent: args.agent.clone(),
        target: args.target.clone(),
        since_us: None,
        limit: args.limit,
    };
    let sessions = index(&config)?
        .sessions(&filter)
        .map_err(|e| Failure::plain(e.to_string()))?;
    if args.json {
        console::json(&sessions);
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 8]> = sessions.into_iter().map(row).collect();
    console::table(
        [
            "SESSION",
            "OPENED",
            "STATE",
            "AGENT",
            "TARGET",
            "STATEMENTS",
            "BLOCKED",
            "HELD",
        ],
        &rows,
    );
    Ok(Exit::Done)
}

fn row(session: SessionRow) -> [String; 8] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    [
        session.id,
        at(session.opened_us),
        session.state,
        or_dash(session.agent),
        or_dash(session.target),
        session.statements.to_string(),
        session.blocked.to_string(),
        session.held.to_string(),
    ]
}

fn at(micros: u64) -> String {
    clock::display(Wall::from_micros(micros))
}

fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let index = index(&config)?;
    let id = args.id.to_string();
    let plain = |error: &dyn std::error::Error| Failure::plain(error.to_string());
    if index.session(&id).map_err(|e| plain(&e))?.is_none() {
        return Err(Failure::no("no recorded session has this id"));
    }
    let leaves = index.leaves(&id).map_err(|e| plain(&e))?;
    if args.json {
        console::json(&leaves);
        return Ok(Exit::Done);
    }
    leaves.iter().for_each(print_leaf);
    Ok(Exit::Done)
}

fn print_leaf(leaf: &LeafRow) {
    let unit = leaf.unit.map(|unit| format!(" unit {unit}"));
    // Decision, outcome, approval and rules, as evidence headers name them.
    let known = ["dec", "out", "apr", "rul"]
        .iter()
        .filter_map(|name| leaf.header.get(name));
    let facts: String = known.map(|value| format!(" {}", text_of(value))).collect();
    console::line(format!(
        "{} {}{}{} (leaf {})",
        at(leaf.at_us),
        leaf.kind,
        unit.unwrap_or_default(),
        console::printable(&facts),
        leaf.index
    ));
    let fields = leaf.body.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| *name != "salt") {
        console::line(format!(
            "    {name}: {}",
            console::printable(&text_of(value))
        ));
    }
}

fn text_of(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

async fn live(args: LiveArgs) -> Result<Exit, Failure> {
    let sessions: Vec<SessionView> = args.api.open()?.get("/v1/sessions").await?;
    if args.json {
        console::json(&sessions);
        return Ok(Exit::Done);
    }
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let rows: Vec<[String; 6]> = sessions
        .into_iter()
        .map(|s| {
            [
                s.id,
                s.since,
                s.source,
                or_dash(s.agent),
                or_dash(s.target),
                or_dash(s.database),
            ]
        })
        .collect();
    console::table(
        ["SESSION", "SINCE", "SOURCE", "AGENT", "TARGET", "DATABASE"],
        &rows,
    );
    Ok(Exit::Done)
}

async fn kill(args: KillArgs) -> Result<Exit, Failure> {
    args.api
        .open()?
        .post_empty(&format!("/v1/sessions/{}/kill", args.id))
        .await?;
    console::line(format!("{} is closed", args.id));
    Ok(Exit::Done)
}
