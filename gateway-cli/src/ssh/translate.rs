//! Between russh's vocabulary and the wire's.

use bytes::{BufMut as _, Bytes, BytesMut};
use gateway_protocols::ssh::message::Modes;
use russh::{ChannelOpenFailure, Pty, Sig};

/// A signal by its name, without `SIG` (RFC 4254, section 6.9, "Signals").
pub(super) fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        // Its variants are called as the signals are.
        known => format!("{known:?}"),
    }
}

/// The signal of a name. russh writes a custom one as it is, so that all of them may be custom.
pub(super) fn signal(name: String) -> Sig {
    Sig::Custom(name)
}

/// Terminal modes as the wire has them; russh lists what it doesn't know as opcode 0.
pub(super) fn modes(modes: &[(Pty, u32)]) -> Modes {
    Modes::new(modes.iter().map(|(opcode, value)| (*opcode as u8, *value)))
}

/// Terminal modes as russh has them.
pub(super) fn pty_modes(modes: &Modes) -> Vec<(Pty, u32)> {
    let known = |(opcode, value): &(u8, u32)| Some((Pty::from_u8(*opcode)?, *value));
    modes.pairs().iter().filter_map(known).collect()
}

/// Why a channel can't be opened (RFC 4254, section 5.1, "Opening a Channel"), in the wire's words:
/// for the codes it knows, russh has words of its own.
pub(super) fn open_failure(code: u32, reason: String) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code, reason }
}

/// What a forwarding channel's type adds: addresses and ports, in the order in which they stand
/// (RFC 4254, section 7.2, "TCP/IP Forwarding Channels").
pub(super) fn addresses(parts: &[(&str, u32)]) -> Bytes {
    let mut out = BytesMut::new();
    for (address, port) in parts {
        put(&mut out, address);
        out.put_u32(*port);
    }
    out.freeze()
}

/// What a socket forwarding channel's type adds (OpenSSH 9.2, `PROTOCOL`, section 2.4).
pub(super) fn socket_path(path: &str) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, path);
    put(&mut out, "");
    out.put_u32(0);
    out.freeze()
}

fn put(out: &mut BytesMut, text: &str) {
    // Came out of one packet: always fits.
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_keep_their_names() {
        for (signal, name) in [
            (Sig::TERM, "TERM"),
            (Sig::USR1, "USR1"),
            (Sig::Custom("WINCH".into()), "WINCH"),
        ] {
            assert_eq!(signal_name(&signal), name);
        }
    }

    #[test]
    fn modes_survive_russh_but_for_what_it_does_not_know() {
        let wire = Modes::new([(53, 1), (128, 38_400), (100, 7)]);
        let russh = pty_modes(&wire);
        assert_eq!(russh.len(), 2);
        assert_eq!(modes(&russh).pairs(), [(53, 1), (128, 38_400)]);
    }

    #[test]
    fn forwarding_details_are_in_their_binary_form() {
        let data = addresses(&[("db", 5432), ("me", 1)]);
        assert_eq!(&data[..], b"\0\0\0\x02db\0\0\x15\x38\0\0\0\x02me\0\0\0\x01");
    }
}
