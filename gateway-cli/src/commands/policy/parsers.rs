//! The gateway's own parsers, for tests and explanations of policies.

use std::sync::Arc;

use gateway_core::{
    catalogue::{CatalogueVersion, Snapshot},
    id::Digest,
    mask::Classified,
    operation::{
        Action, Analysis, ApiUnit, CommandFacts, CommandKind, CommandUnit, Effect, Inspection,
        Object, Operation,
    },
};
use gateway_policy::cases::{Analyst, Call};
use gateway_protocols::{
    kubernetes::{
        self,
        message::{Header, RequestHead, Upgrade},
    },
    sql, ssh,
};

/// A key of a WebSocket handshake: any will do where nobody answers.
const WEBSOCKET_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

/// What the sessions of each protocol would say.
pub(super) struct Parsers;

impl Analyst for Parsers {
    fn sql(&self, text: &Arc<str>, snapshot: &Snapshot, classified: &Classified) -> Analysis {
        // Only names the catalogue in records, of which tests make none.
        let version = CatalogueVersion(Digest::of(b"test"));
        sql::analyse(text, snapshot, version, classified)
    }

    fn command(&self, line: &str) -> (CommandFacts, Inspection) {
        let understood = ssh::command::understand(line);
        let facts = CommandFacts {
            argv: understood.argv,
            program: understood.program,
            pty: false,
        };
        (facts, understood.inspection)
    }

    fn api(&self, call: &Call<'_>) -> Result<ApiUnit, String> {
        let mut headers = Vec::new();
        let is_exec = call
            .target
            .split('?')
            .next()
            .is_some_and(|path| path.ends_with("/exec"));
        if is_exec {
            headers.extend([
                Header::new("sec-websocket-version", "13"),
                Header::new("sec-websocket-key", WEBSOCKET_KEY),
                Header::new("sec-websocket-protocol", "v5.channel.k8s.io"),
            ]);
        }
        let media = call
            .content_type
            .or(call.body.is_some().then_some("application/json"));
        headers.extend(media.map(|media| Header::new("content-type", media)));
        let head = RequestHead {
            method: call.method.to_owned(),
            target: call.target.to_owned(),
            headers,
            upgrade: is_exec.then_some(Upgrade::WebSocket),
        };
        kubernetes::understand(&head, call.body.unwrap_or_default().as_bytes())
            .map_err(|refusal| refusal.denial.message)
    }
}

/// A command line, run on a host.
pub(super) fn command(line: &str) -> Operation {
    let (facts, inspection) = Parsers.command(line);
    let effect = Effect {
        action: Action::SshExec,
        object: Object::Target,
    };
    Operation::Command(CommandUnit {
        kind: CommandKind::Exec,
        text: line.into(),
        effects: Arc::new([effect]),
        inspection,
        facts,
    })
}
