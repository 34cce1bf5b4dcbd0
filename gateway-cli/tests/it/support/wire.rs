//! A client that says to PostgreSQL's port whatever a test wants said, byte by byte.

use std::{
    fmt::Write as _,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// Protocol 3.0, 3.2, and the codes of requests that come in its place (PostgreSQL 18, "Message
/// Formats").
pub(crate) const PROTOCOL_3_0: u32 = 196_608;
pub(crate) const PROTOCOL_3_2: u32 = 196_610;
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const CANCEL_REQUEST: u32 = 80_877_102;

/// A message of the server's.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) tag: char,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A field of an error or a notice.
    pub(crate) fn field(&self, code: u8) -> String {
        let fields = self.body.split(|byte| *byte == 0);
        let found = fields.filter_map(|field| field.split_first());
        let text = found.into_iter().find(|(first, _)| **first == code);
        text.map(|(_, text)| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    }

    /// The cells of a row.
    pub(crate) fn cells(&self) -> Vec<Option<Vec<u8>>> {
        let (count, mut rest) = self.body.split_at(2);
        let count = u16::from_be_bytes(count.try_into().unwrap());
        (0..count)
            .map(|_| {
                let (len, behind) = rest.split_at(4);
                rest = behind;
                let len = usize::try_from(i32::from_be_bytes(len.try_into().unwrap())).ok()?;
                let (cell, behind) = rest.split_at(len);
                rest = behind;
                Some(cell.to_vec())
            })
            .collect()
    }
}

/// A conversation in words: `1 2 D(1,a) C(SELECT 1) E(42501) Z(I)`; `EOF` where it ended.
pub(crate) fn told(replies: &[Reply]) -> String {
    let mut words = String::new();
    for reply in replies {
        let text = || {
            String::from_utf8_lossy(&reply.body)
                .trim_end_matches('\0')
                .to_owned()
        };
        let _ = match reply.tag {
            'D' => {
                let cells = reply.cells().into_iter().map(|cell| match cell {
                    Some(cell) => cell.escape_ascii().to_string(),
                    None => "null".to_owned(),
                });
                write!(words, "D({}) ", cells.collect::<Vec<_>>().join(","))
            }
            'C' | 'Z' => write!(words, "{}({}) ", reply.tag, text()),
            'E' => write!(words, "E({}) ", reply.field(b'C')),
            '$' => write!(words, "EOF "),
            tag => write!(words, "{tag} "),
        };
    }
    words.trim_end().to_owned()
}

/// A connection that is logged in.
pub(crate) struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    input: Vec<u8>,
    /// What came before the first ReadyForQuery.
    pub(crate) greeting: Vec<Reply>,
}

impl Wire {
    /// Logs in at `port` with these startup parameters.
    ///
    /// # Errors
    /// The server's error when it refuses.
    pub(crate) fn connect(
        (port, ca): (u16, &Path),
        version: u32,
        parameters: &[(&str, &str)],
        password: &str,
    ) -> Result<Self, String> {
        let stream = secure(plain(port), trusting(ca));
        Self::log_in(stream, version, parameters, password)
    }

    /// Logs in over TLS that begins at once and offers these application protocols.
    ///
    /// # Errors
    /// The server's error when it refuses.
    pub(crate) fn connect_directly(
        (port, ca): (u16, &Path),
        protocols: &[&[u8]],
        parameters: &[(&str, &str)],
        password: &str,
    ) -> Result<Self, String> {
        let mut tls = trusting(ca);
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = encrypted(plain(port), tls);
        Self::log_in(stream, PROTOCOL_3_0, parameters, password)
    }

    fn log_in(
        stream: StreamOwned<ClientConnection, TcpStream>,
        version: u32,
        parameters: &[(&str, &str)],
        password: &str,
    ) -> Result<Self, String> {
        let mut this = Self {
            stream,
            input: Vec::new(),
            greeting: Vec::new(),
        };
        let mut startup = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            startup.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        startup.push(0);
        this.send(&with_length(&startup));
        loop {
            let reply = this.receive();
            match (reply.tag, reply.body.as_slice()) {
                ('R', [0, 0, 0, 3, ..]) => this.send(&message(b'p', &string(password))),
                ('E', _) => return Err(format!("{} {}", reply.field(b'C'), reply.field(b'M'))),
                ('$', _) => return Err("closed".into()),
                _ => {}
            }
            let ready = reply.tag == 'Z';
            this.greeting.push(reply);
            if ready {
                return Ok(this);
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The server may have hung up already; what it says is what tests look at.
        drop(self.stream.write_all(bytes));
        drop(self.stream.flush());
    }

    /// Sends, and waits for `count` ReadyForQuery, or the end, or a silence.
    pub(crate) fn ask_for(&mut self, count: usize, bytes: &[u8]) -> Vec<Reply> {
        self.send(bytes);
        self.until_ready(count)
    }

    /// Sends, and waits for one ReadyForQuery.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Vec<Reply> {
        self.ask_for(1, bytes)
    }

    /// A simple query's answer.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Reply> {
        self.ask(&query(sql))
    }

