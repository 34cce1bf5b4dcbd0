use super::*;
use proptest::prelude::*;

/// RFC 7677, section 3, "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS": the example exchange.
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn begin() -> ExpectServerFirst {
    let nonce = Nonce::new(CLIENT_NONCE).unwrap();
    // The vector names a user, which PostgreSQL's exchange leaves empty.
    ExpectServerFirst {
        bare: format!("n=user,r={CLIENT_NONCE}"),
        ..ExpectServerFirst::new(ChannelBinding::Unsupported, nonce)
    }
}

fn answer() -> (String, ExpectServerFinal) {
    let challenge = begin().server_first(SERVER_FIRST.as_bytes()).unwrap();
    let password =
        SaltedPassword::derive(b"pencil", challenge.salt(), challenge.iterations()).unwrap();
    challenge.client_final(&password)
}

#[test]
fn the_exchange_of_rfc_7677_is_reproduced() {
    assert_eq!(begin().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (client_final, expect) = answer();
    assert_eq!(client_final, CLIENT_FINAL);
    assert_eq!(expect.verify(SERVER_FINAL.as_bytes()), Ok(()));
}

#[test]
fn first_message_tells_the_channel_binding() {
    let end_point =
        EndPoint::of_certificate(&certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])).unwrap();
    for (binding, mechanism, message) in [
        (
            ChannelBinding::Unsupported,
            "SCRAM-SHA-256",
            "n,,n=,r=AAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (
            ChannelBinding::NotOffered,
            "SCRAM-SHA-256",
            "y,,n=,r=AAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (
            ChannelBinding::ServerEndPoint(end_point),
            "SCRAM-SHA-256-PLUS",
            "p=tls-server-end-point,,n=,r=AAAAAAAAAAAAAAAAAAAAAAAA",
        ),
    ] {
        let first = ExpectServerFirst::new(binding, Nonce::from_entropy(&[0; 18]));
        assert_eq!(first.mechanism(), mechanism);
        assert_eq!(first.message(), message);
    }
}

#[test]
fn final_message_carries_header_and_certificate_digest() {
    let der = certificate(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]);
    let binding = ChannelBinding::ServerEndPoint(EndPoint::of_certificate(&der).unwrap());
    let nonce = Nonce::new(CLIENT_NONCE).unwrap();
    let challenge = ExpectServerFirst::new(binding, nonce)
        .server_first(SERVER_FIRST.as_bytes())
        .unwrap();
    let password =
        SaltedPassword::derive(b"pencil", challenge.salt(), challenge.iterations()).unwrap();
    let (message, _) = challenge.client_final(&password);
    let bound = BASE64
        .decode(
            message
                .strip_prefix("c=")
                .unwrap()
                .split(',')
                .next()
                .unwrap(),
        )
        .unwrap();
    let hash = bound.strip_prefix(b"p=tls-server-end-point,,").unwrap();
    assert_eq!(hash, digest::digest(&digest::SHA256, &der).as_ref());
}

#[test]
fn server_first_outside_the_grammar_or_bounds_is_refused() {
    let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
    let first =
        |salt: &str, iterations: &str| format!("r={CLIENT_NONCE}abc,s={salt},i={iterations}");
    for (message, expected) in [
        (String::new(), ScramError::Malformed),
        (format!("m=x,{SERVER_FIRST}"), ScramError::Malformed),
        (format!("{SERVER_FIRST},x=1"), ScramError::Malformed),
        (
            format!("r={CLIENT_NONCE}abc,s={salt}"),
            ScramError::Malformed,
        ),
        (
            format!("r={CLIENT_NONCE},s={salt},i=4096"),
            ScramError::Nonce,
        ),
        (
            format!("r=xOprNGfwEbeRWgbNEkqOabc,s={salt},i=4096"),
            ScramError::Nonce,
        ),
        (
            format!("r={CLIENT_NONCE}a\u{7f},s={salt},i=4096"),
            ScramError::Nonce,
        ),
        (
            format!("r={CLIENT_NONCE}\u{e9},s={salt},i=4096"),
            ScramError::Nonce,
        ),
        (first("", "4096"), ScramError::Malformed),
        (first("!", "4096"), ScramError::Malformed),
        (
            first(&BASE64.encode([0; 257]), "4096"),
            ScramError::Malformed,
        ),
        (first(salt, "4095"), ScramError::Iterations(4095)),
        (first(salt, "100001"), ScramError::Iterations(100_001)),
        (first(salt, "1"), ScramError::Iterations(1)),
        (first(salt, "0"), ScramError::Malformed),
        (first(salt, "04096"), ScramError::Malformed),
        (first(salt, "+4096"), ScramError::Malformed),
        (first(salt, "-4096"), ScramError::Malformed),
        (first(salt, "4294967296"), ScramError::Malformed),
        (first(salt, ""), ScramError::Malformed),
        (
            format!("r={CLIENT_NONCE}{},s={salt},i=4096", "x".repeat(1024)),
            ScramError::Malformed,
        ),
    ] {
        assert_eq!(
            begin().server_first(message.as_bytes()).err(),
            Some(expected),
            "{message}"
        );
    }
    assert_eq!(
        begin().server_first(b"\xff").err(),
        Some(ScramError::Malformed)
    );
    for iterations in ["4096", "100000"] {
        assert!(
            begin()
                .server_first(first(salt, iterations).as_bytes())
                .is_ok()
        );
    }
}

