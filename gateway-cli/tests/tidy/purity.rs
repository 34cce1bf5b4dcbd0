//! I2, I3, I4, I5 and I7: what code in which place may not do, from the source tree.

use super::{
    assert_tidy, root,
    source::{File, dense, mentions, rust_files},
};

/// I/O, clocks, randomness, environment, threads, runtimes, global state.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "Instant::now",
    "SystemTime::now",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "aws_lc_rs::rand",
    "rand",
    "getrandom",
    "tokio",
    "tokio_rustls",
    "reqwest",
    "rusqlite",
    "static mut",
    "thread_local!",
    "std::sync::OnceLock",
    "std::sync::LazyLock",
    "std::cell::OnceCell",
];

/// What libraries leave to the binary.
const GLOBAL: &[&str] = &[
    "println!",
    "print!",
    "eprintln!",
    "eprint!",
    "dbg!",
    "std::env",
    "std::process",
    "install_default",
    "set_global_default",
    "set_logger",
    "set_hook",
];

/// Where a library may touch files: it is what the module is for.
const FILE_KEEPERS: &[&str] = &[
    // The log, its index and its exports are files.
    "gateway-audit/src/",
    // Reads a policy folder that its caller names.
    "gateway-policy/src/bundle.rs",
    "gateway-policy/src/cases/mod.rs",
    "gateway-policy/src/language/",
];

const LIBRARIES: &[&str] = &[
    "gateway-core/src",
    "gateway-protocols/src",
    "gateway-policy/src",
    "gateway-audit/src",
];

/// Identifiers that hold what logs must never carry.
const SECRET_WORDS: &[&str] = &[
    "text",
    "sql",
    "statement",
    "token",
    "secret",
    "password",
    "cell",
    "row",
    "value",
    "body",
];

fn sources(under: &[&str]) -> Vec<File> {
    under
        .iter()
        .flat_map(|folder| rust_files(&root(), folder))
        .filter(|file| !file.is_test())
        .collect()
}

/// The inner ring of core and all protocols, without the kit that tests them: pure.
fn pure_sources() -> Vec<File> {
    let mut files = sources(&["gateway-core/src", "gateway-protocols/src"]);
    files.retain(|file| {
        ![
            "gateway-core/src/drive",
            "gateway-core/src/azure",
            "gateway-protocols/src/testkit",
        ]
        .iter()
        .any(|outer| file.path.starts_with(outer))
    });
    files
}

#[test]
fn i2_inner_core_and_protocols_are_pure() {
    let files = pure_sources();
    assert!(
        files
            .iter()
            .any(|file| file.path.ends_with("session/mod.rs")),
        "nothing to check"
    );
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| file.names_any(IMPURE))
        .collect();
    assert_tidy(
        "I2: no I/O, clock, randomness, env, spawn, tokio or global state",
        &wrong,
    );
}

#[test]
fn i2_impurity_is_seen() {
    for (text, named) in [
        (
            "use std::time::Instant;\nfn f() { Instant::now(); }",
            "Instant::now",
        ),
        (
            "fn f() { let t = std::time::SystemTime::now(); }",
            "SystemTime::now",
        ),
        ("use std::{env, fmt};", "std::env"),
        ("use tokio::net::TcpStream;", "tokio"),
        ("static mut COUNT: u32 = 0;", "static mut"),
        ("use std::sync::{Arc, OnceLock};", "std::sync::OnceLock"),
        (
            "use aws_lc_rs::{digest, rand::SystemRandom};",
            "aws_lc_rs::rand",
        ),
    ] {
        let wrong = File::new("x.rs", text.into()).names_any(IMPURE);
        assert!(
            wrong.iter().any(|line| line.contains(named)),
            "{text}: {wrong:?}"
        );
    }
    let fine =
        "use std::net::IpAddr;\n#[cfg(test)]\nmod tests { use std::fs; }\nfn f(now: Instant) {}";
    assert!(File::new("x.rs", fine.into()).names_any(IMPURE).is_empty());
}

/// A protocol's parsers: `frame.rs`, `message.rs`, `message/…`, below a protocol's folder.
fn is_parser(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("gateway-protocols/src/") else {
        return false;
    };
    let Some((_, part)) = rest.split_once('/') else {
        return false;
    };
    ["frame.rs", "frame/", "message.rs", "message/"]
        .iter()
        .any(|parser| part.starts_with(parser))
}

#[test]
fn i3_parsers_stand_alone() {
    let parsers: Vec<File> = sources(&["gateway-protocols/src"])
        .into_iter()
        .filter(|file| is_parser(&file.path))
        .collect();
    assert!(parsers.len() >= 2, "nothing to check");
    let wrong: Vec<String> = parsers
        .iter()
        .flat_map(|file| file.names_any(&["gateway_core"]))
        .collect();
    assert_tidy("I3: frame and message don't import gateway_core", &wrong);
}

#[test]
fn i3_an_import_is_seen() {
    assert!(is_parser("gateway-protocols/src/postgres/message/wire.rs"));
    assert!(!is_parser("gateway-protocols/src/postgres/session/mod.rs"));
    let file = File::new("frame.rs", "use gateway_core::limits::Limits;".into());
    assert_eq!(file.names_any(&["gateway_core"]).len(), 1);
}

/// Functions of a file that queue something for the target, with what they queue.
fn senders(file: &File) -> Vec<String> {
    const PUSH: &str = "Side::Target, Item::";
    let code = dense(&file.code);
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let pushes = code.match_indices(PUSH).map(|(at, _)| {
        let function = code[..at]
            .rfind("fn ")
            .map_or_else(|| "?".into(), |from| name(&code[from + 3..]));
        format!("{function} {}", name(&code[at + PUSH.len()..]))
    });
    pushes.collect()
}

