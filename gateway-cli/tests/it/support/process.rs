//! Processes that end with the test.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output, trimmed, of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout.trim()
    }

    /// Standard error of a command that must have failed.
    #[track_caller]
    pub(crate) fn err(&self) -> &str {
        assert_ne!(self.code, Some(0), "{self:#?}");
        self.stderr.trim()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A command with an environment that says nothing about databases or clouds.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PSQLRC", "/nonexistent");
    for name in [
        "PATH",
        "HOME",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
        "GATEWAY_LOG",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server of the test's own. Asked to end when dropped, then made to.
pub(crate) struct Server {
    child: Child,
    /// The signal that asks it to end.
    signal: &'static str,
}

impl Server {
    pub(crate) fn spawn(command: &mut Command, signal: &'static str) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, signal }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Panics when it has ended.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self, what: &str) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{what} ended: {status}");
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        run(Command::new("kill").args(["-s", signal, &id])).ok();
    }

    /// Its exit code, if it ends within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-s", self.signal, &id]).status());
        if self.wait(Duration::from_secs(10)).is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
