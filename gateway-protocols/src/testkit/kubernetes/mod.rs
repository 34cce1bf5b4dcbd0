//! Kubernetes under test: its wire, a fake API server, and an agent's requests.

pub mod client;
pub mod packet;
mod server;
mod show;
mod told;

use gateway_core::{
    limits::Limits,
    record::{Direction, Track},
    wire::Side,
};

use super::{
    run::Subject,
    script::{Script, Step},
    typed::moments,
};
use crate::kubernetes::{Options, Session};
use told::{Told, told};

pub use server::{ApiServer, OUTPUT, SECRET_DATA};
pub use show::Streams;

/// The Kubernetes API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kubernetes {
    /// Whether paths begin with the name of a target.
    pub prefixed: bool,
}

impl Subject for Kubernetes {
    type Wire = Session;
    type Target = ApiServer;

    fn wire(&self, _: &Limits) -> Session {
        Session::new(&Options {
            prefixed: self.prefixed,
            seed: [7; 32],
        })
    }

    fn target(&self) -> ApiServer {
        ApiServer::default()
    }

    /// A request whose answer is nothing but a head: what is on record counts from the mark.
    fn login(&self) -> Script {
        let line = if self.prefixed {
            "HEAD /orders/healthz"
        } else {
            "HEAD /healthz"
        };
        Script::new()
            .agent(client::bare(1, line, &[]))
            .step(Step::Mark)
    }

    /// What is said of each exchange, its data without borders.
    fn canonical(&self, to: Side, stream: &[u8]) -> Vec<u8> {
        format!("{:?}", told(stream, to == Side::Target)).into_bytes()
    }

    /// Requests by what they ask for, answers by what they say: the fields of heads are the
    /// gateway's own.
    fn is_same(&self, way: Direction, said: &[u8], heard: &[u8]) -> bool {
        let masked = way == Direction::ToTarget;
        let (said, heard) = (told(said, masked), told(heard, masked));
        said.len() == heard.len()
            && said
                .iter()
                .zip(&heard)
                .all(|((one, said), (other, heard))| one == other && said.plain() == heard.plain())
    }

    fn occurrences(&self, heard: &[u8], text: &str) -> usize {
        let told = told(heard, true);
        let requests = told.values().flat_map(|told| &told.requests);
        requests.filter(|request| request.text == text).count()
    }

    /// Answers and output, and errors, input: each joined, but for answers of the gateway's own.
    fn is_recorded(&self, way: Direction, heard: &[u8], chunks: &[u8]) -> bool {
        let Ok(moments) = moments(chunks) else {
            return false;
        };
        let kept = |of: &[Track]| {
            let tracks = moments.iter().filter(|((_, track), _)| of.contains(track));
            sorted(tracks.map(|(_, data)| data.clone()))
        };
        let told = told(heard, way == Direction::ToTarget);
        let channel = |channel: u8| {
            let data = told.values().filter_map(|told| told.channels.get(&channel));
            data.cloned().collect::<Vec<_>>()
        };
        match way {
            Direction::ToAgent => {
                let bodies = told.values().filter(|told| !told.is_own());
                let bodies = bodies.map(|told| told.body.clone()).chain(channel(1));
                kept(&[Track::Response, Track::Output]) == sorted(bodies)
                    && kept(&[Track::Error]) == sorted(channel(2).into_iter())
            }
            Direction::ToTarget => kept(&[Track::Input]) == sorted(channel(0).into_iter()),
        }
    }

    /// Values of each answer.
    fn shape(&self, stream: &[u8]) -> Result<Vec<usize>, String> {
        let told = told(stream, false);
        let answers = told
            .values()
            .filter(|told| !told.is_own() && !told.body.is_empty());
        Ok(answers.map(Told::shape).collect())
    }
}

fn sorted(data: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut data: Vec<_> = data.filter(|data| !data.is_empty()).collect();
    data.sort();
    data
}
