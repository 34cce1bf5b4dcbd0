//! Requests whose paths are known, as operations.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use gateway_core::{
    id::UnitId,
    operation::{
        Action, CommandFacts, CommandKind, CommandUnit, Effect, Inspection, Object, Operation,
    },
};

use super::path::{Last, shown};
use crate::ssh::message::sftp::{Attributes, Request, Status};

/// A request whose paths the target has resolved, or said that it can't.
#[derive(Debug)]
pub(super) struct Located {
    /// The agent's number of it.
    pub(super) id: u32,
    /// With the agent's paths.
    pub(super) request: Request,
    /// The resolved paths, in the order of [`paths`].
    pub(super) paths: Vec<String>,
    /// What the target said of a path that it can't resolve: the request's answer, if it is allowed.
    pub(super) failure: Option<Status>,
    /// Of a request on a handle: the unit that opened it. Handles are given out again.
    pub(super) opened_by: Option<UnitId>,
}

/// The paths of a request, and what becomes of a link at their end.
pub(super) fn paths(request: &Request) -> Vec<(&Bytes, Last)> {
    match request {
        Request::Open { path, .. }
        | Request::Setstat { path, .. }
        | Request::Opendir { path }
        | Request::Realpath { path }
        | Request::Stat { path } => vec![(path, Last::Followed)],
        Request::Lstat { path }
        | Request::Remove { path }
        | Request::Mkdir { path, .. }
        | Request::Rmdir { path }
        | Request::Readlink { path } => vec![(path, Last::Itself)],
        Request::Rename { from, to } => vec![(from, Last::Itself), (to, Last::Itself)],
        Request::Close { .. }
        | Request::Read { .. }
        | Request::Write { .. }
        | Request::Fstat { .. }
        | Request::Fsetstat { .. }
        | Request::Readdir { .. }
        | Request::Symlink { .. }
        | Request::Extended { .. } => Vec::new(),
    }
}

impl Located {
    /// What it does.
    pub(super) fn operation(&self) -> Operation {
        let (reads, writes) = self.access();
        let actions = [(reads, Action::SshRead), (writes, Action::SshWrite)];
        let effects = self.paths.iter().flat_map(|path| {
            actions
                .iter()
                .filter(|(does, _)| *does)
                .map(|(_, action)| Effect {
                    action: *action,
                    object: Object::Path { path: path.clone() },
                })
        });
        Operation::Command(CommandUnit {
            kind: CommandKind::File,
            text: Arc::from(self.text()),
            effects: effects.collect(),
            inspection: Inspection::Full,
            facts: CommandFacts::default(),
        })
    }

    /// Whether it reads, and whether it writes.
    pub(super) const fn access(&self) -> (bool, bool) {
        match &self.request {
            Request::Open { flags, .. } => (flags.reads(), flags.writes()),
            Request::Lstat { .. }
            | Request::Stat { .. }
            | Request::Fstat { .. }
            | Request::Opendir { .. }
            | Request::Readdir { .. }
            | Request::Realpath { .. }
            | Request::Readlink { .. }
            | Request::Read { .. }
            | Request::Close { .. } => (true, false),
            Request::Setstat { .. }
            | Request::Fsetstat { .. }
            | Request::Remove { .. }
            | Request::Mkdir { .. }
            | Request::Rmdir { .. }
            | Request::Rename { .. }
            | Request::Write { .. }
            | Request::Symlink { .. }
            | Request::Extended { .. } => (false, true),
        }
    }

    /// The operation and its paths: `read /srv/a`, `rename /srv/a /srv/b`.
    fn text(&self) -> String {
        let verb = match (&self.request, self.access()) {
            (Request::Open { .. }, (true, true)) => "read+write",
            (Request::Open { .. }, (true, false)) => "read",
            (Request::Open { .. }, (false, _)) => "write",
            (Request::Opendir { .. }, _) => "list",
            (Request::Fsetstat { .. }, _) => "setstat",
            (request, _) => request.name(),
        };
        let mut text = verb.to_owned();
        for path in &self.paths {
            text.push(' ');
            text.push_str(&shown(path));
        }
        if let Request::Open { attributes, .. }
        | Request::Setstat { attributes, .. }
        | Request::Fsetstat { attributes, .. }
        | Request::Mkdir { attributes, .. } = &self.request
        {
            tell(attributes, &mut text);
        }
        text
    }

