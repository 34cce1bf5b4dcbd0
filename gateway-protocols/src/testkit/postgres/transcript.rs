//! How PostgreSQL's messages are written in transcripts.

use bytes::{Bytes, BytesMut};

use super::{Postgres, client, show_from_agent, show_from_server};
use crate::testkit::transcript::{Lane, Notation};

/// What lies between the lines of a page.
#[derive(Debug)]
pub struct Streams {
    /// The target's input, and whether a startup packet is next.
    to_target: (BytesMut, bool),
    /// The target's output, and how many one-byte answers are next.
    from_target: (BytesMut, usize),
    /// The agent's input, and how many one-byte answers are next.
    to_agent: (BytesMut, usize),
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            to_target: (BytesMut::new(), true),
            // The answer to the gateway's own SSLRequest.
            from_target: (BytesMut::new(), 1),
            to_agent: (BytesMut::new(), 0),
        }
    }
}

impl Notation for Postgres {
    type Streams = Streams;

    fn message(&self, words: &[&str]) -> Option<Bytes> {
        Some(match words {
            ["SSLRequest"] => client::ssl_request(),
            ["ClientHello", protocols @ ..] => {
                client::client_hello(protocols.first().copied().unwrap_or_default())
            }
            ["GSSENCRequest"] => client::gss_request(),
            ["CancelRequest", process, length] => {
                client::cancel_request(process.parse().ok()?, &vec![9; length.parse().ok()?])
            }
            ["Startup", version, parameters @ ..] => {
                let minor = version.strip_prefix("3.")?.parse().ok()?;
                let parameters: Option<Vec<_>> =
                    parameters.iter().map(|p| p.split_once('=')).collect();
                client::startup(minor, &parameters?)
            }
            ["Password", token] => client::password(token),
            ["Query", text] => client::query(text),
            ["Parse", name, text] => client::parse(name, text),
            ["Bind", portal, statement, values @ ..] => {
                let binary = values.last() == Some(&"binary");
                let values: Vec<Option<&str>> = values
                    .iter()
                    .filter(|value| **value != "binary")
                    .map(|value| (*value != "NULL").then_some(*value))
                    .collect();
                client::bind(portal, statement, &values, binary)
            }
            ["Describe", "S", name] => client::describe_statement(name),
            ["Describe", "P", name] => client::describe_portal(name),
            ["Close", "S", name] => client::close_statement(name),
            ["Close", "P", name] => client::close_portal(name),
            ["Execute", portal, rows] => client::execute(portal, rows.parse().ok()?),
            ["Sync"] => client::sync(),
            ["Flush"] => client::flush(),
            ["Terminate"] => client::terminate(),
            ["CopyData", data] => client::copy_data(data.replace("\\n", "\n").as_bytes()),
            ["CopyDone"] => client::copy_done(),
            ["CopyFail", reason] => client::copy_fail(reason),
            ["FunctionCall", function] => client::function_call(function.parse().ok()?),
            ["Raw", bytes] => Bytes::copy_from_slice(bytes.as_bytes()),
            _ => return None,
        })
    }

    fn note(streams: &mut Streams, line: &str) {
        let asks = ["SSLRequest", "GSSENCRequest", "! login"];
        streams.to_agent.1 += usize::from(asks.iter().any(|ask| line.contains(ask)));
    }

    fn show(streams: &mut Streams, lane: Lane, bytes: &[u8]) -> Vec<String> {
        let from_server = |(input, answers): &mut (BytesMut, usize)| {
            input.extend_from_slice(bytes);
            show_from_server(input, answers)
        };
        let from_agent = |(input, startup): &mut (BytesMut, bool)| {
            input.extend_from_slice(bytes);
            show_from_agent(input, startup)
        };
        match lane {
            Lane::ToAgent => from_server(&mut streams.to_agent),
            Lane::FromTarget => from_server(&mut streams.from_target),
            Lane::ToTarget => from_agent(&mut streams.to_target),
            Lane::Aside => from_agent(&mut (BytesMut::new(), true)),
        }
    }
}
