//! A fake API server: answers as the real one does, to requests about a handful of objects.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::packet::{Said, What};
use crate::{
    kubernetes::{
        frame::{self, CloseCode, Decoder, Message, Opcode},
        message::{Header, RequestHead, ResponseHead, StreamId},
    },
    testkit::{run::TargetPeer, typed::take_packet},
};

/// The clear value of the one Secret, in base64.
pub const SECRET_DATA: &str = "aHVudGVyMg==";
/// What isn't there.
const MISSING: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"not found","reason":"NotFound","code":404}"#;
/// What logs and commands say.
pub const OUTPUT: &str = "hello ada@example.com\n";

/// The server.
#[derive(Debug, Default)]
pub struct ApiServer {
    execs: BTreeMap<StreamId, (Decoder, BytesMut)>,
}

impl TargetPeer for ApiServer {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while let Some(body) = take_packet(input) {
            let Some(Said { stream, what }) = Said::parse(&body) else {
                continue;
            };
            let answers = match what {
                What::Request(head, body) => self.request(stream, &head, &body),
                What::Body(data) => self.frames(stream, &data),
                What::End | What::Reset(_) => {
                    self.execs.remove(&stream);
                    VecDeque::new()
                }
                What::Response(_) => VecDeque::new(),
            };
            for what in answers {
                out.extend_from_slice(&Said { stream, what }.encode());
            }
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

impl ApiServer {
    fn request(&mut self, stream: StreamId, head: &RequestHead, body: &[u8]) -> VecDeque<What> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let field = |name: &str| {
            let mut fields = head.headers.iter().filter(|header| header.name == name);
            let value = fields.next().map(|header| header.value.as_ref());
            value
                .and_then(|value| std::str::from_utf8(value).ok())
                .unwrap_or_default()
        };
        if path.ends_with("/exec") {
            let accept = frame::accept_of(field("sec-websocket-key"));
            let protocol = field("sec-websocket-protocol");
            let protocol = protocol.split(',').next().unwrap_or_default();
            return self.exec(stream, path, accept, protocol);
        }
        if path.ends_with("/log") {
            return answer(200, "text/plain", OUTPUT);
        }
        if path.contains("broken") {
            return answer(200, "application/json", "{\"kind\":\"Secret\",");
        }
        if path.contains("yaml") {
            return answer(200, "application/yaml", "kind: Secret");
        }
        if path.contains("encoded") {
            let mut answer = answer(200, "application/json", "{}");
            if let Some(What::Response(head)) = answer.front_mut() {
                head.headers.push(Header::new("content-encoding", "gzip"));
            }
            return answer;
        }
        if path.contains("gone") {
            return VecDeque::from([What::Reset("connection lost".to_owned())]);
        }
        if path.contains("missing") {
            return answer(404, "application/json", MISSING);
        }
        if path.contains("invalid") {
            let status = format!(
                r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"data: Invalid value: {SECRET_DATA}","reason":"Invalid","code":422}}"#
            );
            return answer(422, "application/json", &status);
        }
        if head.method == "HEAD" {
            return answer(200, "text/plain", "");
        }
        if path == "/healthz" {
            return answer(200, "text/plain", "ok");
        }
        let secrets = path.contains("/secrets");
        let object = if secrets { secret() } else { config_map() };
        match head.method.as_str() {
            "GET" if query.contains("watch=true") => watch(&object),
            "GET" if field("accept").contains("as=Table") => {
                answer(200, "application/json", &table())
            }
            "GET" if path.ends_with("s") && secrets => {
                let list =
                    format!(r#"{{"kind":"SecretList","apiVersion":"v1","items":[{object}]}}"#);
                answer(200, "application/json", &list)
            }
            "POST" if !secrets => answer(201, "application/json", &String::from_utf8_lossy(body)),
            _ => answer(200, "application/json", &object),
        }
    }

    fn exec(
        &mut self,
        stream: StreamId,
        path: &str,
        accept: String,
        protocol: &str,
    ) -> VecDeque<What> {
        if path.contains("missing") {
            return answer(404, "application/json", MISSING);
        }
        let accept = if path.contains("forged") {
            String::new()
        } else {
            accept
        };
        let headers = vec![
            Header::new("connection", "Upgrade"),
            Header::new("upgrade", "websocket"),
            Header::new("sec-websocket-accept", accept),
            Header::new("sec-websocket-protocol", protocol),
        ];
        self.execs
            .insert(stream, (Decoder::new(true, 1 << 20), BytesMut::new()));
        VecDeque::from([
            What::Response(ResponseHead {
                status: 101,
                headers,
            }),
            channel(1, b""),
            channel(1, OUTPUT.as_bytes()),
            channel(2, b"to bob@"),
        ])
    }

    fn frames(&mut self, stream: StreamId, data: &[u8]) -> VecDeque<What> {
        let mut answers = VecDeque::new();
        let Some((decoder, input)) = self.execs.get_mut(&stream) else {
            return answers;
        };
        input.extend_from_slice(data);
        while let Ok(Some(message)) = decoder.decode(input) {
            match message {
                Message::Data { data, .. } => match data.split_first() {
                    // `cat`, with exit status 3 in the end.
                    Some((0, data)) => answers.push_back(channel(1, data)),
                    Some((255, _)) => {
                        let status = br#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
                        answers.push_back(channel(3, status));
                        answers.push_back(What::Body(frame::close(CloseCode::Normal, None)));
                        answers.push_back(What::End);
                    }
                    _ => {}
                },
                Message::Ping(data) => {
                    let pong = frame::encode(Opcode::Pong, &[&data], None);
                    answers.push_back(What::Body(pong));
                }
                Message::Close(_) | Message::Pong => {}
            }
        }
        answers
    }
}

fn channel(channel: u8, data: &[u8]) -> What {
    What::Body(frame::encode(Opcode::Binary, &[&[channel], data], None))
}

fn answer(status: u16, media: &str, body: &str) -> VecDeque<What> {
    let headers = vec![
        Header::new("content-type", media),
        Header::new("x-internal", "not for agents"),
    ];
    let body = Bytes::from(body.to_owned());
    let body = (!body.is_empty()).then_some(What::Body(body));
    let mut answer = VecDeque::from([What::Response(ResponseHead { status, headers })]);
    answer.extend(body);
    answer.push_back(What::End);
    answer
}

fn secret() -> String {
    format!(
        r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"s","annotations":{{"kubectl.kubernetes.io/last-applied-configuration":"{{\"data\":{{\"p\":\"{SECRET_DATA}\"}}}}"}}}},"data":{{"p":"{SECRET_DATA}"}}}}"#
    )
}

fn config_map() -> String {
    r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":{"greeting":"hello"}}"#
        .to_owned()
}

fn table() -> String {
    let row = secret().replacen(
        r#""kind":"Secret","apiVersion":"v1""#,
        r#""kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1""#,
        1,
    );
    format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{{"cells":["s","Opaque",1],"object":{row}}}]}}"#
    )
}

fn watch(object: &str) -> VecDeque<What> {
    let lines: String = ["ADDED", "MODIFIED"]
        .iter()
        .map(|kind| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
        .collect();
    answer(200, "application/json", &lines)
}
