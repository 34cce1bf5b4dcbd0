//! What goes wrong between two sessions near classified data is told as it is: programs retry by it.

use std::time::Duration;

use super::arena::{Arena, Side, Target};
use crate::support::{
    Agent,
    wire::{Reply, Wire, query},
};

/// SQLSTATE and message of the error among these answers.
fn error(replies: &[Reply]) -> String {
    let error = replies.iter().find(|reply| reply.tag == 'E');
    error.map_or("no error".to_owned(), |error| {
        format!("{} {}", error.field(b'C'), error.field(b'M'))
    })
}

/// The answers to the last of these.
fn say(wire: &mut Wire, statements: &[&str]) -> Vec<Reply> {
    let mut heard = Vec::new();
    for sql in statements {
        heard = wire.query(sql);
    }
    heard
}

#[test]
fn locks_conflicts_and_timeouts_are_told() {
    let arena = Arena::start();
    let mut agent = arena.through(Agent::Writer, Target::Owner, Side::A);
    let mut other = arena.superuser(&Side::A.database());
    let hold = "begin; update customers set visits = visits + 1 where id = 1";
    let change = "update customers set visits = 7 where id = 1";

    other.query(hold);
    let heard = say(&mut agent, &["set lock_timeout = 100", change]);
    assert_eq!(
        error(&heard),
        "55P03 canceling statement due to lock timeout"
    );
    let heard = say(
        &mut agent,
        &["select id, email from customers where id = 1 for update nowait"],
    );
    assert_eq!(
        error(&heard),
        "55P03 could not obtain lock on row in relation \"customers\""
    );
    let heard = say(
        &mut agent,
        &[
            "set lock_timeout = 0",
            "set statement_timeout = 100",
            change,
        ],
    );
    assert_eq!(
        error(&heard),
        "57014 canceling statement due to statement timeout"
    );
    agent.query("set statement_timeout = 0");

    // The first to wait is the first to look for a deadlock.
    agent.query("begin");
    agent.query("update customers set visits = 7 where id = 2");
    agent.send(&query(change));
    std::thread::sleep(Duration::from_millis(200));
    other.send(&query("update customers set visits = 8 where id = 2"));
    let heard = agent.until_ready(1);
    assert_eq!(error(&heard), "40P01 deadlock detected");
    other.until_ready(1);
    other.query("rollback");
    agent.query("rollback");

    let read = "select id, name, email from customers where id = 1";
    say(&mut agent, &["begin isolation level repeatable read", read]);
    say(&mut other, &[hold, "commit"]);
    let heard = say(&mut agent, &[change]);
    assert_eq!(
        error(&heard),
        "40001 could not serialize access due to concurrent update"
    );
    assert_eq!(
        heard.last().map(|ready| ready.body.clone()),
        Some(b"E".to_vec())
    );
}
