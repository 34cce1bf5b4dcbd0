//! Leaves that belong to no session: what happened to the gateway itself.

use gateway_core::id::Digest;
use gateway_core::time::Now;

use super::encode::Encoded;
use super::header::Header;
use crate::json;

/// Something that happened to the gateway, entered by its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnEntry {
    /// Another policy came into force.
    PolicyChange {
        /// Digest of the policy before; `None` at start.
        before: Option<Digest>,
        /// Digest of the policy in force now.
        after: Digest,
        /// Object id of its author, where one is known.
        author: Option<String>,
        /// By what way it came: `file`, `api`.
        channel: String,
        /// In the author's words.
        reason: String,
    },
    /// The configuration changed.
    ConfigChange {
        /// Digest of the configuration before; `None` at start.
        before: Option<Digest>,
        /// Digest of the configuration in force now.
        after: Digest,
        /// By what way it came: `start`, `reload`.
        channel: String,
    },
    /// A person used the admin interface.
    AdminAction {
        /// Entra object id of the person.
        actor: String,
        /// What was done: `session.kill`.
        action: String,
        /// To what.
        subject: String,
    },
    /// A package was made.
    EvidenceExport {
        /// Who made it: Entra object id, or the local user.
        actor: String,
        /// SHA-256 of the package.
        package: Digest,
        /// First leaf in it.
        from_index: u64,
        /// First leaf not in it.
        to_index: u64,
    },
}

impl OwnEntry {
    pub(crate) fn encode(&self, now: Now) -> Encoded {
        let mut header = Header {
            mono_us: now.mono.as_micros(),
            wall_us: now.wall.as_micros(),
            ..Header::default()
        };
        let body = match self {
            Self::PolicyChange {
                before,
                after,
                author,
                channel,
                reason,
            } => {
                header.kind = "policy.change";
                header.policy = Some(after.0);
                json::object(|o| {
                    o.hex("after", &after.0);
                    o.text_opt("author", author.as_deref());
                    o.hex_opt("before", before.as_ref().map(|digest| digest.0.as_slice()));
                    o.text("channel", channel);
                    o.text("reason", reason);
                })
            }
            Self::ConfigChange {
                before,
                after,
                channel,
            } => {
                header.kind = "config.change";
                json::object(|o| {
                    o.hex("after", &after.0);
                    o.hex_opt("before", before.as_ref().map(|digest| digest.0.as_slice()));
                    o.text("channel", channel);
                })
            }
            Self::AdminAction {
                actor,
                action,
                subject,
            } => {
                header.kind = "admin.action";
                json::object(|o| {
                    o.text("action", action);
                    o.text("actor", actor);
                    o.text("subject", subject);
                })
            }
            Self::EvidenceExport {
                actor,
                package,
                from_index,
                to_index,
            } => {
                header.kind = "evidence.export";
                header.counters = vec![("from_index", *from_index), ("to_index", *to_index)];
                json::object(|o| {
                    o.text("actor", actor);
                    o.hex("package", &package.0);
                })
            }
        };
        Encoded {
            header,
            body: Some(body),
        }
    }
}
