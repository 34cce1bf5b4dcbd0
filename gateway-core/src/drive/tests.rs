//! What a session's driver holds to, whatever its connections do.

use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    decision::{Decision, DecisionPoint, Request},
    gate::Setup,
    id::{Digest, SessionId},
    mask::Obligations,
    record::Acknowledge,
    target::Durability,
    time::Wall,
    wire::{Event, Turn, WireError},
};

/// Bytes of each answer.
const ANSWER_BYTES: usize = 64 << 10;

/// Answers every event of the agent's by itself, and wants all of them.
struct Talker;

impl Wire for Talker {
    type Inbound = VecDeque<u8>;
    type Outbound = Bytes;

    fn receive(
        &mut self,
        _: Side,
        input: &mut VecDeque<u8>,
        turn: &mut Turn<'_, Bytes>,
    ) -> Result<(), WireError> {
        while input.pop_front().is_some() {
            turn.greet(Bytes::from_static(&[0; ANSWER_BYTES]));
        }
        Ok(())
    }

    fn notify(&mut self, _: Event, _: &mut Turn<'_, Bytes>) -> Result<(), WireError> {
        Ok(())
    }

    fn wants(&self, _: Side, _: usize) -> bool {
        true
    }
}

/// Surroundings of a session that asks for nothing.
struct Nothing;

impl DecisionPoint for Nothing {
    fn decide(&self, _: Now, _: &Request<'_>) -> Decision {
        Decision {
            verdict: crate::decision::Verdict::Allow,
            obligations: Obligations::default(),
            rules: Vec::new(),
            policy: self.policy(),
        }
    }

    fn policy(&self) -> Digest {
        Digest::of(b"policy")
    }
}

impl EvidenceSink for Nothing {
    fn open(&self, _: SessionId, _: Durability, _: Arc<dyn Acknowledge>) {}
    fn append(&self, _: SessionId, _: EvidenceSeq, _: Evidence) {}
    fn close(&self, _: SessionId) {}
}

impl Services for Nothing {
    type Link = ChannelLink<u8, Bytes>;

    fn now(&self) -> Now {
        Now {
            wall: Wall::from_secs(1_790_000_000),
            mono: Mono::from_micros(1),
        }
    }

    fn evidence(&self) -> &dyn EvidenceSink {
        self
    }

    fn ask(&self, _: Question) -> BoxFuture<'static, Answer> {
        std::future::ready(Answer::Unanswered).boxed()
    }

    fn request_approval(&self, _: ApprovalRequest) {}

    fn withdraw_approval(&self, _: ApprovalId) {}

    fn connect(&self) -> BoxFuture<'static, std::io::Result<Self::Link>> {
        std::future::ready(Err(std::io::ErrorKind::NotConnected.into())).boxed()
    }

    fn aside(&self, _: Bytes) {}
}

/// Sends until nothing more is taken, at most `most` events.
async fn taken(peer: &ChannelPeer<u8, Bytes>, most: usize) -> usize {
    for sent in 0..most {
        let send = peer.events.send(0);
        // The clock stands still while anything moves: this is no race.
        if tokio::time::timeout(Duration::from_secs(1), send)
            .await
            .is_err()
        {
            return sent;
        }
    }
    most
}

/// A session of the [`Talker`], and its agent.
fn talking() -> (tokio::task::JoinHandle<()>, ChannelPeer<u8, Bytes>) {
    let (link, peer) = channel_link::<u8, Bytes>(1, |_| 1);
    let setup = Setup {
        session: SessionId::new(Wall::from_secs(1_790_000_000), [1; 10]),
        source: Ipv4Addr::LOCALHOST.into(),
        decision: Arc::new(Nothing),
        limits: Arc::default(),
    };
    let gate = Gate::new(Talker, setup);
    let session = tokio::spawn(async move {
        let (_commands, incoming) = mpsc::channel(1);
        run_session(gate, link, Arc::new(Nothing), Arc::default(), incoming).await;
    });
    (session, peer)
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_takes_no_answers_is_not_read() {
    let (session, mut peer) = talking();
    let bound = OWN_OUTPUT_MAX / ANSWER_BYTES;
    let sent = taken(&peer, 10 * bound).await;
    assert!((bound / 2..bound + 8).contains(&sent), "{sent} of {bound}");
    for _ in 0..bound / 2 {
        assert!(peer.commands.recv().await.is_some());
    }
    let more = taken(&peer, 10 * bound).await;
    assert!(more > bound / 4, "reading goes on when answers are taken");
    session.abort();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_be_answered_ends_its_session() {
    let (session, peer) = talking();
    let ChannelPeer {
        events, commands, ..
    } = peer;
    drop(commands);
    events.send(0).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), session).await;
    assert!(
        ended.is_ok(),
        "it waits for an agent that can't be told anything"
    );
}
