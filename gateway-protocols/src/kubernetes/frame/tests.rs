use super::*;

const MAX: usize = 1 << 10;

fn decoded(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Message>, FrameError> {
    let mut input = BytesMut::from(bytes);
    let mut found = Vec::new();
    while let Some(message) = decoder.decode(&mut input)? {
        found.push(message);
    }
    Ok(found)
}

fn data(bytes: &'static [u8]) -> Message {
    Message::Data {
        text: false,
        data: Bytes::from_static(bytes),
    }
}

#[test]
fn accept_is_the_example_of_the_rfc() {
    assert_eq!(
        accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
    for bad in ["", "x", "dGhlIHNhbXBsZSBub25jZQ", "AAAA"] {
        assert!(!is_key(bad), "{bad}");
    }
}

#[test]
fn frames_of_the_rfc_decode() {
    // RFC 6455, section 5.7 "Examples".
    let masked = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    let hello = Message::Data {
        text: true,
        data: Bytes::from_static(b"Hello"),
    };
    assert_eq!(
        decoded(&mut Decoder::new(true, MAX), &masked),
        Ok(vec![hello.clone()])
    );
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(
        decoded(&mut Decoder::new(false, MAX), &fragments),
        Ok(vec![hello])
    );
}

#[test]
fn encoded_frames_decode_at_every_length_form_and_split() {
    for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
        for key in [None, Some([1, 2, 3, 4])] {
            let payload = vec![7; len];
            let bytes = encode(Opcode::Binary, &[&payload], key);
            let splits = [0, 1, 2, 3, 9, 13, bytes.len() / 2, bytes.len()];
            for split in splits.into_iter().filter(|split| *split <= bytes.len()) {
                let mut decoder = Decoder::new(key.is_some(), 1 << 20);
                let mut input = BytesMut::from(&bytes[..split]);
                let early = decoder.decode(&mut input).unwrap();
                input.extend_from_slice(&bytes[split..]);
                let found = early.or_else(|| decoder.decode(&mut input).unwrap());
                let expected = Message::Data {
                    text: false,
                    data: payload.clone().into(),
                };
                assert_eq!(found, Some(expected), "{len} bytes cut at {split}");
                assert!(input.is_empty());
            }
        }
    }
}

#[test]
fn control_frames_pass_between_fragments() {
    let bytes = [
        &[0x02, 0x01, b'a'][..],
        &[0x89, 0x01, b'p'],
        &[0x00, 0x00],
        &[0x80, 0x01, b'b'],
        &[0x8a, 0x00],
        &[0x88, 0x02, 0x03, 0xe8],
    ]
    .concat();
    let mut decoder = Decoder::new(false, MAX);
    assert_eq!(
        decoded(&mut decoder, &bytes),
        Ok(vec![
            Message::Ping(Bytes::from_static(b"p")),
            data(b"ab"),
            Message::Pong,
            Message::Close(Bytes::from_static(&[0x03, 0xe8])),
        ])
    );
    assert_eq!(close(CloseCode::Normal, None), [0x88, 0x02, 0x03, 0xe8][..]);
}

#[test]
fn what_is_no_frame_is_refused_before_its_data_comes() {
    let table: &[(&[u8], FrameError)] = &[
        (&[0xc2, 0x00], FrameError::Reserved),
        (&[0x83, 0x00], FrameError::Opcode(3)),
        (&[0x82, 0x80], FrameError::Masking),
        (&[0x09, 0x00], FrameError::Control),
        (&[0x88, 0x7e, 0x00, 0x7e], FrameError::Control),
        (&[0x80, 0x00], FrameError::Fragment),
        (&[0x02, 0x00, 0x02, 0x00], FrameError::Fragment),
        (&[0x82, 0x7e, 0x00, 0x7d], FrameError::Length),
        (
            &[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            FrameError::Length,
        ),
        (&[0x82, 0x7e, 0x04, 0x01], FrameError::TooLong(MAX)),
        (
            &[0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            FrameError::TooLong(MAX),
        ),
    ];
    for (bytes, error) in table {
        assert_eq!(
            decoded(&mut Decoder::new(false, MAX), bytes),
            Err(*error),
            "{bytes:x?}"
        );
    }
}

#[test]
fn fragments_together_keep_the_bound() {
    let mut decoder = Decoder::new(false, 3);
    let bytes = [0x02, 0x02, 1, 2, 0x00, 0x02];
    assert_eq!(decoded(&mut decoder, &bytes), Err(FrameError::TooLong(3)));
}

#[test]
fn keys_differ_and_depend_on_the_seed() {
    let mut keys = Keys::new([1; 32]);
    let (first, second) = (keys.mask(), keys.mask());
    assert_ne!(first, second);
    assert_eq!(Keys::new([1; 32]).mask(), first);
    assert_ne!(Keys::new([2; 32]).mask(), first);
    assert!(is_key(&keys.handshake()));
}
