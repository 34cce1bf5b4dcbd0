//! The kit against itself, for wires of typed events: a sound one passes every law, and each defect
//! is caught by its law.

use bytes::Bytes;
use gateway_core::{
    record::{ApprovalOutcome, CloseReason},
    wire::Side,
};
use gateway_protocols::testkit::{
    Schedule, Script, Subject, World,
    calls::{Calls, Defect, Message},
    laws, run,
};
use proptest::prelude::*;

const SEEDS: u64 = 60;

fn call(number: u8, text: &str) -> Vec<Message> {
    vec![Message::Call(number, text.into())]
}

fn input(number: u8, data: &str) -> Vec<Message> {
    vec![
        Message::Data(number, data.to_owned().into()),
        Message::End(number),
    ]
}

fn said(messages: impl IntoIterator<Item = Vec<Message>>) -> Bytes {
    let messages = messages.into_iter().flatten();
    let packets: Vec<Bytes> = messages.map(|message| message.encode()).collect();
    packets.concat().into()
}

fn login() -> Script {
    Calls(Defect::None).login()
}

fn eventful() -> Script {
    login()
        .agent(said([
            call(1, "select one"),
            call(2, "list customers"),
            call(3, "drop three"),
            call(4, "hold four"),
            input(2, "to list"),
            input(1, "write to bob@example.com"),
            input(3, "input of the denied"),
            input(4, "input of the held"),
            call(5, "hold five"),
            input(5, "input of the expired"),
        ]))
        .vote(ApprovalOutcome::Approved)
        .agent(said([call(6, "please drop six"), input(6, "of six")]))
        .agent(said([call(7, "select seven"), input(7, "of seven")]))
        .never_to_target("drop")
        .never_to_target("input of the denied")
        .never_to_agent("ada@example.com")
        .never_to_agent("bob@example.com")
}

fn refused_after_a_hold() -> Script {
    login()
        .agent(said([call(1, "hold one"), input(1, "input of the held")]))
        .settle()
        .vote(ApprovalOutcome::Rejected)
        .never_to_target("hold one")
        .never_to_target("input of the held")
}

fn scripts() -> [Script; 2] {
    [eventful(), refused_after_a_hold()]
}

fn world() -> World {
    World::by_text().of("calls").classified()
}

/// The laws that schedules break; `None` for none.
fn broken_law(defect: Defect) -> Option<&'static str> {
    scripts().iter().find_map(|script| {
        (0..SEEDS).find_map(|seed| {
            laws::laws(&Calls(defect), &world(), script, &Schedule::seeded(seed))
                .err()
                .map(|broken| broken.law)
        })
    })
}

proptest! {
    #[test]
    fn a_sound_wire_passes_every_law(choices in prop::collection::vec(any::<u16>(), 0..200)) {
        let schedule = Schedule::of(choices);
        for script in scripts() {
            let passed = laws::laws(&Calls(Defect::None), &world(), &script, &schedule);
            prop_assert!(passed.is_ok(), "{passed:?}");
        }
    }
}

#[test]
fn every_defect_is_caught() {
    assert_eq!(broken_law(Defect::None), None);
    for (defect, law) in [
        (Defect::PassesBeforeRuling, "L3 early"),
        (Defect::ForwardsDenied, "L3 early"),
        (Defect::MixesCalls, "L5 record"),
        (Defect::ScansPieces, "L1 chop"),
        (Defect::OutputUnrecorded, "L5 record"),
        (Defect::OutputMisfiled, "L5 record"),
        (Defect::InputUnrecorded, "L5 record"),
        (Defect::ForgetsFinish, "L5 record"),
    ] {
        assert_eq!(broken_law(defect), Some(law), "{defect:?}");
    }
}

#[test]
fn input_that_overtakes_its_refused_call_breaks_the_fourth_law() {
    let script = refused_after_a_hold();
    for (defect, is_sound) in [(Defect::None, true), (Defect::InputOvertakesHold, false)] {
        let calls = Calls(defect);
        let trace = run(&calls, &world(), &script, Schedule::prompt()).unwrap();
        let passed = laws::denied(&calls, &trace, &script);
        assert_eq!(passed.is_ok(), is_sound, "{defect:?}");
    }
}

#[test]
fn data_is_masked_wherever_its_pieces_end() {
    let trace = run(
        &Calls(Defect::None),
        &world(),
        &eventful(),
        Schedule::prompt(),
    )
    .unwrap();
    let heard = Calls(Defect::None).canonical(Side::Agent, trace.agent_heard());
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.contains(r"1 ***\n2 ***\n3 ada@to list"), "{heard}");
    assert!(heard.contains("write to ***"), "{heard}");
    assert_eq!(trace.closed, None);
}

#[test]
fn what_is_changed_is_no_identity() {
    let script = login().agent(said([
        call(1, "list customers"),
        call(2, "select two"),
        input(2, "of two"),
        input(1, ""),
    ]));
    for (defect, is_sound) in [
        (Defect::None, true),
        (Defect::Rewrites, false),
        (Defect::MixesCalls, false),
    ] {
        let world = World::allowing_all().of("calls");
        let sound = (0..SEEDS).all(|seed| {
            laws::identity(&Calls(defect), &world, &script, &Schedule::seeded(seed)).is_ok()
        });
        assert_eq!(sound, is_sound, "{defect:?}");
    }
}

#[test]
fn a_detector_in_force_changes_nothing_where_it_finds_nothing() {
    let script = login().agent(said([
        call(1, "select one"),
        input(1, "ends in ada@example.co"),
    ]));
    for (defect, is_sound) in [(Defect::None, true), (Defect::CutsOutput, false)] {
        let passed = laws::identity(&Calls(defect), &world(), &script, &Schedule::prompt());
        assert_eq!(passed.is_ok(), is_sound, "{defect:?}");
    }
}

#[test]
fn a_wire_that_never_stops_is_unbounded() {
    let script = login().agent(said([call(1, "hold one")])).settle();
    let flood = said([vec![Message::Data(1, vec![b'x'; 1000].into())]]);
    let bounded = |defect| laws::bounded(&Calls(defect), &world(), &script, &flood, 1 << 20);
    bounded(Defect::None).unwrap();
    bounded(Defect::NeverStops).unwrap_err();
}

#[test]
fn what_is_no_event_is_never_offered() {
    let script = login()
        .agent(said([call(1, "select one")]))
        .agent(&b"\0\0\0\x02??"[..]);
    let script = script.agent(said([input(1, "of one")]));
    let trace = run(&Calls(Defect::None), &world(), &script, Schedule::prompt()).unwrap();
    assert_eq!(trace.closed, None);
}

#[test]
fn a_session_that_the_policy_refuses_is_closed() {
    let mut world = world();
    world.rules.refuses_sessions = true;
    let trace = run(
        &Calls(Defect::None),
        &world,
        &eventful(),
        Schedule::prompt(),
    )
    .unwrap();
    assert_eq!(trace.closed, Some(CloseReason::Refused));
    assert_eq!(trace.to_target, b"");
}
