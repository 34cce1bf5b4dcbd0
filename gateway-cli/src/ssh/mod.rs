//! SSH's side of the shell: russh owns the transport on both sides, and decides nothing.
//!
//! ```text
//! agent -- russh server -- agent.rs    --Event-->   Session   <--Event--  client.rs -- russh client -- target
//!                          server.rs  <--Command--            --Command-->  (the same)
//! ```

mod agent;
mod algorithms;
mod attempts;
mod certificate;
mod client;
mod fault;
mod identity;
mod keys;
mod overheard;
mod pending;
mod server;
mod target;
mod throttle;
mod translate;

use std::{future, io, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use gateway_core::{
    drive::{ChannelLink, Command, channel_link},
    record::CloseReason,
};
use gateway_protocols::ssh::{Event, Outbound, Session};
use tokio::net::TcpStream;

pub(crate) use certificate::{IssueError, end as certificate_end};
pub(crate) use identity::{IdentityError, SshIdentity};
pub(crate) use keys::public_key_of;
pub(crate) use target::{SshTarget, TargetError};

use crate::{listen::Accepted, services::Lane, target::TargetService};

/// Events, and commands, that wait between a transport and its session.
const CAPACITY: usize = 32;
/// How much a peer may send on a channel before it must be told to go on, bytes. Less than what
/// OpenSSH grants, so that its own grants are never stuck behind data that isn't wanted yet.
const WINDOW_BYTES: u32 = 256 << 10;
/// Largest data of one message, bytes.
const PACKET_BYTES_MAX: u32 = 32 << 10;

/// How long a session whose agent has left may go on until it sees that by itself.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// Runs one session on an accepted connection.
pub(crate) async fn serve(accepted: Accepted, socket: TcpStream) -> CloseReason {
    let wire = Session::new(accepted.limits());
    let (link, peer) = channel_link(CAPACITY, weigh);
    let commands = accepted.commands();
    let config = accepted.gateway().ssh.server();
    let mut transport = pin!(server::run(socket, config, peer));
    let mut session = pin!(accepted.run::<SshLane, _>(wire, link));
    tokio::select! {
        reason = &mut session => {
            transport.await;
            reason
        }
        () = &mut transport => {
            if let Ok(reason) = tokio::time::timeout(LEAVING_TIME, &mut session).await {
                return reason;
            }
            // It takes no events now, so that it doesn't see their end either. What waits for
            // people must not outlive the agent.
            let close = Command::Close(CloseReason::AgentClosed);
            if commands.send(close).await.is_err() {
                tracing::debug!("a session ended before it was told to");
            }
            session.await
        }
    }
}

/// An event's size, bytes.
fn weigh(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.body.weight(),
        Event::Login { user, .. } => user.len(),
        Event::GaveUp { user, reason } => user.len() + reason.len(),
        Event::Refused { what } | Event::Broken { what } => what.len(),
    }
}

/// How SSH sessions reach their target.
pub(crate) struct SshLane;

impl Lane for SshLane {
    type Link = ChannelLink<Event, Outbound>;

    fn connect(target: Arc<TargetService>) -> BoxFuture<'static, io::Result<Self::Link>> {
        async move {
            let target = target.ssh().ok_or(io::ErrorKind::Unsupported)?;
            target.connect().await
        }
        .boxed()
    }

    /// An SSH wire sends nothing beside its connection.
    fn aside(_: Arc<TargetService>, _: Outbound) -> BoxFuture<'static, io::Result<()>> {
        future::ready(Ok(())).boxed()
    }
}
