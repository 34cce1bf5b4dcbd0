//! `gateway approvals`.

use clap::{Args, Subcommand};

use super::{Exit, Failure, api::ApiArgs, block_on};
use crate::{
    admin::dto::{ApprovalView, VoteRequest, VoteView},
    console,
};

/// See and answer requests for approval.
#[derive(Debug, Subcommand)]
pub(super) enum ApprovalsCommand {
    /// Pending requests, oldest first.
    List(ListArgs),
    /// One request: exactly what would run.
    Show(ShowArgs),
    /// Agree.
    Approve(VoteArgs),
    /// Refuse.
    Deny(VoteArgs),
}

/// Pending requests.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// One request.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The request's id.
    id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// An answer.
#[derive(Debug, Args)]
pub(super) struct VoteArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The request's id.
    id: String,
    /// Why; kept as evidence.
    #[arg(long, default_value = "")]
    comment: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl ApprovalsCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => block_on(list(args)),
            Self::Show(args) => block_on(show(args)),
            Self::Approve(args) => block_on(vote(args, "approve")),
            Self::Deny(args) => block_on(vote(args, "deny")),
        }
    }
}

async fn list(args: ListArgs) -> Result<Exit, Failure> {
    let pending: Vec<ApprovalView> = args.api.open()?.get("/v1/approvals").await?;
    if args.json {
        console::json(&pending);
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 5]> = pending
        .into_iter()
        .map(|approval| {
            [
                approval.id,
                approval.requested_at,
                approval.target,
                approval.effects.join(", "),
                one_line(&approval.text),
            ]
        })
        .collect();
    console::table(["ID", "REQUESTED", "TARGET", "EFFECTS", "STATEMENT"], &rows);
    Ok(Exit::Done)
}

/// The start of a text, for a table.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

async fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let approval: ApprovalView = args
        .api
        .open()?
        .get(&format!("/v1/approvals/{}", segment(&args.id)?))
        .await?;
    if args.json {
        console::json(&approval);
        return Ok(Exit::Done);
    }
    let field = |name: &str, value: &str| {
        console::line(format!("{name:<12}{}", console::printable(value)));
    };
    field("approval", &approval.id);
    field("agent", &approval.agent);
    field("application", &approval.app);
    field("target", &approval.target);
    field(
        "session",
        &format!("{} unit {}", approval.session, approval.unit),
    );
    field("requested", &approval.requested_at);
    field("expires", &approval.expires_at);
    field("because", &approval.message);
    for requirement in &approval.requirements {
        let text = format!(
            "{} of {} (rule {})",
            requirement.approvers, requirement.reviewers, requirement.rule
        );
        field("needs", &text);
    }
    for vote in &approval.votes {
        field(
            "vote",
            &format!("{} by {} ({})", vote.answer, vote.name, vote.comment),
        );
    }
    for effect in &approval.effects {
        field("effect", effect);
    }
    console::line("");
    for line in approval.text.lines() {
        console::line(format!("    {}", console::printable(line)));
    }
    for (index, value) in approval.parameters.iter().enumerate() {
        let value = value
            .as_deref()
            .map_or("NULL".to_owned(), console::printable);
        console::line(format!("    ${} = {value}", index + 1));
    }
    Ok(Exit::Done)
}

async fn vote(args: VoteArgs, answer: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/approvals/{}/{answer}", segment(&args.id)?);
    let vote = VoteRequest {
        comment: args.comment,
    };
    let voted: VoteView = args.api.open()?.post(&path, &vote).await?;
    if args.json {
        console::json(&voted);
    } else {
        console::line(format!("{} is {}", voted.id, voted.state));
    }
    Ok(Exit::Done)
}

/// An id as part of a path.
fn segment(id: &str) -> Result<&str, Failure> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(Failure::plain("that is not an id"));
    }
    Ok(id)
}
