//! One recorded unit, as the evidence tells it.

use gateway_audit::index::LeafRow;
use gateway_core::{
    id::{AppId, ObjectId, SessionId, TenantId},
    identity::{Groups, Principal, PrincipalKind},
    time::Wall,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    clock,
    commands::{Failure, sessions},
    config::Config,
};

/// Kinds of leaves that tell of a unit's request, the decisive ones first.
const REQUESTS: [&str; 3] = ["unit.intent", "block", "approval.request"];
/// What a token begins with that stands for a value which isn't stored; 32 hexadecimal digits follow.
const TOKEN: &str = "hmac:";
const TOKEN_DIGITS: usize = 32;

/// Where a unit is in the evidence: `session/unit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitRef {
    session: SessionId,
    unit: u64,
}

impl UnitRef {
    /// Reads `session/unit`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (session, unit) = text
            .split_once('/')
            .ok_or("a unit is SESSION/NUMBER, as `gateway sessions show` lists them")?;
        Ok(Self {
            session: SessionId::parse(session).map_err(|e| e.to_string())?,
            unit: unit.parse().map_err(|_| "no unit number".to_owned())?,
        })
    }
}

/// A recorded unit.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Who asked.
    pub(super) principal: Principal,
    /// The target's name.
    pub(super) target: String,
    /// The database of the session; empty where there is none.
    pub(super) database: String,
    /// The request, with string constants in place of tokens.
    pub(super) text: String,
    /// What was decided then.
    pub(super) view: RecordedView,
}

/// What was decided, as it is on record.
#[derive(Debug, Serialize)]
pub(super) struct RecordedView {
    leaf: u64,
    at: String,
    verdict: String,
    rules: Vec<String>,
    message: Option<String>,
    approval: Option<String>,
    text: String,
    rewritten: Option<String>,
    policy: String,
    catalogue: String,
}

impl Recorded {
    /// Finds a unit in the evidence.
    ///
    /// # Errors
    /// No such unit, one without a request that was understood, or a log that can't be read.
    pub(super) fn find(config: &Config, wanted: UnitRef) -> Result<Self, Failure> {
        let leaves = sessions::index(config)?
            .leaves(&wanted.session.to_string())
            .map_err(|e| Failure::plain(e.to_string()))?;
        let opened = leaves
            .iter()
            .find(|leaf| leaf.kind == "session.open")
            .ok_or_else(|| Failure::no("no session of this id was opened"))?;
        let request = REQUESTS
            .iter()
            .find_map(|kind| {
                leaves
                    .iter()
                    .find(|leaf| leaf.unit == Some(wanted.unit) && leaf.kind == *kind)
            })
            .ok_or_else(|| Failure::no("the session has no such unit"))?;
        let operation = member(&request.body, "operation");
        let Some(text) = member(operation, "text").as_str() else {
            return Err(Failure::no("what this unit asked for was not understood")
                .with_hint("`gateway sessions show` has what was recorded of it"));
        };
        Ok(Self {
            principal: principal(opened)?,
            target: text_of(member(&opened.header, "res")),
            database: text_of(member(&opened.body, "database")),
            text: with_constants(text),
            view: RecordedView {
                leaf: request.index,
                at: clock::display(Wall::from_micros(request.at_us)),
                verdict: text_of(member(&request.header, "dec")),
                rules: texts(member(&request.header, "rul")),
                message: optional(member(member(&request.body, "denial"), "message")),
                approval: optional(member(&request.header, "apr")),
                text: text.to_owned(),
                rewritten: optional(member(operation, "rewritten")),
                policy: text_of(member(&request.header, "pol")),
                catalogue: text_of(member(operation, "catalogue")),
            },
        })
    }
}

impl RecordedView {
    /// As lines of a report: what each is, and what it says.
    pub(super) fn lines(&self) -> Vec<(&'static str, &str)> {
        let mut lines = vec![("recorded", self.at.as_str()), ("verdict", &self.verdict)];
        lines.extend(self.message.as_deref().map(|message| ("message", message)));
        lines.extend(self.rules.iter().map(|rule| ("rule", rule.as_str())));
        lines.extend(self.approval.as_deref().map(|id| ("approval", id)));
        lines.push(("text", &self.text));
        lines.extend(self.rewritten.as_deref().map(|text| ("sent", text)));
        lines.extend([
            ("policy", self.policy.as_str()),
            ("catalogue", &self.catalogue),
        ]);
        lines
    }
}

/// Whose session it was, by the leaf that opened it.
fn principal(opened: &LeafRow) -> Result<Principal, Failure> {
    let broken = |_| Failure::plain(format!("leaf {} can't be understood", opened.index));
    let said = member(&opened.body, "principal");
    let groups = match member(said, "groups") {
        Value::Array(_) => {
            let known = texts(member(said, "groups"));
            let known = known
                .iter()
                .map(|id| ObjectId::parse(id))
                .collect::<Result<_, _>>();
            Groups::Known(known.map_err(broken)?)
        }
        _ => Groups::Overage,
    };
    let time = |name: &str| Wall::from_micros(member(said, name).as_u64().unwrap_or_default());
    Ok(Principal {
        tenant: TenantId::parse(&text_of(member(&opened.header, "tn"))).map_err(broken)?,
        object: ObjectId::parse(&text_of(member(&opened.header, "agt"))).map_err(broken)?,
        app: AppId::parse(&text_of(member(&opened.header, "app"))).map_err(broken)?,
        kind: match member(said, "kind").as_str() {
            Some("user") => PrincipalKind::User,
            _ => PrincipalKind::Application,
        },
        display_name: text_of(member(said, "display_name")),
        roles: texts(member(said, "roles")),
        groups,
        token_id: String::new(),
        client_auth: member(said, "client_auth")
            .as_u64()
            .and_then(|value| value.try_into().ok()),
        issued_at: time("issued_at"),
        expires_at: time("expires_at"),
    })
}

/// A member of an object; null where there is none.
fn member<'v>(object: &'v Value, name: &str) -> &'v Value {
    object.get(name).unwrap_or(&Value::Null)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(text_of)
        .collect()
}

/// The text with a string constant around each token: the value isn't stored, its place is.
fn with_constants(text: &str) -> String {
    let mut parts = text.split(TOKEN);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        match part.split_at_checked(TOKEN_DIGITS) {
            Some((token, rest)) if digits >= TOKEN_DIGITS => {
                whole.extend(["'", TOKEN, token, "'", rest]);
            }
            _ => whole.extend([TOKEN, part]),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_constants_and_nothing_else_does() {
        let token = format!("hmac:{}", "0f".repeat(16));
        for (text, expected) in [
            ("select 1".to_owned(), "select 1".to_owned()),
            (
                format!("select {token}, {token} from t"),
                format!("select '{token}', '{token}' from t"),
            ),
            (
                "select 'hmac:xyz'".to_owned(),
                "select 'hmac:xyz'".to_owned(),
            ),
        ] {
            assert_eq!(with_constants(&text), expected);
        }
    }
}
