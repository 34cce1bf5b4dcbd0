//! A toy protocol of typed events, and defective variants of it that the laws must catch: calls that
//! run side by side, each with an input and an output of any bytes.
//!
//! ```text
//! agent  hello TOKEN    call N TEXT    data N BYTES...    end N
//! target                data N BYTES...                   end N
//! to the agent          refused N WHY in the place of the target's data and end
//! ```

mod message;
mod wire;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    limits::Limits,
    record::{Direction, Track},
    wire::Side,
};

use super::{
    run::{Subject, TargetPeer},
    script::{Script, Step},
    typed::{self, packets},
    world::GOOD_TOKEN,
};

pub use message::{Message, Out};
pub use wire::CallsWire;

/// What is wrong with a wire of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// Passes a call on before it is ruled on.
    PassesBeforeRuling,
    /// Passes a denied call on.
    ForwardsDenied,
    /// Passes the input of a held call on.
    InputOvertakesHold,
    /// Changes what passes.
    Rewrites,
    /// Answers the first call with the output of any.
    MixesCalls,
    /// Looks for addresses in each piece of output by itself.
    ScansPieces,
    /// Forgets what the scan kept back when the output ends.
    CutsOutput,
    /// Delivers without a record of it.
    OutputUnrecorded,
    /// Records output as errors.
    OutputMisfiled,
    /// Passes input on without a record of it.
    InputUnrecorded,
    /// Never finishes a unit.
    ForgetsFinish,
    /// Takes more while it waits, without a bound.
    NeverStops,
}

/// The protocol of calls, with a defect.
#[derive(Clone, Copy, Debug)]
pub struct Calls(pub Defect);

/// What a stream says of one call: its text, its data, and how often it began and ended.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    texts: Vec<String>,
    data: BytesMut,
    ends: usize,
    refusals: Vec<String>,
}

fn told(stream: &[u8]) -> BTreeMap<u8, Told> {
    let mut calls: BTreeMap<u8, Told> = BTreeMap::new();
    for message in packets(stream).filter_map(|body| Message::decode(&body)) {
        match message {
            Message::Hello(_) | Message::Welcome => {}
            Message::Call(call, text) => calls.entry(call).or_default().texts.push(text),
            Message::Data(call, data) => calls.entry(call).or_default().data.extend(data),
            Message::End(call) => calls.entry(call).or_default().ends += 1,
            Message::Refused(call, why) => calls.entry(call).or_default().refusals.push(why),
        }
    }
    calls
}

impl Subject for Calls {
    type Wire = CallsWire;
    type Target = CallsTarget;

    fn wire(&self, _: &Limits) -> CallsWire {
        CallsWire::new(self.0)
    }

    fn target(&self) -> CallsTarget {
        CallsTarget
    }

    fn login(&self) -> Script {
        Script::new()
            .agent(Message::Hello(GOOD_TOKEN.into()).encode())
            .step(Step::Mark)
    }

    fn canonical(&self, _: Side, stream: &[u8]) -> Vec<u8> {
        format!("{:?}", told(stream)).into_bytes()
    }

    fn is_same(&self, _: Direction, said: &[u8], heard: &[u8]) -> bool {
        told(said) == told(heard)
    }

    fn is_recorded(&self, way: Direction, heard: &[u8], chunks: &[u8]) -> bool {
        let track = match way {
            Direction::ToAgent => Track::Output,
            Direction::ToTarget => Track::Input,
        };
        let Ok(moments) = typed::moments(chunks) else {
            return false;
        };
        if moments.keys().any(|(_, kept)| *kept != track) {
            return false;
        }
        // Units are counted by the gate and calls named by the agent: only their data is compared.
        let mut kept: Vec<_> = moments.into_values().collect();
        let mut heard: Vec<_> = told(heard)
            .into_values()
            .map(|call| call.data.to_vec())
            .collect();
        kept.retain(|data| !data.is_empty());
        heard.retain(|data| !data.is_empty());
        kept.sort();
        heard.sort();
        kept == heard
    }

    /// Lines of each call's output.
    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String> {
        let lines = |call: Told| memchr::memchr_iter(b'\n', &call.data).count();
        let calls = told(stream).into_values();
        Ok(calls.map(lines).filter(|lines| *lines > 0).collect())
    }
}

/// Lists the customers to a call for them, and gives its input back to every call.
#[derive(Debug)]
pub struct CallsTarget;

impl TargetPeer for CallsTarget {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while let Some(body) = typed::take_packet(input) {
            match Message::decode(&body) {
                Some(Message::Call(call, text)) if text.contains("customers") => {
                    let rows = Bytes::from_static(b"1 ada@example.com\n2 bob@example.com\n3 ada@");
                    out.extend_from_slice(&Message::Data(call, rows).encode());
                }
                Some(same @ (Message::Data(..) | Message::End(_))) => {
                    out.extend_from_slice(&same.encode());
                }
                _ => {}
            }
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}