    /// The request to send: with the paths that were decided on.
    pub(super) fn into_request(self) -> Request {
        let mut paths = self.paths.into_iter().map(Bytes::from);
        let mut next = |written: Bytes| paths.next().unwrap_or(written);
        match self.request {
            Request::Open {
                path,
                flags,
                attributes,
            } => Request::Open {
                path: next(path),
                flags,
                attributes,
            },
            Request::Setstat { path, attributes } => Request::Setstat {
                path: next(path),
                attributes,
            },
            Request::Mkdir { path, attributes } => Request::Mkdir {
                path: next(path),
                attributes,
            },
            Request::Opendir { path } => Request::Opendir { path: next(path) },
            Request::Realpath { path } => Request::Realpath { path: next(path) },
            Request::Stat { path } => Request::Stat { path: next(path) },
            Request::Lstat { path } => Request::Lstat { path: next(path) },
            Request::Remove { path } => Request::Remove { path: next(path) },
            Request::Rmdir { path } => Request::Rmdir { path: next(path) },
            Request::Readlink { path } => Request::Readlink { path: next(path) },
            Request::Rename { from, to } => Request::Rename {
                from: next(from),
                to: next(to),
            },
            // On handles, not on paths.
            request @ (Request::Close { .. }
            | Request::Read { .. }
            | Request::Write { .. }
            | Request::Fstat { .. }
            | Request::Fsetstat { .. }
            | Request::Readdir { .. }
            | Request::Symlink { .. }
            | Request::Extended { .. }) => request,
        }
    }
}

/// The attributes that are set, behind the paths.
fn tell(attributes: &Attributes, text: &mut String) {
    // Writing to a String can't fail.
    if let Some(mode) = attributes.permissions {
        let _ = write!(text, " mode={mode:04o}");
    }
    if let Some((user, group)) = attributes.owner {
        let _ = write!(text, " owner={user}:{group}");
    }
    if let Some(size) = attributes.size {
        let _ = write!(text, " size={size}");
    }
    if let Some((access, modification)) = attributes.times {
        let _ = write!(text, " times={access}:{modification}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::message::sftp::OpenFlags;

    fn told(request: Request, paths: &[&str]) -> (String, Vec<(Action, String)>) {
        let located = Located {
            id: 1,
            request,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            failure: None,
            opened_by: None,
        };
        let operation = located.operation();
        let effects = operation
            .effects()
            .iter()
            .map(|effect| match &effect.object {
                Object::Path { path } => (effect.action, path.clone()),
                other => panic!("{other:?}"),
            })
            .collect();
        (operation.text().to_owned(), effects)
    }

    #[test]
    fn requests_are_told_by_what_they_do_and_where() {
        let bytes = Bytes::from_static;
        let open = |flags, permissions| Request::Open {
            path: bytes(b"a"),
            flags: OpenFlags(flags),
            attributes: Attributes {
                permissions,
                ..Attributes::default()
            },
        };
        let (read, write) = (Action::SshRead, Action::SshWrite);
        for (request, paths, text, actions) in [
            (open(1, None), &["/a"][..], "read /a", &[read][..]),
            (
                open(0x1a, Some(0o644)),
                &["/a"],
                "write /a mode=0644",
                &[write],
            ),
            (open(3, None), &["/a"], "read+write /a", &[read, write]),
            (
                Request::Rename {
                    from: bytes(b"a"),
                    to: bytes(b"b"),
                },
                &["/a", "/b c"],
                "rename /a \"/b c\"",
                &[write, write],
            ),
            (
                Request::Setstat {
                    path: bytes(b"a"),
                    attributes: Attributes {
                        owner: Some((0, 0)),
                        size: Some(0),
                        ..Attributes::default()
                    },
                },
                &["/a"],
                "setstat /a owner=0:0 size=0",
                &[write],
            ),
            (
                Request::Opendir { path: bytes(b"a") },
                &["/a"],
                "list /a",
                &[read],
            ),
            (
                Request::Remove { path: bytes(b"a") },
                &["/a"],
                "remove /a",
                &[write],
            ),
        ] {
            let (said, effects) = told(request, paths);
            assert_eq!(said, text);
            let done: Vec<Action> = effects.iter().map(|(action, _)| *action).collect();
            assert_eq!(done, actions, "{text}");
            assert!(
                effects
                    .iter()
                    .all(|(_, path)| paths.contains(&path.as_str()))
            );
        }
    }

    #[test]
    fn what_is_sent_is_what_was_decided_on() {
        let located = Located {
            id: 1,
            request: Request::Rename {
                from: Bytes::from_static(b"a"),
                to: Bytes::from_static(b"../b"),
            },
            paths: vec!["/srv/a".into(), "/b".into()],
            failure: None,
            opened_by: None,
        };
        let sent = located.into_request();
        assert_eq!(
            sent,
            Request::Rename {
                from: Bytes::from_static(b"/srv/a"),
                to: Bytes::from_static(b"/b"),
            }
        );
    }
}
