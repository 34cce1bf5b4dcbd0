//! What the fake server does with texts: two tables, transactions, COPY, and a few ways to fail.
//!
//! | text | does |
//! |---|---|
//! | `select id from t [where id = $1]` | rows of `t`, which begins with 7 and 8 |
//! | `insert into t values (N)`, `delete from t` | changes `t`, undone by a rollback |
//! | `select id, email from customers` | two rows, one of them with NULL |
//! | `select * from v` | the same, though nobody could tell from the text |
//! | `copy t from stdin`, `copy t to stdout` | COPY of `t` |
//! | `begin`, `commit`, `rollback` | a transaction block |
//! | `select 1/0` | an error; `select boom, email from customers` one that tells a value |
//! | `select terminated` | the server goes down |
//! | `raise`, `notify`, `set timezone`, `set encoding` | a notice, a notification, reports |
//! | `select wide` | one row of 100,000 bytes |
//! | `create table x`, `drop table t` | nothing, with the right tag |

use crate::postgres::message::TransactionStatus;

/// SQLSTATE of an error with which the server goes down.
pub(super) const SHUTDOWN: &str = "57P01";
/// Type of `id`.
const INT4: u32 = 23;
/// Type of `email`.
const TEXT: u32 = 25;
/// `customers`, as the world's classification has it.
const CUSTOMERS: u32 = 16_400;
/// `t`
const T: u32 = 16_390;

/// A column of a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) table: u32,
    pub(super) attribute: i16,
    pub(super) data_type: u32,
}

/// A cell as text; integers know their binary form.
pub(super) type Cell = Option<String>;

/// An error: SQLSTATE and message.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) &'static str, pub(super) String);

/// Something said beside a result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aside {
    Notice(&'static str),
    /// Before the next ReadyForQuery.
    Notification(&'static str, &'static str),
    Report(&'static str, &'static str),
}

/// What a text results in.
#[derive(Clone, Debug)]
pub(super) enum Results {
    Empty,
    Rows(Vec<Vec<Cell>>),
    Done(String),
    CopyIn,
    CopyOut(Vec<String>),
}

/// The database.
#[derive(Debug)]
pub(super) struct Engine {
    t: Vec<i64>,
    /// `t` as it was before the transaction under way.
    before: Option<Vec<i64>>,
    pub(super) status: TransactionStatus,
    pub(super) asides: Vec<Aside>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            t: vec![7, 8],
            before: None,
            status: TransactionStatus::Idle,
            asides: Vec::new(),
        }
    }
}

fn column(name: &'static str, table: u32, attribute: i16, data_type: u32) -> Column {
    Column {
        name,
        table,
        attribute,
        data_type,
    }
}

/// The columns of a text's result, `None` where it has none.
///
/// # Errors
/// A syntax error for what isn't in the table above.
pub(super) fn columns(text: &str) -> Result<Option<Vec<Column>>, Failure> {
    let text = text.trim();
    let id = |table| column("id", table, 1, INT4);
    let email = column("email", CUSTOMERS, 2, TEXT);
    let first = text.split_whitespace().next().unwrap_or_default();
    match first {
        "select" if text.starts_with("select id from t") => Ok(Some(vec![id(T)])),
        "select" if text.contains(" from customers") || text.ends_with(" from v") => {
            Ok(Some(vec![id(CUSTOMERS), email]))
        }
        "select" if text == "select 1/0" => Ok(Some(vec![column("?column?", 0, 0, INT4)])),
        "select" if text == "select terminated" => Ok(Some(vec![column("?column?", 0, 0, INT4)])),
        "select" if text == "select wide" => Ok(Some(vec![column("wide", 0, 0, TEXT)])),
        "" | "begin" | "commit" | "rollback" | "insert" | "delete" | "copy" | "raise"
        | "notify" | "set" | "create" | "drop" => Ok(None),
        _ => Err(Failure(
            "42601",
            format!("syntax error at or near \"{first}\""),
        )),
    }
}