#[test]
fn server_that_does_not_know_the_password_is_refused() {
    let cut = BASE64.encode(
        BASE64
            .decode(SERVER_FINAL.strip_prefix("v=").unwrap())
            .unwrap()
            .split_last()
            .unwrap()
            .1,
    );
    for (message, expected) in [
        ("e=invalid-proof", ScramError::Refused),
        ("", ScramError::Malformed),
        ("v=", ScramError::ServerSignature),
        ("v=!", ScramError::Malformed),
        (
            "v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ScramError::ServerSignature,
        ),
        (&format!("v={cut}"), ScramError::ServerSignature),
        (&format!("{SERVER_FINAL},x=1"), ScramError::Malformed),
        (&format!("x=1,{SERVER_FINAL}"), ScramError::Malformed),
    ] {
        assert_eq!(
            answer().1.verify(message.as_bytes()),
            Err(expected),
            "{message}"
        );
    }
}

#[test]
fn password_is_prepared_as_postgres_does() {
    for (given, prepared) in [
        (&b"pencil"[..], &b"pencil"[..]),
        (b"tab\there", b"tab\there"),
        ("I\u{ad}X".as_bytes(), b"IX"),
        ("\u{a0}".as_bytes(), b" "),
        ("\u{2168}".as_bytes(), b"IX"),
        ("\u{ad}".as_bytes(), "\u{ad}".as_bytes()),
        (b"\xffnot utf-8", b"\xffnot utf-8"),
        (b"", b""),
    ] {
        assert_eq!(*prepare(given), prepared, "{}", given.escape_ascii());
    }
}

#[test]
fn secrets_and_bounds_of_derivation() {
    let salted = SaltedPassword::derive(b"pencil", b"salt", 4096).unwrap();
    assert_eq!(format!("{salted:?}"), "SaltedPassword(..)");
    assert_eq!(
        SaltedPassword::derive(b"p", b"salt", 0).err(),
        Some(ScramError::Iterations(0))
    );
    assert_eq!(
        SaltedPassword::derive(b"p", b"salt", 100_001).err(),
        Some(ScramError::Iterations(100_001))
    );
    assert_eq!(
        SaltedPassword::derive(b"p", b"", 4096).err(),
        Some(ScramError::Salt)
    );
    for nonce in [
        "",
        "tooshort",
        "has,a,comma,in,its,middle",
        "has a space in its middle",
        &"x".repeat(129),
    ] {
        assert_eq!(
            Nonce::new(nonce).err(),
            Some(ScramError::OwnNonce),
            "{nonce}"
        );
    }
}

/// The outline of a certificate with this signature algorithm.
fn certificate(algorithm: &[u8]) -> Vec<u8> {
    let der = |tag: u8, contents: &[u8]| {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], contents].concat()
    };
    let to_be_signed = der(0x30, &[7; 300]);
    let algorithm = der(0x30, &[der(0x06, algorithm), vec![0x05, 0x00]].concat());
    let signature = der(0x03, &[0; 65]);
    der(0x30, &[to_be_signed, algorithm, signature].concat())
}

#[test]
fn end_point_digest_follows_the_signature_algorithm() {
    let rsa = |last| vec![0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
    let ecdsa = |last: &[u8]| [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4], last].concat();
    for (name, algorithm, length) in [
        ("md5 rsa", rsa(4), Some(32)),
        ("sha-1 rsa", rsa(5), Some(32)),
        ("sha-256 rsa", rsa(11), Some(32)),
        ("sha-384 rsa", rsa(12), Some(48)),
        ("sha-512 rsa", rsa(13), Some(64)),
        ("rsa-pss", rsa(10), None),
        ("sha-1 ecdsa", ecdsa(&[1]), Some(32)),
        ("sha-256 ecdsa", ecdsa(&[3, 2]), Some(32)),
        ("sha-384 ecdsa", ecdsa(&[3, 3]), Some(48)),
        ("sha-512 ecdsa", ecdsa(&[3, 4]), Some(64)),
        ("ed25519", vec![0x2b, 0x65, 0x70], None),
    ] {
        let end_point = EndPoint::of_certificate(&certificate(&algorithm));
        assert_eq!(
            end_point.ok().map(|end_point| end_point.as_bytes().len()),
            length,
            "{name}"
        );
    }
    let mut longer = certificate(&rsa(11));
    longer.push(0);
    assert_eq!(
        EndPoint::of_certificate(&longer),
        Err(ScramError::Certificate)
    );
}

proptest! {
    #[test]
    fn arbitrary_server_messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = begin().server_first(&bytes);
        let _ = EndPoint::of_certificate(&bytes);
    }
}
