//! Programs in the pods of the tests' API server, over WebSocket (kubernetes 1.32,
//! `k8s.io/apimachinery/pkg/util/remotecommand`: `v4.channel.k8s.io`, `v5.channel.k8s.io`).

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// The sub-protocols that are spoken, best first.
pub(crate) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Runs one program to its end.
///
/// `echo WORDS`, `complain WORDS` (on standard error), `cat`, `exit STATUS`, `size` (of the
/// terminal), `whoami`, `big KIB`, `sleep`.
pub(crate) async fn run(io: Upgraded, command: Vec<String>, user: String) {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
    let words = command.get(1..).unwrap_or_default().join(" ");
    let mut status = 0;
    match command.first().map(String::as_str) {
        Some("echo") => send(&mut socket, STDOUT, format!("{words}\n").as_bytes()).await,
        Some("complain") => send(&mut socket, STDERR, format!("{words}\n").as_bytes()).await,
        Some("whoami") => send(&mut socket, STDOUT, format!("{user}\n").as_bytes()).await,
        Some("exit") => status = words.parse().unwrap_or(1),
        Some("cat") => {
            while let Some((channel, data)) = receive(&mut socket).await {
                match channel {
                    STDIN => send(&mut socket, STDOUT, &data).await,
                    CLOSE if data == [STDIN] => break,
                    _ => {}
                }
            }
        }
        Some("size") => {
            while let Some((channel, data)) = receive(&mut socket).await {
                if channel == RESIZE {
                    send(&mut socket, STDOUT, &data).await;
                    break;
                }
            }
        }
        Some("big") => {
            for _ in 0..words.parse().unwrap_or(1) {
                send(&mut socket, STDOUT, &[b'x'; 1024]).await;
            }
        }
        Some("sleep") => {
            while receive(&mut socket).await.is_some() {}
            return;
        }
        _ => status = 127,
    }
    send(&mut socket, ERROR, ended(status).to_string().as_bytes()).await;
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    drop(socket.close(Some(close)).await);
    // Until the other side has closed as well.
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    drop(tokio::time::timeout(Duration::from_secs(5), rest).await);
}

fn ended(status: u8) -> Value {
    if status == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {status}"),
        "details": {"causes": [{"reason": "ExitCode", "message": status.to_string()}]},
    })
}

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) {
    let message = [&[channel], data].concat();
    drop(socket.send(Message::binary(message)).await);
}

/// The next message of a channel; `None` at the end.
async fn receive(socket: &mut Socket) -> Option<(u8, Vec<u8>)> {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(data) => {
                let (channel, data) = data.split_first()?;
                return Some((*channel, data.to_vec()));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
    None
}
