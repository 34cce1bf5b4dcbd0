//! The documentation's commands run and its links lead somewhere.
//!
//! A shell block says in its first line what becomes of it: three backticks, then `sh test` (this
//! test runs it, in the repository's root, with the gateway's binary on the path) or
//! `sh skip: why` (it needs what a test can't have).

use std::{fs, process::Command};

use super::{assert_tidy, root, source::files};

/// A fenced block of shell commands.
#[derive(Debug, PartialEq)]
struct Block {
    line: usize,
    kind: Kind,
    text: String,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Test,
    Skip,
    Unmarked,
}

/// The documents for people: Markdown at the root and below `docs`.
fn documents() -> Vec<String> {
    let mut found = files(&root(), "docs", "md");
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let kind = match info.split_once(' ').unwrap_or((info, "")) {
            ("sh", "test") => Kind::Test,
            ("sh", reason)
                if reason
                    .strip_prefix("skip: ")
                    .is_some_and(|why| !why.is_empty()) =>
            {
                Kind::Skip
            }
            ("sh" | "bash" | "shell" | "console", _) => Kind::Unmarked,
            _ => continue,
        };
        found.push(Block {
            line: at + 1,
            kind,
            text: body.join("\n"),
        });
    }
    found
}

/// Relative link targets, without their fragments.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        })
        .collect()
}

#[test]
fn every_shell_block_says_whether_it_is_tested() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for block in blocks(&text)
            .iter()
            .filter(|block| block.kind == Kind::Unmarked)
        {
            wrong.push(format!(
                "{document}:{}: mark it `sh test` or `sh skip: why`",
                block.line
            ));
        }
    }
    assert_tidy("shell blocks", &wrong);
}

#[test]
fn documented_commands_run() {
    let gateway = std::path::Path::new(env!("CARGO_BIN_EXE_gateway"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", gateway.display(), std::env::var("PATH").unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for block in blocks(&text)
            .into_iter()
            .filter(|block| block.kind == Kind::Test)
        {
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &block.text])
                .current_dir(root())
                .env("PATH", &path)
                .env("TMPDIR", scratch.path())
                .output()
                .unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                wrong.push(format!(
                    "{document}:{}: {}\n    {said}",
                    block.line, output.status
                ));
            }
        }
    }
    assert_tidy("documented commands", &wrong);
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let path = root().join(&document);
        let text = fs::read_to_string(&path).unwrap();
        for target in links(&text) {
            if !path.parent().unwrap().join(target).exists() {
                wrong.push(format!("{document} -> {target}"));
            }
        }
    }
    assert_tidy("links", &wrong);
}

#[test]
fn marks_are_read() {
    let text = "a\n```sh test\none\ntwo\n```\n```sh skip: no network\nx\n```\n```sh\nx\n```\n```text\nx\n```\n```sh skip: \ny\n```\n";
    let found: Vec<(usize, Kind, String)> = blocks(text)
        .into_iter()
        .map(|block| (block.line, block.kind, block.text))
        .collect();
    assert_eq!(
        found,
        [
            (2, Kind::Test, "one\ntwo".into()),
            (6, Kind::Skip, "x".into()),
            (9, Kind::Unmarked, "x".into()),
            (15, Kind::Unmarked, "y".into()),
        ]
    );
    assert_eq!(links("[a](b.md#c) [d](https://x) [e](#f)"), ["b.md"]);
}