    /// Everything up to and with the `count`th ReadyForQuery.
    pub(crate) fn until_ready(&mut self, count: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        let mut ready = 0;
        while ready < count {
            let reply = self.receive();
            let over = matches!(reply.tag, '$' | '?');
            ready += usize::from(reply.tag == 'Z');
            replies.push(reply);
            if over {
                break;
            }
        }
        replies
    }

    /// The next message; tag `$` at the end of the connection, `?` after a silence.
    pub(crate) fn receive(&mut self) -> Reply {
        let nothing = |tag| Reply {
            tag,
            body: Vec::new(),
        };
        loop {
            if let Some((&tag, rest)) = self.input.split_first()
                && let Some((len, _)) = rest.split_first_chunk()
            {
                let len = u32::from_be_bytes(*len) as usize;
                if rest.len() >= len {
                    let body = rest[4..len].to_vec();
                    self.input.drain(..=len);
                    return Reply {
                        tag: char::from(tag),
                        body,
                    };
                }
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return nothing('$'),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return nothing('?');
                }
                Err(_) => return nothing('$'),
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        self.stream.conn.send_close_notify();
        drop(self.stream.flush());
        drop(self.stream.sock.shutdown(std::net::Shutdown::Write));
    }

    /// Reads a message and forgets it: its tag, and the bytes of its body.
    pub(crate) fn receive_length(&mut self) -> (char, usize) {
        let mut chunk = vec![0; 256 << 10];
        while self.input.len() < 5 {
            let read = self.stream.read(&mut chunk).unwrap();
            self.input.extend_from_slice(&chunk[..read]);
        }
        let tag = char::from(self.input[0]);
        let len = u32::from_be_bytes(self.input[1..5].try_into().unwrap()) as usize - 4;
        let held = len.min(self.input.len() - 5);
        self.input.drain(..5 + held);
        let mut left = len - held;
        while left > 0 {
            let most = left.min(chunk.len());
            left -= self.stream.read(&mut chunk[..most]).unwrap();
        }
        (tag, len)
    }

    /// Process id and key for cancel requests.
    pub(crate) fn cancel_key(&self) -> Vec<u8> {
        let key = self.greeting.iter().find(|reply| reply.tag == 'K');
        key.expect("a cancel key").body.clone()
    }

    /// How long a silence is.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.stream.sock.set_read_timeout(Some(patience)).unwrap();
    }
}

/// Sends a cancel request with this key.
pub(crate) fn cancel((port, ca): (u16, &Path), key: &[u8]) {
    let mut stream = secure(plain(port), trusting(ca));
    stream.write_all(&cancel_request(key)).unwrap();
    drop(stream.read(&mut [0; 16]));
}

/// A cancel request with this key.
pub(crate) fn cancel_request(key: &[u8]) -> Vec<u8> {
    with_length(&[&CANCEL_REQUEST.to_be_bytes()[..], key].concat())
}

/// A connection without TLS on which nothing has been said.
pub(crate) fn plain(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What the server says until it hangs up or falls silent.
pub(crate) fn drain(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all));
    all
}

fn secure(mut stream: TcpStream, tls: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    stream.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    encrypted(stream, tls)
}

fn encrypted(stream: TcpStream, tls: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(tls), name).unwrap(), stream)
}

/// Trusts the authority in `ca`.
pub(crate) fn trusting(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&len.to_be_bytes(), body].concat()
}

/// A message.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &with_length(body)].concat()
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &string(sql))
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[string(name), string(sql), vec![0, 0]].concat())
}

/// A Bind with values in text, and all results in `format`: 0 text, 1 binary.
pub(crate) fn bind(portal: &str, statement: &str, values: &[&str], format: u8) -> Vec<u8> {
    let mut body = [string(portal), string(statement), vec![0, 0]].concat();
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        // The length of a value doesn't count itself.
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(&[0, 1, 0, format]);
    message(b'B', &body)
}

pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![kind], string(name)].concat())
}

pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[vec![kind], string(name)].concat())
}

pub(crate) fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    message(
        b'E',
        &[string(portal), rows_max.to_be_bytes().to_vec()].concat(),
    )
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}
