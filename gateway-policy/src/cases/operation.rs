//! What a case asks for, as an operation.

use std::sync::Arc;

use gateway_core::{
    catalogue::Snapshot,
    decision::{Denial, Reason},
    id::Digest,
    mask::Classified,
    operation::{
        Action, Analysis, ApiUnit, Bindings, CommandFacts, CommandKind, CommandUnit, Effect,
        Inspection, Object, Operation, SessionOp, SqlStage, SqlUnit,
    },
};

use super::Case;

/// Says what texts of each protocol do. The gateway's own parsers, wherever cases are run for users.
pub trait Analyst {
    /// What a SQL text does.
    fn sql(&self, text: &Arc<str>, snapshot: &Snapshot, classified: &Classified) -> Analysis;

    /// What can be told about a command line.
    fn command(&self, line: &str) -> (CommandFacts, Inspection);

    /// What an API call does.
    ///
    /// # Errors
    /// Why the call is refused before any policy is asked.
    fn api(&self, call: &Call<'_>) -> Result<ApiUnit, String>;
}

/// An API call as a case writes it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The media type of the body, where the case says it.
    pub content_type: Option<&'a str>,
    /// The body, if there is one.
    pub body: Option<&'a str>,
}

/// What the cases of one file are about.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) snapshot: Option<&'a Snapshot>,
    pub(super) classified: &'a Classified,
}

/// What a case comes to before any policy is asked.
pub(super) enum Asked {
    Operation(Box<Operation>),
    /// Refused by the protocol.
    Refused(Denial),
}

/// `Err`: the case itself is wrong.
pub(super) fn asked(
    case: &Case,
    scene: Scene<'_>,
    analyst: &impl Analyst,
) -> Result<Asked, String> {
    let operation = match case.texts()? {
        None => Operation::Session(SessionOp::Open {
            database: scene.snapshot.map(|snapshot| snapshot.database.clone()),
        }),
        Some(Text::Statement(text)) => sql(case, text, scene, analyst)?,
        Some(Text::Command(line)) => {
            let (facts, inspection) = analyst.command(line);
            let facts = CommandFacts {
                pty: case.pty,
                ..facts
            };
            on_host(CommandKind::Exec, line, facts, inspection)
        }
        Some(Text::Shell) => {
            let facts = CommandFacts {
                pty: true,
                ..CommandFacts::default()
            };
            on_host(CommandKind::Shell, "", facts, Inspection::Full)
        }
        Some(Text::Read(path)) => file(Action::SshRead, "read", path),
        Some(Text::Write(path)) => file(Action::SshWrite, "write", path),
        Some(Text::Request(request)) => {
            let (method, target) = request
                .split_once(' ')
                .ok_or("`request` is a method and a path")?;
            let call = Call {
                method,
                target,
                content_type: case.content_type.as_deref(),
                body: case.body.as_deref(),
            };
            match analyst.api(&call) {
                Ok(unit) => Operation::Api(unit),
                Err(why) => return Ok(Asked::Refused(Denial::new(Reason::Protocol, why))),
            }
        }
    };
    Ok(Asked::Operation(Box::new(operation)))
}

/// The one thing that a case asks for.
enum Text<'a> {
    Statement(&'a str),
    Command(&'a str),
    Shell,
    Read(&'a str),
    Write(&'a str),
    Request(&'a str),
}

impl Case {
    fn texts(&self) -> Result<Option<Text<'_>>, String> {
        let all = [
            self.statement.as_deref().map(Text::Statement),
            self.command.as_deref().map(Text::Command),
            self.shell.then_some(Text::Shell),
            self.read.as_deref().map(Text::Read),
            self.write.as_deref().map(Text::Write),
            self.request.as_deref().map(Text::Request),
        ];
        let mut given = all.into_iter().flatten();
        match (given.next(), given.next()) {
            (one, None) => Ok(one),
            (_, Some(_)) => Err("a case asks for one thing".to_owned()),
        }
    }
}

fn sql(
    case: &Case,
    statement: &str,
    scene: Scene<'_>,
    analyst: &impl Analyst,
) -> Result<Operation, String> {
    let snapshot = scene.snapshot.ok_or("statements need a `catalogue`")?;
    let text: Arc<str> = statement.into();
    let analysis = Arc::new(analyst.sql(&text, snapshot, scene.classified));
    let bindings = case.parameters.as_ref().map(|values| Bindings {
        digest: Digest::of(b"test"),
        shown: values.iter().cloned().map(Some).collect(),
    });
    let stage = if bindings.is_some() {
        SqlStage::Execute
    } else {
        SqlStage::Query
    };
    Ok(Operation::Sql(SqlUnit {
        stage,
        text,
        analysis,
        bindings,
        in_transaction: case.in_transaction,
    }))
}

fn on_host(
    kind: CommandKind,
    line: &str,
    facts: CommandFacts,
    inspection: Inspection,
) -> Operation {
    let action = match kind {
        CommandKind::Shell => Action::SshShell,
        CommandKind::Exec | CommandKind::File => Action::SshExec,
    };
    let effect = Effect {
        action,
        object: Object::Target,
    };
    Operation::Command(CommandUnit {
        kind,
        text: line.into(),
        effects: Arc::new([effect]),
        inspection,
        facts,
    })
}

fn file(action: Action, verb: &str, path: &str) -> Operation {
    let effect = Effect {
        action,
        object: Object::Path {
            path: path.to_owned(),
        },
    };
    Operation::Command(CommandUnit {
        kind: CommandKind::File,
        text: format!("{verb} {path}").into(),
        effects: Arc::new([effect]),
        inspection: Inspection::Full,
        facts: CommandFacts::default(),
    })
}
