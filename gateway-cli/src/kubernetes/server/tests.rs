use gateway_protocols::kubernetes::message::Event;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// For a request's head, and for what a connection has to say when its peer stays silent.
const HEAD_TIME: Duration = Duration::from_millis(50);
const SILENCE: Duration = Duration::from_millis(200);

/// What the session is told of these bytes: by an agent that leaves then, or stays a while.
async fn faults(is_http2: bool, bytes: &[u8], stays: bool) -> Vec<String> {
    let (mut client, server): (DuplexStream, _) = duplex(4 << 20);
    let (events, mut told) = mpsc::channel(1024);
    let (departure, departures) = mpsc::channel(1024);
    let (upgrade, upgrades) = mpsc::channel(1);
    let agent = Arc::new(Agent {
        events: events.clone(),
        departure,
        upgrade,
        streams: Arc::default(),
        last: AtomicU64::new(0),
    });
    let serving = tokio::spawn(async move {
        let over = Notify::new();
        tokio::join!(
            carry(server, is_http2, HEAD_TIME, agent, upgrades, &over),
            depart(departures, events),
        );
    });
    client.write_all(bytes).await.unwrap();
    if stays {
        tokio::time::sleep(SILENCE).await;
    }
    drop(client);
    timeout(CLOSE_TIME_MAX, serving).await.unwrap().unwrap();
    let mut found = Vec::new();
    while let Some(event) = told.recv().await {
        if let Event::Malformed { why, .. } = event {
            found.push(why);
        }
    }
    found
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET https://g/` (RFC 7541, appendix A "Static Table Definition").
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x41, 1, b'g'];
/// `connection: x`, not indexed.
const CONNECTION: &[u8] = b"\x00\x0aconnection\x01x";
/// `content-length: 5`, not indexed.
const LENGTH: &[u8] = &[0x0f, 0x0d, 1, b'5'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&len[1..], &[kind, flags], &stream, payload].concat()
}

fn opened(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()
}

#[tokio::test]
async fn what_breaks_http2_is_told_and_who_leaves_is_not() {
    let ends = END_HEADERS | END_STREAM;
    let long = [&[0x00, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'a'; 16_256]].concat();
    let rapid: Vec<Vec<u8>> = (0..100)
        .flat_map(|count| {
            let stream = 2 * count + 1;
            [
                frame(HEADERS, ends, stream, GET),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ]
        })
        .collect();
    let large: Vec<Vec<u8>> = std::iter::once(frame(HEADERS, END_STREAM, 1, GET))
        .chain((1..=6).map(|count| {
            let flags = if count == 6 { END_HEADERS } else { 0 };
            frame(CONTINUATION, flags, 1, &long)
        }))
        .collect();
    let broken = "connection error detected";
    let refused = "streams ended with PROTOCOL_ERROR: 1";
    let cases: &[(&str, Vec<u8>, Option<&str>)] = &[
        (
            "HTTP/1.1",
            b"GET / HTTP/1.1\r\nHost: g\r\n\r\n".to_vec(),
            Some(broken),
        ),
        (
            "half a preface, then another",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            Some(broken),
        ),
        (
            "a frame too large",
            opened(&[[&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 64]].concat()]),
            Some("invalid size"),
        ),
        (
            "a settings frame of odd size",
            opened(&[frame(SETTINGS, 0, 0, &[0; 5])]),
            Some(broken),
        ),
        (
            "no HPACK",
            opened(&[frame(HEADERS, ends, 1, &[0xff; 16])]),
            Some(broken),
        ),
        (
            "data of no stream",
            opened(&[frame(DATA, 0, 5, b"x")]),
            Some(broken),
        ),
        (
            "an even stream",
            opened(&[frame(HEADERS, ends, 2, GET)]),
            Some(broken),
        ),
        (
            "a window that grows by nothing",
            opened(&[frame(WINDOW_UPDATE, 0, 0, &[0; 4])]),
            Some(broken),
        ),
        (
            "a window too wide",
            opened(&[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
            Some("flow-control"),
        ),
        ("rapid resets", opened(&rapid), Some("excessive load")),
        (
            "a head too large",
            opened(&large),
            Some("a head too large: 1"),
        ),
        (
            "a field of HTTP/1.1",
            opened(&[frame(HEADERS, ends, 1, &[GET, CONNECTION].concat())]),
            Some(refused),
        ),
        (
            "a body too short",
            opened(&[
                frame(HEADERS, END_HEADERS, 1, &[GET, LENGTH].concat()),
                frame(DATA, END_STREAM, 1, b"x"),
            ]),
            Some(refused),
        ),
        ("nothing", Vec::new(), None),
        ("a preface", PREFACE.to_vec(), None),
        ("half a frame", opened(&[vec![0, 0, 9, HEADERS, 0]]), None),
        ("a request", opened(&[frame(HEADERS, ends, 1, GET)]), None),
        (
            "half a body",
            opened(&[frame(HEADERS, END_HEADERS, 1, &[GET, LENGTH].concat())]),
            None,
        ),
        ("a request given up", opened(&rapid[..2]), None),
        (
            "an agent that refuses",
            opened(&[frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1])]),
            None,
        ),
    ];
    for (what, bytes, expected) in cases {
        let found = faults(true, bytes, expected.is_some()).await;
        check(what, &found, *expected);
    }
}

#[tokio::test]
async fn what_breaks_http1_is_told_and_who_leaves_is_not() {
    let post = "POST / HTTP/1.1\r\nHost: g\r\n";
    let head = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let cases: &[(&str, String, bool, Option<&str>)] = &[
        ("no method", "\u{1}".to_owned(), true, Some("method")),
        (
            "no target",
            "GET \u{1} HTTP/1.1\r\n\r\n".to_owned(),
            true,
            Some("URI"),
        ),
        ("no field", head("Host : g\r\n"), true, Some("header")),
        (
            "HTTP/2",
            String::from_utf8(PREFACE.to_vec()).unwrap(),
            true,
            Some("version"),
        ),
        (
            "a field too long",
            head(&format!("A: {}\r\n", "a".repeat(200_000))),
            true,
            Some("large"),
        ),
        (
            "too many fields",
            head(&"A: a\r\n".repeat(200)),
            true,
            Some("large"),
        ),
        (
            "a slow head",
            "GET / HTTP/1.1\r\nHo".to_owned(),
            true,
            Some("too long"),
        ),
        (
            "no chunk",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            true,
            Some("chunk"),
        ),
        ("an idle connection", String::new(), true, None),
        ("nothing", String::new(), false, None),
        (
            "half a head",
            "GET / HTTP/1.1\r\nHo".to_owned(),
            false,
            None,
        ),
        (
            "half a body",
            format!("{post}Content-Length: 5\r\n\r\nab"),
            false,
            None,
        ),
        (
            "half a chunk",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
            false,
            None,
        ),
    ];
    for (what, bytes, stays, expected) in cases {
        let found = faults(false, bytes.as_bytes(), *stays).await;
        check(what, &found, *expected);
    }
}

#[track_caller]
fn check(what: &str, found: &[String], expected: Option<&str>) {
    match (expected, found) {
        (None, []) => {}
        (Some(expected), [found]) => assert!(found.contains(expected), "{what}: {found}"),
        (_, found) => panic!("{what}: {found:#?}"),
    }
}
