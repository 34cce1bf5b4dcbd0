use super::*;
use bytes::BufMut as _;
use proptest::prelude::*;

const LIMITS: FrameLimits = FrameLimits {
    whole_bytes_max: 64,
    stream_bytes_max: 10_000,
};

fn rules(tag: u8) -> Option<LengthRule> {
    match tag {
        b'd' => Some(LengthRule::Streamed),
        b'Q' => Some(LengthRule::Whole),
        b'S' => Some(LengthRule::AtMost(8)),
        _ => None,
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.put_u32(u32::try_from(body.len() + 4).unwrap());
    out.extend_from_slice(body);
    out
}

/// Feeds `chunks` one after the other and joins the parts of streamed messages.
fn decode_all(chunks: &[&[u8]]) -> (Vec<(u8, Vec<u8>)>, Option<FrameError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut input = BytesMut::new();
    let mut messages = Vec::new();
    let mut open: Option<(u8, Vec<u8>)> = None;
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut input, rules) {
                Ok(None) => break,
                Ok(Some(Frame::Whole { tag, bytes })) => messages.push((tag, bytes.to_vec())),
                Ok(Some(Frame::Head {
                    tag,
                    bytes,
                    frame_len,
                })) => {
                    assert_eq!(
                        bytes.len(),
                        LIMITS.whole_bytes_max,
                        "a head is always as long"
                    );
                    assert!(frame_len > bytes.len());
                    assert!(open.replace((tag, bytes.to_vec())).is_none());
                }
                Ok(Some(Frame::Part { bytes, last })) => {
                    assert!(!bytes.is_empty());
                    let mut streamed = open.take().expect("a part follows a head");
                    streamed.1.extend_from_slice(&bytes);
                    if last {
                        messages.push(streamed)
                    } else {
                        open = Some(streamed)
                    }
                }
                Err(error) => {
                    let before = input.clone();
                    assert_eq!(
                        decoder.decode(&mut input, rules),
                        Err(error),
                        "errors are sticky"
                    );
                    assert_eq!(input, before, "a failed decoder takes nothing");
                    return (messages, Some(error));
                }
            }
        }
    }
    (messages, None)
}

#[test]
fn invalid_headers_are_refused_before_their_body_arrives() {
    let too_large = |tag, frame_len| FrameError::TooLarge { tag, frame_len };
    for (name, header, expected) in [
        (
            "negative length",
            b"Q\xff\xff\xff\xff",
            FrameError::Length(-1),
        ),
        (
            "lowest length",
            b"Q\x80\x00\x00\x00",
            FrameError::Length(i32::MIN),
        ),
        ("zero length", b"Q\x00\x00\x00\x00", FrameError::Length(0)),
        (
            "length without itself",
            b"Q\x00\x00\x00\x03",
            FrameError::Length(3),
        ),
        (
            "whole past its limit",
            b"Q\x00\x00\x00\x40",
            too_large(b'Q', 65),
        ),
        (
            "highest length",
            b"Q\x7f\xff\xff\xff",
            too_large(b'Q', 0x8000_0000),
        ),
        (
            "stream past its limit",
            b"d\x00\x00\x27\x10",
            too_large(b'd', 10_001),
        ),
        (
            "short tag past its length",
            b"S\x00\x00\x00\x09",
            too_large(b'S', 10),
        ),
        ("unknown tag", b"?\x00\x00\x00\x04", FrameError::Tag(b'?')),
    ] {
        let mut input = BytesMut::from(&header[..]);
        let capacity = input.capacity();
        assert_eq!(
            Decoder::new(LIMITS).decode(&mut input, rules),
            Err(expected),
            "{name}"
        );
        assert_eq!(input.capacity(), capacity, "{name}: nothing was reserved");
    }
}

#[test]
fn messages_at_their_limits_are_taken() {
    for (tag, body_len) in [
        (b'Q', 0),
        (b'Q', 59),
        (b'S', 4),
        (b'd', 59),
        (b'd', 60),
        (b'd', 9_995),
    ] {
        let bytes = message(tag, &vec![7; body_len]);
        let (messages, error) = decode_all(&[&bytes]);
        assert_eq!(
            (messages, error),
            (vec![(tag, bytes)], None),
            "{tag} {body_len}"
        );
    }
}

#[test]
fn tiny_limits_still_leave_a_last_part() {
    let limits = FrameLimits {
        whole_bytes_max: 0,
        stream_bytes_max: 100,
    };
    let mut decoder = Decoder::new(limits);
    let mut input = BytesMut::from(&message(b'd', b"x")[..]);
    let head = decoder.decode(&mut input, rules).unwrap();
    assert!(matches!(head, Some(Frame::Head { frame_len: 6, .. })));
    assert!(!decoder.at_boundary());
    let part = decoder.decode(&mut input, rules).unwrap();
    assert_eq!(
        part,
        Some(Frame::Part {
            bytes: Bytes::from_static(b"x"),
            last: true
        })
    );
    assert!(decoder.at_boundary());
}

#[test]
fn startup_packets_obey_the_servers_bounds() {
    for (name, bytes, expected) in [
        ("nothing yet", &b""[..], Ok(None)),
        ("incomplete length", b"\0\0\0", Ok(None)),
        ("incomplete body", b"\0\0\0\x08\x04\xd2\x16", Ok(None)),
        (
            "whole",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            Ok(Some(&b"\0\0\0\x08\x04\xd2\x16\x2f"[..])),
        ),
        (
            "no room for a code",
            b"\0\0\0\x07\0\0\0",
            Err(FrameError::Length(7)),
        ),
        ("negative", b"\x80\0\0\0", Err(FrameError::Length(i32::MIN))),
        ("largest", b"\0\0\x27\x14", Ok(None)),
        (
            "past the limit",
            b"\0\0\x27\x15",
            Err(FrameError::TooLarge {
                tag: 0,
                frame_len: 10_005,
            }),
        ),
        (
            "tls hello",
            b"\x16\x03\x01\x02",
            Err(FrameError::TooLarge {
                tag: 0,
                frame_len: 0x1603_0102,
            }),
        ),
    ] {
        let mut input = BytesMut::from(bytes);
        let decoded = decode_startup(&mut input, STARTUP_BODY_BYTES_MAX);
        assert_eq!(
            decoded.as_ref().map(Option::as_deref),
            expected.as_ref().map(|e| *e),
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_messages(
        messages in prop::collection::vec((prop::sample::select(b"QQdS?".to_vec()), 0_usize..200), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|&(tag, len)| message(tag, &vec![tag; len])).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode_all(&[&bytes]), decode_all(&chunks));
    }

    #[test]
    fn arbitrary_bytes_decode_without_loss_or_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (messages, _) = decode_all(&[&bytes]);
        let taken: Vec<u8> = messages.into_iter().flat_map(|(_, bytes)| bytes).collect();
        prop_assert!(bytes.starts_with(&taken));
        let _ = decode_startup(&mut BytesMut::from(&bytes[..]), STARTUP_BODY_BYTES_MAX);
    }
}
