//! The kit against itself: a sound toy passes every law, and each defect is caught by its law.

use bytes::Bytes;
use gateway_core::record::{ApprovalOutcome, CloseReason};
use gateway_protocols::testkit::{
    Schedule, Script, Subject, World, laws, run,
    toy::{Defect, Toy},
};
use proptest::prelude::*;

const SEEDS: u64 = 60;

fn script(rest: &str) -> Script {
    Toy(Defect::None).login().agent(rest.to_owned()).settle()
}

fn eventful() -> Script {
    script("select one\nselect two\ndrop three\nselect id, email from customers\nhold four\nselect five\n")
        .vote(ApprovalOutcome::Approved)
        .agent("drop six\nselect seven\n")
        .never_to_target("drop three")
        .never_to_target("drop six")
        .never_to_agent("ada@example.com")
        .never_to_agent("bob@example.com")
}

/// The first law that any of the schedules breaks.
fn broken_law(defect: Defect) -> Option<&'static str> {
    let world = World::by_text().classified();
    let script = eventful();
    (0..SEEDS).find_map(|seed| {
        laws::laws(&Toy(defect), &world, &script, &Schedule::seeded(seed))
            .err()
            .map(|broken| broken.law)
    })
}

proptest! {
    #[test]
    fn a_sound_wire_passes_every_law(choices in prop::collection::vec(any::<u16>(), 0..200)) {
        let schedule = Schedule::of(choices);
        let toy = Toy(Defect::None);
        prop_assert!(laws::laws(&toy, &World::by_text().classified(), &eventful(), &schedule).is_ok());
    }
}

#[test]
fn every_defect_is_caught() {
    assert_eq!(broken_law(Defect::None), None);
    for (defect, law) in [
        (Defect::DependsOnChunking, "L1 chop"),
        (Defect::RepliesOutOfOrder, "L1 chop"),
        (Defect::PassesBeforeRuling, "L3 early"),
        (Defect::ForwardsDenied, "L3 early"),
        (Defect::ForgetsFinish, "L5 record"),
        (Defect::LeaksSecondRow, "L6 masks"),
    ] {
        assert_eq!(broken_law(defect), Some(law), "{defect:?}");
    }
}

#[test]
fn what_is_delivered_without_a_record_breaks_the_fifth_law() {
    let record = |defect| {
        laws::record(
            &Toy(defect),
            &World::by_text(),
            &eventful(),
            &Schedule::prompt(),
        )
    };
    record(Defect::None).unwrap();
    record(Defect::DeliversUnrecorded).unwrap_err();
}

#[test]
fn what_is_rewritten_is_no_identity() {
    let script = script("select one\nselect two\n");
    let identity = |defect| {
        laws::identity(
            &Toy(defect),
            &World::allowing_all(),
            &script,
            &Schedule::prompt(),
        )
    };
    identity(Defect::None).unwrap();
    identity(Defect::Rewrites).unwrap_err();
}

#[test]
fn denied_bytes_at_the_target_break_the_fourth_law() {
    let script = eventful();
    let world = World::by_text();
    let trace = run(
        &Toy(Defect::ForwardsDenied),
        &world,
        &script,
        Schedule::prompt(),
    )
    .unwrap();
    laws::denied(&Toy(Defect::ForwardsDenied), &trace, &script).unwrap_err();
}

#[test]
fn the_gate_contains_what_a_wire_must_not_do() {
    for defect in [Defect::ReleasesHeld, Defect::FinishesTwice] {
        let script = script("select one\nhold two\nselect three\n").never_to_target("hold two");
        let toy = Toy(defect);
        let trace = run(&toy, &World::by_text(), &script, Schedule::prompt()).unwrap();
        assert_eq!(trace.closed, Some(CloseReason::InternalError), "{defect:?}");
        laws::denied(&toy, &trace, &script).unwrap();
    }
}

#[test]
fn a_wire_that_never_stops_is_unbounded() {
    let flood = Bytes::from(format!("select {}\n", "x".repeat(500)));
    let script = script("hold one\n");
    let bounded = |defect| laws::bounded(&Toy(defect), &World::by_text(), &script, &flood, 1 << 20);
    bounded(Defect::None).unwrap();
    bounded(Defect::NeverStops).unwrap_err();
}