#[test]
fn i4_nothing_else_is_sent_to_the_target() {
    let files = sources(&["gateway-core/src"]);
    let mut found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            senders(file)
                .into_iter()
                .map(|sender| format!("{} {sender}", file.path))
        })
        .collect();
    found.sort();
    // `aside` is a cancel request on a connection of its own, `connect` opens the connection.
    let known = [
        "aside Aside",
        "connect Connect",
        "pass Send",
        "probe Send",
        "release Release",
    ];
    assert_eq!(
        found,
        known.map(|sender| format!("gateway-core/src/gate/turn.rs {sender}")),
        "I4"
    );
}

#[test]
fn i4_another_sender_is_seen() {
    let text = "fn sneak(&mut self) { self.core.push(Side::Target, Item::Send(bytes)); }";
    assert_eq!(senders(&File::new("x.rs", text.into())), ["sneak Send"]);
}

/// I5: channels without a bound, and buffers grown by what a frame parser was told.
fn unbounded(file: &File) -> Vec<String> {
    const CHANNELS: &[&str] = &[
        "unbounded_channel",
        "UnboundedSender",
        "UnboundedReceiver",
        "channel::unbounded",
    ];
    let mut wrong = file.names_any(CHANNELS);
    let code = dense(&file.code);
    let std_channel =
        file.names_any(&["std::sync::mpsc"]).len() == 1 && mentions(&code, "mpsc::channel(");
    if std_channel || mentions(&code, "std::sync::mpsc::channel") {
        wrong.push(format!(
            "{} makes a std channel, which has no bound",
            file.path
        ));
    }
    if is_parser(&file.path) && file.path.contains("/frame") && code.contains(".reserve(") {
        wrong.push(format!("{} reserves what a peer claims", file.path));
    }
    wrong
}

#[test]
fn i5_nothing_is_unbounded() {
    let mut everywhere = LIBRARIES.to_vec();
    everywhere.extend(["gateway-cli/src", "examples"]);
    let wrong: Vec<String> = sources(&everywhere).iter().flat_map(unbounded).collect();
    assert_tidy("I5: every queue has a bound", &wrong);
}

#[test]
fn i5_a_channel_without_bound_is_seen() {
    for text in [
        "use tokio::sync::mpsc;\nfn f() { mpsc::unbounded_channel::<u8>(); }",
        "use std::sync::mpsc;\nfn f() { let (a, b) = mpsc::channel(); }",
        "fn f() { std::sync::mpsc::channel::<u8>(); }",
    ] {
        assert!(
            !unbounded(&File::new("x.rs", text.into())).is_empty(),
            "{text}"
        );
    }
    let frame = "gateway-protocols/src/postgres/frame.rs";
    assert!(!unbounded(&File::new(frame, "fn f() { b.reserve(len); }".into())).is_empty());
    let fine = "use tokio::sync::mpsc;\nfn f() { mpsc::channel(8); }";
    assert!(unbounded(&File::new("x.rs", fine.into())).is_empty());
}

/// I7: prints, environment, globals; files outside the modules that are there to keep them.
fn unlike_a_library(file: &File) -> Vec<String> {
    let mut wrong = file.names_any(GLOBAL);
    if !FILE_KEEPERS
        .iter()
        .any(|keeper| file.path.starts_with(keeper))
    {
        wrong.extend(file.names_any(&["std::fs"]));
    }
    wrong
}

#[test]
fn i7_libraries_never_print_read_env_or_install_globals() {
    let wrong: Vec<String> = sources(LIBRARIES)
        .iter()
        .flat_map(unlike_a_library)
        .collect();
    assert_tidy(
        "I7: libraries never print, read env or files, or install globals",
        &wrong,
    );
}

#[test]
fn i7_a_print_is_seen() {
    for text in [
        "fn f() { println!(\"x\"); }",
        "fn f() { let p = CryptoProvider::install_default(x); }",
        "fn f() { std::env::var(\"X\"); }",
        "use std::fs::File;",
    ] {
        let file = File::new("gateway-core/src/x.rs", text.into());
        assert!(!unlike_a_library(&file).is_empty(), "{text}");
    }
}

/// Logging calls that name something which may hold a statement, a value or a secret. Its length
/// may be told.
fn talkative(file: &File) -> Vec<String> {
    let code = dense(&file.code);
    let mut wrong = Vec::new();
    for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
        for (at, _) in code.match_indices(&format!("tracing::{level}")) {
            let arguments = call(&code[at..]);
            for word in SECRET_WORDS {
                if mentions(&arguments.replace(&format!("{word}.len()"), ""), word) {
                    wrong.push(format!("{} logs `{word}`: {arguments}", file.path));
                }
            }
        }
    }
    wrong
}

/// From a macro's name to its closing parenthesis.
fn call(code: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &code[..=at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    code
}

#[test]
fn i7_logs_carry_ids_only() {
    let mut everywhere = LIBRARIES.to_vec();
    everywhere.push("gateway-cli/src");
    let wrong: Vec<String> = sources(&everywhere).iter().flat_map(talkative).collect();
    assert_tidy(
        "I7: tracing carries ids, never statement text, values or secrets",
        &wrong,
    );
}

#[test]
fn i7_a_logged_statement_is_seen() {
    let file = File::new(
        "x.rs",
        "fn f() { tracing::info!(%session, sql = %unit.text, \"ran\"); }".into(),
    );
    assert!(!talkative(&file).is_empty());
    let file = File::new(
        "x.rs",
        "fn f() { tracing::info!(%session, \"the text was read\"); }".into(),
    );
    assert!(talkative(&file).is_empty());
}