impl Engine {
    /// Checks that a text may run in the transaction's state.
    pub(super) fn check(&self, text: &str) -> Result<(), Failure> {
        columns(text)?;
        let ends = matches!(text.trim(), "rollback" | "commit" | "");
        if self.status == TransactionStatus::Failed && !ends {
            return Err(Failure(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Runs a text in the transaction under way, beginning one if there is none.
    pub(super) fn run(&mut self, text: &str, parameters: &[Cell]) -> Result<Results, Failure> {
        self.check(text)?;
        let text = text.trim();
        self.before.get_or_insert_with(|| self.t.clone());
        let number = |text: &str| {
            text.trim_matches(|c: char| !c.is_ascii_digit())
                .parse::<i64>()
        };
        let done = |tag: &str| Ok(Results::Done(tag.to_owned()));
        let first = text.split_whitespace().next().unwrap_or_default();
        match first {
            "" => Ok(Results::Empty),
            "begin" => {
                self.status = TransactionStatus::InTransaction;
                done("BEGIN")
            }
            "commit" | "rollback" => {
                let undo = first == "rollback" || self.status == TransactionStatus::Failed;
                self.status = TransactionStatus::Idle;
                self.end(undo);
                done(if undo { "ROLLBACK" } else { "COMMIT" })
            }
            "insert" => {
                let value = number(text).map_err(|_| Failure("22P02", "no number".into()))?;
                self.t.push(value);
                done("INSERT 0 1")
            }
            "delete" => {
                let tag = format!("DELETE {}", self.t.len());
                self.t.clear();
                done(&tag)
            }
            "copy" if text.ends_with("from stdin") => Ok(Results::CopyIn),
            "copy" => Ok(Results::CopyOut(
                self.t.iter().map(|value| format!("{value}\n")).collect(),
            )),
            "raise" => self.aside(Aside::Notice("a notice"), "DO"),
            "notify" => self.aside(Aside::Notification("channel", "payload"), "NOTIFY"),
            "set" if text == "set encoding" => {
                self.aside(Aside::Report("client_encoding", "LATIN1"), "SET")
            }
            "set" => self.aside(Aside::Report("TimeZone", "UTC"), "SET"),
            "create" => done("CREATE TABLE"),
            "drop" => done("DROP TABLE"),
            _ => self.select(text, parameters),
        }
    }

    fn aside(&mut self, aside: Aside, tag: &str) -> Result<Results, Failure> {
        self.asides.push(aside);
        Ok(Results::Done(tag.to_owned()))
    }

    fn select(&self, text: &str, parameters: &[Cell]) -> Result<Results, Failure> {
        if text == "select 1/0" {
            return Err(Failure("22012", "division by zero".into()));
        }
        if text == "select terminated" {
            let words = "terminating connection due to administrator command";
            return Err(Failure(SHUTDOWN, words.into()));
        }
        if text == "select wide" {
            return Ok(Results::Rows(vec![vec![Some("w".repeat(100_000))]]));
        }
        if text.ends_with("where boom") {
            return Err(Failure(
                "22P02",
                "invalid input: \"ada@example.com\"".into(),
            ));
        }
        if text.starts_with("select id from t") {
            let wanted = parameters.first().cloned().flatten();
            let values = self.t.iter().map(ToString::to_string);
            let rows = values.filter(|value| wanted.as_ref().is_none_or(|wanted| wanted == value));
            return Ok(Results::Rows(rows.map(|value| vec![Some(value)]).collect()));
        }
        let row =
            |id: &str, email: Option<&str>| vec![Some(id.to_owned()), email.map(str::to_owned)];
        Ok(Results::Rows(vec![
            row("1", Some("ada@example.com")),
            row("2", None),
            row("3", Some("bob@example.com")),
        ]))
    }

    /// Takes the rows of a COPY.
    pub(super) fn copy(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let text = String::from_utf8_lossy(data);
        let mut count = 0;
        for line in text.lines() {
            let value = line.trim().parse();
            self.t
                .push(value.map_err(|_| Failure("22P02", "not a number in COPY".into()))?);
            count += 1;
        }
        Ok(count)
    }

    /// A statement failed: a block is aborted, an implicit transaction undone.
    pub(super) fn fail(&mut self) {
        if self.status == TransactionStatus::Idle {
            self.end(true);
        } else {
            self.status = TransactionStatus::Failed;
        }
    }

    /// Outside a block, the end of a Query or a Sync commits.
    pub(super) fn commit_implicit(&mut self) {
        if self.status == TransactionStatus::Idle {
            self.end(false);
        }
    }

    fn end(&mut self, undo: bool) {
        if let Some(before) = self.before.take()
            && undo
        {
            self.t = before;
        }
    }
}
